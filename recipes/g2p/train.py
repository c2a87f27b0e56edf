"""Train a grapheme-to-phoneme model: letters in, phones out.

    python recipes/g2p/train.py CONFIG.toml DICTIONARIES EXP

reads DICTIONARIES/train.dict and dev.dict, as prepare.py writes them; the model is EXP/best.  The
same command goes on after an interruption.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.errors import AsrError
from asr.lexicon import read_lexicon
from asr.toml_config import load_toml
from asr.training_display import TrainingDisplay
from asr.translator import TranslatorConfig
from asr.translator_train import Pair, train

__all__ = ["main", "read_pairs"]


def read_pairs(path: Path) -> list[Pair]:
    """Return letters and phones, a pair for each pronunciation."""
    # Stress was dropped, or not, when the dictionary was prepared.
    lexicon = read_lexicon(path, stress=True)
    return [(word, phones) for word in lexicon.words for phones in lexicon.pronunciations(word)]


def describe(values: Mapping[str, float]) -> str:
    """Put the figures of an update into words."""
    return f"loss {values['loss']:.3f}  {values['per_second']:.0f} phones/s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train a grapheme-to-phoneme model.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("dictionaries", type=Path, help="folder with train.dict and dev.dict")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = load_toml(TranslatorConfig, arguments.config, arguments.overrides)
        pairs, dev = (
            read_pairs(arguments.dictionaries / f"{part}.dict") for part in ("train", "dev")
        )
        with TrainingDisplay(describe) as display:
            result = train(config, pairs, dev, arguments.exp, reporter=display)
    except AsrError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"train: interrupted; the same command goes on in {arguments.exp}", file=sys.stderr)
        return 130
    print(
        f"{arguments.exp / 'best'}: {result.best[0]:.4f} nats a phone on dev after update "
        f"{result.best_step}; ended after {result.step} updates ({result.reason})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
