"""Words and pronunciations to train on, to stop by, and to test with.

    python recipes/g2p/prepare.py CMUDICT OUTPUT

writes OUTPUT/train.dict, dev.dict and test.dict, in the format of CMUdict: one pronunciation a
line, the further ones of a word as WORD(2), WORD(3).  Words are of letters and apostrophes; all
pronunciations of a word are in the same file.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.errors import AsrError, ConfigError
from asr.lexicon import Lexicon, dictionary_lines, read_lexicon

__all__ = ["main", "split_words", "write_dictionary"]

WORD = re.compile("'?[A-Z][A-Z']*")
HELD_OUT = {"test": 0.05, "dev": 0.01}


def split_words(words: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Divide words at random into test (5 %), dev (1 %) and train.

    Raises:
        ConfigError: there are too few.
    """
    order = np.random.default_rng(seed).permutation(sorted(words)).tolist()
    parts: dict[str, list[str]] = {}
    first = 0
    for part, fraction in HELD_OUT.items():
        last = first + round(fraction * len(order))
        parts[part] = sorted(order[first:last])
        first = last
    parts["train"] = sorted(order[first:])
    if not all(parts.values()):
        raise ConfigError(f"{len(words)} words: too few to hold 1 % of them out; 100 are needed")
    return parts


def write_dictionary(path: Path, lexicon: Lexicon, words: Sequence[str]) -> None:
    """Write all pronunciations of some words."""
    with path.open("w", encoding="utf-8") as file:
        for word in words:
            file.writelines(dictionary_lines(word, lexicon.pronunciations(word)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Split a pronouncing dictionary.")
    parser.add_argument("dictionary", type=Path, help="cmudict.dict, or its folder")
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--words", type=int, default=0, help="use so many at random (0: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--stress", action="store_true", help="keep the stress of vowels: AH0, AH1")
    arguments = parser.parse_args(argv)
    try:
        path: Path = arguments.dictionary
        path = path / "cmudict.dict" if path.is_dir() else path
        lexicon = read_lexicon(path, stress=arguments.stress)
        words = sorted(word for word in lexicon.words if WORD.fullmatch(word))
        if arguments.words:
            mixed = np.random.default_rng(arguments.seed + 1).permutation(words)
            words = mixed[: arguments.words].tolist()
        parts = split_words(words, arguments.seed)
        arguments.output.mkdir(parents=True, exist_ok=True)
        for part, chosen in parts.items():
            write_dictionary(arguments.output / f"{part}.dict", lexicon, chosen)
    except AsrError as error:
        print(f"prepare: error: {error}", file=sys.stderr)
        return error.exit_code
    counts = ", ".join(f"{len(parts[part]):,} {part}" for part in ("train", "dev", "test"))
    print(f"{len(lexicon.words):,} words, {len(words):,} of letters and apostrophes: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
