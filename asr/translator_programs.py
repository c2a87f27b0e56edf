"""The training program of recipes that train a `Translator`; what it trains on is their own."""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asr.cli import run_program
from asr.recipe_programs import timed
from asr.toml_config import load_toml
from asr.training_display import TrainingDisplay
from asr.translator import TranslatorConfig
from asr.translator_train import Pair, train

__all__ = ["PairSets", "TranslatorProgram", "run_translator_training"]


class PairSets(NamedTuple):
    """What an encoder-decoder is trained on.

    Args:
        training: pairs to train on.
        dev: pairs whose loss is measured.
        symbols: of source and target; None for those of the training pairs.
    """

    training: Sequence[Pair]
    dev: Sequence[Pair]
    symbols: tuple[Sequence[str], Sequence[str]] | None = None


class TranslatorProgram(NamedTuple):
    """What is particular about a recipe's train.py.

    Args:
        description: for its help.
        data_help: what the folder of data is.
        unit: what the target is made of, as "phone".
        read: from that folder to pairs.
    """

    description: str
    data_help: str
    unit: str
    read: Callable[[Path], PairSets]


def run_translator_training(program: TranslatorProgram, argv: Sequence[str] | None = None) -> int:
    """Run `train.py CONFIG.toml DATA EXP`; the model is EXP/best.

    EXP/seconds receives the time and the CPU time that the training took, with those of the runs
    that it goes on from.

    Returns:
        The exit code; see `asr.cli.run_program`.
    """
    parser = argparse.ArgumentParser(description=program.description)
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("data", type=Path, help=program.data_help)
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_program("train", lambda: _train(program, arguments))


def _train(program: TranslatorProgram, arguments: argparse.Namespace) -> int:
    def describe(values: Mapping[str, float]) -> str:
        return f"loss {values['loss']:.3f}  {values['per_second']:.0f} {program.unit}s/s"

    config = load_toml(TranslatorConfig, arguments.config, arguments.overrides)
    try:
        with timed(arguments.exp), TrainingDisplay(describe) as display:
            pairs, dev, symbols = program.read(arguments.data)
            result = train(config, pairs, dev, arguments.exp, symbols=symbols, reporter=display)
    except KeyboardInterrupt:
        print(f"train: interrupted; the same command goes on in {arguments.exp}", file=sys.stderr)
        return 130
    print(
        f"{arguments.exp / 'best'}: {result.best[0]:.4f} nats a {program.unit} on dev after "
        f"update {result.best_step}; ended after {result.step} updates ({result.reason})"
    )
    return 0
