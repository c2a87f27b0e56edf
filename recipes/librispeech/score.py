"""Error rates of decoded subsets, as EXP/score.json and as a table.

    python recipes/librispeech/score.py EXP test-clean test-other dev-clean

reads EXP/decode/SUBSET.jsonl; "wer" in score.json is that of the first subset.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.errors import AsrError
from asr.metrics import score
from asr.transcripts import read_transcripts

__all__ = ["main", "score_subset"]


def score_subset(path: Path) -> dict[str, Any]:
    """Return the figures of one file of hypotheses, without single utterances."""
    references = read_transcripts(path, is_reference=True)
    hypotheses = read_transcripts(path, is_reference=False)
    result = score(
        [line.text for line in references],
        [line.text for line in hypotheses],
        speakers=[line.speaker for line in references],
    )
    return {name: value for name, value in result.to_dict(0).items() if name != "worst"}


def _row(subset: str, figures: dict[str, Any]) -> str:
    interval = figures["interval"]
    low_high = f"{interval[0]:.2%} to {interval[1]:.2%}" if interval else "-"
    return (
        f"| {subset} | {figures['n_utterances']:,} | {figures['n_words']:,} "
        f"| {figures['wer']:.2%} | {low_high} | {figures['cer']:.2%} |"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Error rates of decoded subsets.")
    parser.add_argument("exp", type=Path, help="with decode/SUBSET.jsonl; receives score.json")
    parser.add_argument("subsets", metavar="SUBSET", nargs="+", help="the first is the main one")
    arguments = parser.parse_args(argv)
    try:
        subsets = {
            name: score_subset(arguments.exp / "decode" / f"{name}.jsonl")
            for name in arguments.subsets
        }
    except AsrError as error:
        print(f"score: error: {error}", file=sys.stderr)
        return error.exit_code
    main_name = arguments.subsets[0]
    result = {"wer": subsets[main_name]["wer"], "subset": main_name, "subsets": subsets}
    path: Path = arguments.exp / "score.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("| subset | utterances | words | WER | 95 % interval | CER |\n|---|---|---|---|---|---|")
    for name, figures in subsets.items():
        print(_row(name, figures))
    print(f"{path}: WER {result['wer']:.2%} on {main_name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
