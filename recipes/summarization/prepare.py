"""Abstracts and their summaries, and word pieces of both.

    python recipes/summarization/prepare.py DATA OUTPUT

reads DATA/train.jsonl, dev.jsonl and test.jsonl of SciTLDR-A (plain or compressed by xz or gzip),
and writes OUTPUT/train.abstract, train.summary, dev.abstract, ..., OUTPUT/test.json and
OUTPUT/tokenizer.  test.json holds all summaries that people wrote of each abstract, and its first
sentence, which is the baseline; elsewhere the first summary counts.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asr.cli import run_program
from asr.errors import TextError
from asr.pieces import write_pairs
from lm.corpus import read_blocks

__all__ = ["SIDES", "Paper", "main", "read_papers"]

SIDES = ("abstract", "summary")
PARTS = ("train", "dev", "test")
SUFFIXES = (".jsonl", ".jsonl.xz", ".jsonl.gz")


class Paper(NamedTuple):
    """An abstract and what people said that it says.

    Attributes:
        sentences: of the abstract.
        summaries: one or more.
    """

    sentences: tuple[str, ...]
    summaries: tuple[str, ...]

    @property
    def pair(self) -> tuple[str, str]:
        """The abstract and the first summary."""
        return " ".join(self.sentences), self.summaries[0]


def read_papers(folder: Path, part: str) -> list[Paper]:
    """Return the papers of a part, without those that have no sentence or no summary.

    Raises:
        TextError: the file is missing or damaged.
    """
    path = next((path for s in SUFFIXES if (path := folder / f"{part}{s}").exists()), None)
    if path is None:
        raise TextError(f"{folder}: has no {part}{SUFFIXES[0]}; the folder SciTLDR-A is needed")
    lines = (line for block, _ in read_blocks([path]) for line in block.splitlines())
    papers = []
    for number, line in enumerate(lines, start=1):
        try:
            fields = json.loads(line)
            sentences, summaries = (
                tuple(filter(None, (" ".join(text.split()) for text in fields[name])))
                for name in ("source", "target")
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TextError(
                f"{path}, line {number}: a JSON object with source and target, lists of texts, is "
                "needed"
            ) from None
        if sentences and summaries:
            papers.append(Paper(sentences, summaries))
    return papers


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Prepare SciTLDR.")
    parser.add_argument("data", type=Path, help="folder with train.jsonl, dev.jsonl, test.jsonl")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--pieces", type=int, default=2000, help="in all (default: 2000)")
    parser.add_argument("--papers", type=int, default=0, help="use so many of each part (0: all)")
    arguments = parser.parse_args(argv)
    return run_program("prepare", lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> int:
    papers = {part: read_papers(arguments.data, part)[: arguments.papers or None] for part in PARTS}
    pairs = {part: [paper.pair for paper in some] for part, some in papers.items()}
    write_pairs(arguments.output, pairs, SIDES, arguments.pieces)
    test = [{"lead": paper.sentences[0], "references": paper.summaries} for paper in papers["test"]]
    (arguments.output / "test.json").write_text(json.dumps(test, indent=1), encoding="utf-8")
    counts = ", ".join(f"{len(some):,} {part}" for part, some in papers.items())
    print(f"papers: {counts}; {arguments.pieces:,} word pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
