"""`asr train`: a recogniser from a configuration."""

import argparse
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from asr.training_log import Evaluation

__all__ = ["HELP", "TrainingDisplay", "configure", "run"]

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
        "--init-from", metavar="MODEL", help="start from a trained model ('default' or a folder)"
    )
    parser.add_argument(
        "--check", action="store_true", help="only read and check the configuration"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train; the same command goes on after an interruption."""
    from asr.config import dump_config, load_config

    config = load_config(arguments.config, arguments.overrides)
    if arguments.check:
        print(dump_config(config), end="")
        return 0
    from rich.console import Console

    from asr.learning_curve import draw_learning_curve
    from asr.train import train

    logging.getLogger("asr").setLevel(logging.INFO)
    folder = Path(arguments.exp or Path("exp") / Path(arguments.config).stem)
    display = TrainingDisplay(Console(stderr=True)) if os.environ.get("RANK", "0") == "0" else None
    try:
        if display:
            display.start()
        result = train(config, folder, init_from=arguments.init_from, reporter=display)
    except KeyboardInterrupt:
        print(
            f"asr train: interrupted; the state is saved in {folder}, the same command goes on",
            file=sys.stderr,
        )
        return 130
    finally:
        if display:
            display.stop()
    if display:
        if importlib.util.find_spec("matplotlib"):
            draw_learning_curve(folder / "metrics.jsonl", folder / "learning_curve.png")
        wer, *_ = result.best or (float("nan"),)
        print(
            f"{folder / 'best'}: WER {wer:.2%} on dev after update {result.best_step}; "
            f"ended after {result.step} updates, {result.epoch} epochs ({result.reason})"
        )
    return 0


class TrainingDisplay:
    """A progress bar on a terminal, a line every half minute elsewhere.

    Args:
        console: where to write.
    """

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("preparing", total=None)
        self._wer = ""
        self._last_line = 0.0

    def start(self) -> None:
        """Show the bar."""
        self._progress.start()

    def stop(self) -> None:
        """Take the bar away."""
        self._progress.stop()

    def progress(self, step: int, n_steps: int, values: Mapping[str, float]) -> None:
        """Show the figures after an update."""
        text = (
            f"epoch {values['epoch']:.2f}  loss {values['loss']:.3f}{self._wer}  "
            f"{values['per_second']:.0f} s/s  waiting {values['waiting']:.0%}"
        )
        self._progress.update(self._task, completed=step, total=n_steps, description=text)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line > 30:
            self._last_line = now
            self.console.print(f"update {step}/{n_steps}  {text}", highlight=False)

    def evaluation(self, evaluation: "Evaluation") -> None:
        """Print a line about an evaluation."""
        metrics = evaluation.metrics
        self._wer = f"  dev WER {metrics['wer']:.2%}"
        self.console.print(
            f"epoch {evaluation.epoch:.2f}  update {evaluation.step}  "
            + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            + ("  (best)" if evaluation.is_best else ""),
            highlight=False,
        )
