"""Plain text of Multi30k's parts, and word pieces of both languages together.

    python recipes/translation/prepare.py DATA OUTPUT

reads DATA/train, val and test_2016_flickr, each as NAME.en.gz and NAME.de.gz (or without .gz), and
writes OUTPUT/train.en, train.de, dev.en, ..., and OUTPUT/tokenizer.  Case and punctuation stay.
"""

import argparse
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

from asr.errors import AsrError, TextError
from asr.pieces import write_pairs

__all__ = ["LANGUAGES", "main", "read_sentences"]

LANGUAGES = ("en", "de")
PARTS = {"train": "train", "dev": "val", "test": "test_2016_flickr"}


def read_sentences(folder: Path, name: str) -> list[str]:
    """Return the lines of a plain or compressed file, white space brought to single spaces.

    Raises:
        TextError: it is missing or damaged.
    """
    path = folder / f"{name}.gz"
    try:
        if path.exists():
            with gzip.open(path, "rt", encoding="utf-8") as file:
                text = file.read()
        else:
            path = folder / name
            text = path.read_text(encoding="utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TextError(
            f"{path}: cannot be read ({error}); the raw text of Multi30k's task 1 is needed"
        ) from None
    return [" ".join(line.split()) for line in text.splitlines()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Prepare Multi30k.")
    parser.add_argument("data", type=Path, help="folder with train.en.gz, train.de.gz, ...")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--pieces", type=int, default=4000, help="in all (default: 4000)")
    parser.add_argument("--pairs", type=int, default=0, help="use so many of each part (0: all)")
    arguments = parser.parse_args(argv)
    try:
        parts = {}
        for part, name in PARTS.items():
            both = [read_sentences(arguments.data, f"{name}.{each}") for each in LANGUAGES]
            if len(both[0]) != len(both[1]):
                raise TextError(
                    f"{arguments.data}: {name} has {len(both[0])} lines in one language and "
                    f"{len(both[1])} in the other; a line a sentence is needed"
                )
            pairs = [pair for pair in zip(*both, strict=True) if all(pair)]
            parts[part] = pairs[: arguments.pairs or None]
        write_pairs(arguments.output, parts, LANGUAGES, arguments.pieces)
    except AsrError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return error.exit_code
    counts = ", ".join(f"{len(pairs):,} {part}" for part, pairs in parts.items())
    print(f"pairs: {counts}; {arguments.pieces:,} word pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
