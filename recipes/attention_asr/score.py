"""Error rates of all models and ways to decode them, as EXP/score.json and as a table.

    python recipes/attention_asr/score.py EXP ctc attention joint-1 joint-0 joint
    python recipes/attention_asr/score.py --table EXP --readme recipes/attention_asr/README.md

reads EXP/decode/NAME.jsonl, where it is there EXP/decode/NAME.json (see decode.py), and of the
model, which is what stands before the "-", EXP/MODEL/seconds.  "wer" in score.json is that of the
last NAME.  The second form prints the table of an earlier score.json and writes it to where the
README has the last one.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.checkpoint import read_json
from asr.errors import ConfigError
from asr.metrics import score
from asr.recipe_programs import ScoreProgram, describe_machine, run_score, training_seconds
from asr.training_log import read_metrics
from asr.transcripts import read_transcripts

__all__ = ["main", "summarize", "table"]


def _figures(exp: Path, name: str) -> dict[str, Any]:
    path = exp / "decode" / f"{name}.jsonl"
    references = read_transcripts(path, is_reference=True)
    hypotheses = read_transcripts(path, is_reference=False)
    result = score(
        [line.text for line in references],
        [line.text for line in hypotheses],
        speakers=[line.speaker for line in references],
    )
    model = exp / name.partition("-")[0]
    found: dict[str, Any] = {
        "wer": result.wer,
        "interval": result.interval,
        "interval_over": result.interval_over,
        "errors": result.substitutions + result.insertions + result.deletions,
        "n_words": result.n_words,
        "n_utterances": result.n_utterances,
        "epochs": read_metrics(model / "metrics.jsonl")[-1]["epoch"],
    }
    if path.with_suffix(".json").exists():
        found |= read_json(path.with_suffix(".json"))
    return found | training_seconds(model)


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given.
        ManifestError: a model was not decoded.
    """
    if not names:
        raise ConfigError("nothing to score: name what is in EXP/decode, without .jsonl")
    decoded = {name: _figures(exp, name) for name in names}
    return {"wer": decoded[names[-1]]["wer"], "decoded": decoded, "machine": describe_machine()}


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    first = next(iter(result["decoded"].values()))
    rows = [
        f"{first['n_utterances']} strings, {first['n_words']:,} words; intervals are a bootstrap "
        f"over {first['interval_over']}.  On one thread of {result['machine']}.",
        "",
        "| model | decoded by | WER | 95 % | errors | attention goes forward | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["decoded"].items():
        low, high = found["interval"]
        # What `asr train` made, and what `asr evaluate` decoded, have no weight of CTC.
        model, by, forward = name.partition("-")[0], "CTC, best path", ""
        if "ctc_weight" in found:
            weight = found["ctc_weight"]
            names = {0: "attention", 1: "CTC"}
            by = names.get(weight, f"attention and {weight:g} CTC") + f", beam {found['width']}"
            forward = f"{found['n_monotonic']} of {found['n_utterances']}"
        time = f"{found['epochs']:.0f} epochs"
        if "training_cpu_seconds" in found:
            time += f", {found['training_cpu_seconds']:,} s of CPU"
        rows.append(
            f"| {model} | {by} | {found['wer']:.2%} | {low:.2%} to {high:.2%} "
            f"| {found['errors']} | {forward} | {time} |"
        )
    return "\n".join(rows)


PROGRAM = ScoreProgram(
    description="Error rates of all models and ways to decode them.",
    names_help="what is in EXP/decode",
    summarize=summarize,
    table=table,
    headline=lambda result: f"WER {result['wer']:.2%}",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
