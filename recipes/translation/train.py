"""Train a translator from English to German.

    python recipes/translation/train.py CONFIG.toml TEXT EXP

reads TEXT as prepare.py writes it; the model is EXP/best.  The same command goes on after an
interruption.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.errors import AsrError
from asr.manifest import read_lines
from asr.text import Tokenizer, load_tokenizer
from asr.toml_config import load_toml
from asr.training_display import TrainingDisplay
from asr.translator import TranslatorConfig
from asr.translator_train import Pair, train

__all__ = ["main", "read_pairs"]


def read_pairs(folder: Path, part: str, tokenizer: Tokenizer) -> list[Pair]:
    """Return English and German word pieces, without the characters that no piece covers."""
    sides = []
    for language in ("en", "de"):
        lines = read_lines(folder / f"{part}.{language}")
        unknown = str.maketrans("", "", "".join(tokenizer.unknown("".join(lines))))
        pieces = [tokenizer.encode(line.translate(unknown)) for line in lines]
        sides.append([tuple(tokenizer.symbols[piece] for piece in each) for each in pieces])
    return [(source, target) for source, target in zip(*sides, strict=True) if source]


def describe(values: Mapping[str, float]) -> str:
    """Put the figures of an update into words."""
    return f"loss {values['loss']:.3f}  {values['per_second']:.0f} pieces/s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train a translator.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("text", type=Path, help="folder that prepare.py wrote")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = load_toml(TranslatorConfig, arguments.config, arguments.overrides)
        tokenizer = load_tokenizer(arguments.text / "tokenizer")
        pairs, dev = (read_pairs(arguments.text, part, tokenizer) for part in ("train", "dev"))
        pieces = tokenizer.symbols[1:]
        with TrainingDisplay(describe) as display:
            result = train(
                config, pairs, dev, arguments.exp, symbols=(pieces, pieces), reporter=display
            )
    except AsrError as error:
        print(f"train: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"train: interrupted; the same command goes on in {arguments.exp}", file=sys.stderr)
        return 130
    print(
        f"{arguments.exp / 'best'}: {result.best[0]:.4f} nats a piece on dev after update "
        f"{result.best_step}; ended after {result.step} updates ({result.reason})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
