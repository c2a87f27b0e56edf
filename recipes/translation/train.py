"""Train a translator from English to German.

    python recipes/translation/train.py CONFIG.toml TEXT EXP

reads TEXT as prepare.py writes it; the model is EXP/best.  The same command goes on after an
interruption.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from asr.manifest import read_lines
from asr.recipe_programs import PairSets, TranslatorProgram, run_translator_training
from asr.text import Tokenizer, load_tokenizer
from asr.translator_train import Pair

__all__ = ["main", "read_pairs", "read_sets"]


def read_pairs(folder: Path, part: str, tokenizer: Tokenizer) -> list[Pair]:
    """Return English and German word pieces, without the characters that no piece covers."""
    sides = []
    for language in ("en", "de"):
        lines = read_lines(folder / f"{part}.{language}")
        unknown = str.maketrans("", "", "".join(tokenizer.unknown("".join(lines))))
        pieces = [tokenizer.encode(line.translate(unknown)) for line in lines]
        sides.append([tuple(tokenizer.symbols[piece] for piece in each) for each in pieces])
    return [(source, target) for source, target in zip(*sides, strict=True) if source]


def read_sets(text: Path) -> PairSets:
    """Return the pairs of the parts train and dev, and the word pieces."""
    tokenizer = load_tokenizer(text / "tokenizer")
    training, dev = (read_pairs(text, part, tokenizer) for part in ("train", "dev"))
    pieces = tokenizer.symbols[1:]
    return PairSets(training, dev, (pieces, pieces))


PROGRAM = TranslatorProgram(
    description="Train a translator.",
    data_help="folder that prepare.py wrote",
    unit="piece",
    read=read_sets,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_translator_training(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
