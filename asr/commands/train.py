"""`asr train`: a recogniser from a configuration."""

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

__all__ = ["HELP", "configure", "run"]

HELP = "train a recogniser from a TOML configuration"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("config", metavar="CONFIG.toml", help="see recipes/*/conf for examples")
    parser.add_argument(
        "--exp", metavar="DIR", help="experiment folder (default: exp/ and the config's name)"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="A.B=C",
        action="append",
        default=[],
        help="override a value, e.g. --set training.epochs=10; may be repeated",
    )
    parser.add_argument(
        "--init-from",
        metavar="MODEL",
        help="start from a trained model ('default' or a folder), with its features, architecture "
        "and, unless tokenizer.folder names others, its units",
    )
    parser.add_argument(
        "--new-layers",
        metavar="N",
        type=int,
        default=0,
        help="with --init-from: recurrent layers to put on top of that model's (default: 0)",
    )
    parser.add_argument(
        "--check", action="store_true", help="only read and check the configuration"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; the same command goes on after an interruption."""
    from asr.checkpoint import read_json
    from asr.config import dump_config, load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.check:
        print(dump_config(config), end="")
        return 0
    from asr.learning_curve import draw_learning_curve
    from asr.train import train
    from asr.training_display import TrainingDisplay

    logging.getLogger("asr").setLevel(logging.INFO)
    folder = Path(arguments.exp or Path("exp") / Path(arguments.config).stem)
    shows = os.environ.get("RANK", "0") == "0"
    try:
        with TrainingDisplay(_describe) if shows else nullcontext() as display:
            result = train(
                config,
                folder,
                init_from=arguments.init_from,
                new_layers=arguments.new_layers,
                reporter=display,
            )
    except KeyboardInterrupt:
        print(
            f"asr train: interrupted; the state is saved in {folder}, the same command goes on",
            file=sys.stderr,
        )
        return 130
    if shows:
        if importlib.util.find_spec("matplotlib"):
            draw_learning_curve(folder / "metrics.jsonl", folder / "learning_curve.png")
        wer = read_json(folder / "best/metrics.json")["wer"] if result.best else float("nan")
        print(
            f"{folder / 'best'}: WER {wer:.2%} on dev after update {result.best_step}; "
            f"ended after {result.step} updates, {result.epoch} epochs ({result.reason})"
        )
    return 0


def _describe(values: Mapping[str, float]) -> str:
    return (
        f"loss {values['loss']:.3f}  {values['per_second']:.0f} s/s  "
        f"waiting {values['waiting']:.0%}"
    )
