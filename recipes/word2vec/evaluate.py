"""Ask vectors analogies and compare their similarities with people's.

    python recipes/word2vec/evaluate.py TESTS EXP/skipgram EXP/cbow ...

reads the folder TESTS and writes tests.json into each folder of vectors.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from word_tests import judge_vectors
from word_vectors import WordVectors

from asr.checkpoint import write_json
from asr.cli import run_program

__all__ = ["main"]

# As in word2vec.c's evaluation: questions with a word beyond the most frequent ones are left out.
_N_CANDIDATES = 30_000


def _evaluate(arguments: argparse.Namespace) -> int:
    for folder in arguments.vectors:
        found = judge_vectors(WordVectors.load(folder), arguments.tests, _N_CANDIDATES)
        write_json(folder / "tests.json", found)
        score = found["analogies"]["all"]
        print(f"{folder}: {score['right']} of {score['covered']} analogies", flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Test word vectors.")
    parser.add_argument("tests", type=Path, help="folder with questions-words.txt and word pairs")
    parser.add_argument("vectors", type=Path, nargs="+", help="folders of vectors")
    arguments = parser.parse_args(argv)
    return run_program("evaluate", lambda: _evaluate(arguments))


if __name__ == "__main__":
    sys.exit(main())
