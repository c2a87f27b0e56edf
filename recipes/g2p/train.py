"""Train a grapheme-to-phoneme model: letters in, phones out.

    python recipes/g2p/train.py CONFIG.toml DICTIONARIES EXP

reads DICTIONARIES/train.dict and dev.dict, as prepare.py writes them; the model is EXP/best.  The
same command goes on after an interruption.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from asr.lexicon import read_lexicon
from asr.translator_programs import PairSets, TranslatorProgram, run_translator_training
from asr.translator_train import Pair

__all__ = ["main", "read_pairs", "read_sets"]


def read_pairs(path: Path) -> list[Pair]:
    """Return letters and phones, a pair for each pronunciation."""
    # Stress was dropped, or not, when the dictionary was prepared.
    lexicon = read_lexicon(path, stress=True)
    return [(word, phones) for word in lexicon.words for phones in lexicon.pronunciations(word)]


def read_sets(dictionaries: Path) -> PairSets:
    """Return the pairs of train.dict and dev.dict."""
    return PairSets(*(read_pairs(dictionaries / f"{part}.dict") for part in ("train", "dev")))


PROGRAM = TranslatorProgram(
    description="Train a grapheme-to-phoneme model.",
    data_help="folder with train.dict and dev.dict",
    unit="phone",
    read=read_sets,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_translator_training(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
