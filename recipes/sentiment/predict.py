"""Say what a trained classifier thinks of sentences.

    python recipes/sentiment/predict.py MODEL "a sentence" "another"
    python recipes/sentiment/predict.py MODEL < TEXT

MODEL is EXP/models/SET/MODEL-SEED.  Without sentences those of standard input are read, one a line.
Each line of output is a label, its probability and the sentence, with tabs between them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from predictor import Predictor

from asr.cli import run_program
from asr.world import select_device

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Classify sentences.")
    parser.add_argument("model", type=Path, help="folder of a trained classifier")
    parser.add_argument("sentences", nargs="*", help="default: the lines of standard input")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)

    def run() -> int:
        predictor = Predictor.load(arguments.model, select_device(arguments.device))
        sentences = arguments.sentences or sys.stdin.read().splitlines()
        for sentence, found in zip(sentences, predictor.predict(sentences), strict=True):
            print(f"{found.label}\t{found.probabilities[found.label]:.3f}\t{sentence}")
        return 0

    return run_program("predict", run)


if __name__ == "__main__":
    sys.exit(main())
