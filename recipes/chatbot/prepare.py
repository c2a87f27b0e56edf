"""Pairs of a turn and its reply, and word pieces, from dialogues.

    python recipes/chatbot/prepare.py DIALOGUES.tsv.xz OUTPUT

reads a dialogue a line, its topic and its turns parted by tabs, and writes OUTPUT/train.turn,
train.reply, dev.turn, ..., and OUTPUT/tokenizer.  A dialogue that comes again is left out, and all
pairs of a dialogue go to the same part.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from asr.cli import run_program
from asr.errors import TextError
from asr.pieces import write_pairs
from lm.corpus import read_blocks

__all__ = ["SIDES", "divide", "main", "pairs_of", "read_dialogues"]

SIDES = ("turn", "reply")


def read_dialogues(path: Path) -> list[tuple[str, ...]]:
    """Return the turns of each dialogue, without topics, each dialogue once.

    Raises:
        TextError: the file is missing or damaged, or a dialogue has fewer than two turns.
    """
    lines = (line for block, _ in read_blocks([path]) for line in block.decode().splitlines())
    dialogues: dict[tuple[str, ...], None] = {}
    for number, line in enumerate(lines, start=1):
        turns = tuple(" ".join(turn.split()) for turn in line.split("\t")[1:])
        if len(turns) < 2:
            raise TextError(
                f"{path}, line {number}: a topic and two turns or more are needed, parted by tabs"
            )
        dialogues[turns] = None
    return list(dialogues)


def divide(
    dialogues: Sequence[tuple[str, ...]], n_dev: int, n_test: int, seed: int
) -> dict[str, list[tuple[str, ...]]]:
    """Return dialogues for dev and test at random, the others for training.

    Raises:
        TextError: none is left to train on.
    """
    if len(dialogues) <= n_dev + n_test:
        raise TextError(
            f"{len(dialogues)} dialogues: more than {n_dev} for dev and {n_test} for the test are "
            "needed"
        )
    mixed = random.Random(seed).sample(dialogues, len(dialogues))
    return {
        "train": mixed[n_dev + n_test :],
        "dev": mixed[:n_dev],
        "test": mixed[n_dev : n_dev + n_test],
    }


def pairs_of(dialogues: Sequence[tuple[str, ...]]) -> list[tuple[str, str]]:
    """Return each turn with the one that follows, without empty ones."""
    return [pair for turns in dialogues for pair in pairwise(turns) if all(pair)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Prepare dialogues.")
    parser.add_argument("data", type=Path, help="a dialogue a line: topic, turns; gzip, xz or not")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--pieces", type=int, default=2000, help="in all (default: 2000)")
    parser.add_argument("--dialogues", type=int, default=0, help="use so many (0: all)")
    parser.add_argument("--held-out", type=int, default=500, help="for dev, as many for the test")
    parser.add_argument("--seed", type=int, default=0, help="which are held out (default: 0)")
    arguments = parser.parse_args(argv)
    return run_program("prepare", lambda: _prepare(arguments))


def _prepare(arguments: argparse.Namespace) -> int:
    dialogues = read_dialogues(arguments.data)[: arguments.dialogues or None]
    divided = divide(dialogues, arguments.held_out, arguments.held_out, arguments.seed)
    parts = {part: pairs_of(some) for part, some in divided.items()}
    write_pairs(arguments.output, parts, SIDES, arguments.pieces)
    counts = ", ".join(f"{len(pairs):,} {part}" for part, pairs in parts.items())
    print(f"pairs: {counts}; {arguments.pieces:,} word pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
