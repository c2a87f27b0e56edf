"""Error rates of decoded subsets, as EXP/score.json and as a table.

    python recipes/librispeech/score.py EXP --test test-clean test-other --dev dev-clean

reads EXP/decode/DECODER/SUBSET.jsonl for the decoders greedy, ngram, rescored (the neural model on
the n-best) and neural (inside the beam), as far as they are there, and from SUBSET.json beside it
their speed and the normalised cross entropy of their confidences.  "wer" in score.json is that of
the last of them on the first test subset.  Each decoder is compared with the one before it on the
dev subsets together; with --beside OTHER each is compared with the same of another experiment, on
each subset and on the dev subsets together.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from asr.errors import AsrError, ConfigError
from asr.metrics import compare, score
from asr.transcripts import read_transcripts

__all__ = ["compare_decoders", "error_rates", "main", "score_subset"]

DECODERS = ("greedy", "ngram", "rescored", "neural")


def error_rates(path: Path) -> dict[str, Any]:
    """Return the error rates of one file of hypotheses, without single utterances."""
    references = read_transcripts(path, is_reference=True)
    hypotheses = read_transcripts(path, is_reference=False)
    result = score(
        [line.text for line in references],
        [line.text for line in hypotheses],
        speakers=[line.speaker for line in references],
    )
    return {name: value for name, value in result.to_dict(0).items() if name != "worst"}


def score_subset(path: Path) -> dict[str, Any]:
    """Return the error rates, the speed and the confidences' cross entropy of one file."""
    measured = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return error_rates(path) | {name: measured[name] for name in ("rtf", "confidence_nce")}


def compare_decoders(before: Path, after: Path, subsets: Sequence[str]) -> Any:
    """Return what `asr.metrics.compare` says of two decoders' folders, on subsets together."""
    references: list[str] = []
    speakers: list[str | None] = []
    texts_a: list[str] = []
    texts_b: list[str] = []
    for subset in subsets:
        lines = read_transcripts(before / f"{subset}.jsonl", is_reference=True)
        references += [line.text for line in lines]
        speakers += [line.speaker for line in lines]
        for texts, folder in ((texts_a, before), (texts_b, after)):
            path = folder / f"{subset}.jsonl"
            texts += [line.text for line in read_transcripts(path, is_reference=False)]
    return compare(references, texts_a, texts_b, speakers=speakers).to_dict()


def _row(subset: str, decoder: str, figures: dict[str, Any]) -> str:
    interval = figures["interval"]
    low_high = f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else "-"
    return (
        f"| {subset} | {decoder} | {figures['n_utterances']:,} | {figures['n_words']:,} "
        f"| {figures['wer']:.2%} | {low_high} | {figures['cer']:.2%} "
        f"| {1 / max(figures['rtf'], 1e-9):.0f} | {_or_dash(figures['confidence_nce'])} |"
    )


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _results(folder: Path, test: Sequence[str], dev: Sequence[str]) -> dict[str, Any]:
    subsets = [*test, *dev]
    present = [name for name in DECODERS if (folder / name).is_dir()]
    if not present:
        raise ConfigError(f"{folder}: nothing is decoded yet; run the stage decode")
    decoders = {
        decoder: {name: score_subset(folder / decoder / f"{name}.jsonl") for name in subsets}
        for decoder in present
    }
    comparisons = {
        f"{after} - {before}": compare_decoders(folder / before, folder / after, dev)
        for before, after in pairwise(present)
    }
    return {
        "wer": decoders[present[-1]][test[0]]["wer"],
        "subset": test[0],
        "decoder": present[-1],
        "decoders": decoders,
        "comparisons_on_dev": comparisons,
    }


def _beside(other: Path, this: Path, sets: dict[str, list[str]]) -> list[str]:
    """The table of what two experiments have in common."""
    names = f"{other.parent.name} | {this.parent.name}"
    lines = [f"| subset | decoder | {names} | difference, 95 % interval |", "|---|---|---|---|---|"]
    for name, subsets in sets.items():
        for decoder in DECODERS:
            if (other / decoder).is_dir() and (this / decoder).is_dir():
                found = compare_decoders(other / decoder, this / decoder, subsets)
                interval = found["interval"]
                low_high = f", {interval[0]:+.2%} to {interval[1]:+.2%}" if interval else ""
                lines.append(
                    f"| {name} | {decoder} | {found['wer_a']:.2%} | {found['wer_b']:.2%} | "
                    f"{found['difference']:+.2%}{low_high} |"
                )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Error rates of decoded subsets.")
    parser.add_argument("exp", type=Path, help="with decode/; receives score.json")
    for name in ("test", "dev"):
        parser.add_argument(f"--{name}", metavar="SUBSET", nargs="+", required=True)
    parser.add_argument(
        "--beside", type=Path, metavar="OTHER", help="an experiment to compare with"
    )
    arguments = parser.parse_args(argv)
    beside: list[str] = []
    try:
        result = _results(arguments.exp / "decode", arguments.test, arguments.dev)
        if arguments.beside:
            sets = {subset: [subset] for subset in (*arguments.test, *arguments.dev)}
            sets["dev, together"] = arguments.dev
            beside = _beside(arguments.beside / "decode", arguments.exp / "decode", sets)
    except AsrError as error:
        print(f"score: error: {error}", file=sys.stderr)
        return error.exit_code
    path: Path = arguments.exp / "score.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        "| subset | decoder | utterances | words | WER | 95 % interval | CER | x real time | NCE |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for subset in (*arguments.test, *arguments.dev):
        for decoder, subsets in result["decoders"].items():
            print(_row(subset, decoder, subsets[subset]))
    for name, each in result["comparisons_on_dev"].items():
        interval = each["interval"]
        low_high = f" ({interval[0]:+.2%} to {interval[1]:+.2%})" if interval else ""
        print(f"{name} on the dev subsets together: {each['difference']:+.2%}{low_high}")
    if beside:
        print("", *beside, "", sep="\n")
    print(f"{path}: WER {result['wer']:.2%} on {result['subset']}, {result['decoder']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
