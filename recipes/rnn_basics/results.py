"""The results of all lessons, as EXP/score.json and as the table of the README."""

from pathlib import Path
from typing import Any

from asr.checkpoint import read_json
from asr.recipe_programs import describe_machine

__all__ = ["summarize", "table"]


def summarize(exp: Path) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        CheckpointError: a lesson was not run.
    """
    result = {name: read_json(exp / f"{name}.json") for name in ("counting", "gates", "gradients")}
    result["memory"] = [read_json(path) for path in sorted((exp / "memory").glob("*-*.json"))]
    return {**result, "machine": f"one thread of {describe_machine()}"}


def table(result: dict[str, Any]) -> str:
    """Return the steps to solve of all cells as Markdown."""
    runs = {(r["task"], r["delay"], r["cell"]): r for r in result["memory"]}
    cells = [c for c in ("rnn", "gru", "lstm", "lstm-chrono") if any(c == k[2] for k in runs)]
    rows = [f"On {result['machine']}.", "", "| task | delay | " + " | ".join(cells) + " |"]
    rows.append("|" + "---|" * (len(cells) + 2))
    for task, delay in sorted({key[:2] for key in runs}):
        found = [_cell(runs.get((task, delay, cell))) for cell in cells]
        rows.append(f"| {task} | {delay} | " + " | ".join(found) + " |")
    return "\n".join(rows)


def _cell(run: dict[str, Any] | None) -> str:
    if run is None:
        return "not run"
    if run["solved_at"] is None:
        return f"not within {run['steps']} ({run['figure']:.3f})"
    return f"**{run['solved_at']}** ({run['seconds']:.0f} s)"
