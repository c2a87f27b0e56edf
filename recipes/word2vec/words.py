"""Ask word vectors.

    python recipes/word2vec/words.py neighbours EXP/skipgram KING
    python recipes/word2vec/words.py analogy EXP/skipgram MAN KING WOMAN

Vectors are a folder or a file in word2vec's text format.  `analogy A B C` answers "A is to B as
C is to ...": B - A + C.  `export EXP/skipgram FILE` writes that text format.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from word_vectors import WordVectors

from asr.cli import run_program

__all__ = ["main"]


def _neighbours(arguments: argparse.Namespace) -> int:
    vectors = WordVectors.load(arguments.vectors)
    return _show(vectors.neighbours(arguments.words, n=arguments.number))


def _analogy(arguments: argparse.Namespace) -> int:
    vectors = WordVectors.load(arguments.vectors)
    a, b, c = arguments.words
    return _show(vectors.neighbours([b, c], [a], n=arguments.number))


def _show(found: list[tuple[str, float]]) -> int:
    for word, cosine in found:
        print(f"{cosine:.3f} {word}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    WordVectors.load(arguments.vectors).save_text(arguments.output)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Ask word vectors.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    neighbours = commands.add_parser("neighbours", help="the words nearest to one, or to several")
    analogy = commands.add_parser("analogy", help="A is to B as C is to ...")
    export = commands.add_parser("export", help="write word2vec's text format")
    for command in (neighbours, analogy, export):
        command.add_argument("vectors", type=Path, help="folder or file of vectors")
    neighbours.add_argument("words", nargs="+", metavar="WORD")
    analogy.add_argument("words", nargs=3, metavar=("A", "B", "C"))
    for command, run in ((neighbours, _neighbours), (analogy, _analogy)):
        command.add_argument("-n", dest="number", type=int, default=10, help="how many (10)")
        command.set_defaults(run=run)
    export.add_argument("output", type=Path, help="file")
    export.set_defaults(run=_export)
    arguments = parser.parse_args(argv)
    return run_program("words", lambda: int(arguments.run(arguments)))


if __name__ == "__main__":
    sys.exit(main())
