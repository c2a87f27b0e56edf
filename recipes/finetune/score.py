"""Error rates before and after, as EXP/score.json and as the table of the README.

    python recipes/finetune/score.py EXP before after scratch
    python recipes/finetune/score.py --table EXP --readme recipes/finetune/README.md

reads EXP/decode/MODEL.jsonl and MODEL-greedy.jsonl, the references and hypotheses of each model
on the held-out tenth, and where it is there EXP/MODEL/seconds (of the training, and of its CPU
time).  "wer" in score.json is that of the adapted model with its language model.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.manifest import read_manifest
from asr.metrics import compare, score
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_seconds
from asr.transcripts import read_transcripts

__all__ = ["main", "summarize", "table"]

WAYS = {"greedy": "-greedy", "language model": ""}
"""How a model decodes, and what its file's name ends in."""

NAMES = {
    "before": "the given model",
    "after": "**adapted**",
    "scratch": "the same data, from random weights",
}


def summarize(exp: Path, models: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: the adapted model, or what it is compared with, is not among them.
        ManifestError: a model was not decoded.
    """
    if not {"before", "after"} <= set(models):
        raise ConfigError(f"got {', '.join(models) or 'no models'}; before and after are needed")
    found: dict[str, Any] = {}
    for model in models:
        found[model] = {way: _figures(exp / "decode" / f"{model}{end}.jsonl")
                        for way, end in WAYS.items()}  # fmt: skip
        found[model].update(training_seconds(exp / model))
    parts = {
        name: read_manifest(exp / "manifests" / f"{name}.jsonl")
        for name in ("train", "dev", "test")
    }
    return {
        "wer": found["after"]["language model"]["wer"],
        "models": found,
        "comparison": {way: _comparison(exp / "decode", end) for way, end in WAYS.items()},
        "minutes": {name: sum(u.duration for u in part) / 60 for name, part in parts.items()},
        "utterances": {name: len(part) for name, part in parts.items()},
        "machine": machine_facts(),
    }


def _read(path: Path) -> tuple[list[str], list[str]]:
    """Return the references and the hypotheses of a file of `asr evaluate --output`."""
    return (
        [line.text for line in read_transcripts(path, is_reference=True)],
        [line.text for line in read_transcripts(path, is_reference=False)],
    )


def _figures(path: Path) -> dict[str, Any]:
    result = score(*_read(path))
    return {
        "wer": result.wer,
        "cer": result.cer,
        "interval": result.interval,
        "n_words": result.n_words,
    }


def _comparison(folder: Path, end: str) -> dict[str, Any]:
    references, before = _read(folder / f"before{end}.jsonl")
    _, after = _read(folder / f"after{end}.jsonl")
    return compare(references, before, after).to_dict()


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine, minutes = result["machine"], result["minutes"]
    n_words = result["models"]["after"]["greedy"]["n_words"]
    rows = [
        f"On {machine['cores']} {machine['processor']} cores, torch {machine['torch']}; "
        f"{minutes['train']:.1f} minutes to train on, {minutes['dev']:.1f} to tune on, the test is "
        f"{result['utterances']['test']} utterances ({n_words:,} words).",
        "",
        "| model | WER, greedy | WER, with its n-gram | CER, greedy | minutes of training |",
        "|---|---|---|---|---|",
    ]
    for model, found in result["models"].items():
        greedy = found["greedy"]
        rates = [_rate(found[way]) for way in WAYS]
        minutes_taken = (
            f"{found['training_seconds'] / 60:.1f} (CPU {found['training_cpu_seconds'] / 60:.1f})"
            if "training_seconds" in found
            else ""
        )
        rows.append(
            f"| {NAMES[model]} | {' | '.join(rates)} | {greedy['cer']:.1%} | {minutes_taken} |"
        )
    rows.append("")
    for way, found in result["comparison"].items():
        text = f"Adapted against given, {way}: {100 * found['difference']:+.1f} points"
        if found["interval"]:
            low, high = found["interval"]
            text += f" (95 % {100 * low:+.1f} to {100 * high:+.1f}, paired over utterances)"
        rows.append(f"{text}.  ")
    return "\n".join(rows)


def _rate(figures: dict[str, Any]) -> str:
    text = f"{figures['wer']:.1%}"
    if figures["interval"]:
        low, high = figures["interval"]
        text += f" ({100 * low:.1f} to {100 * high:.1f})"
    return text


PROGRAM = ScoreProgram(
    description="Error rates before and after.",
    names_help="before, after, scratch",
    summarize=summarize,
    table=table,
    headline=lambda result: f"WER {result['wer']:.2%}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
