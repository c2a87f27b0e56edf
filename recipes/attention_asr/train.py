"""Train listener and speller together.

    python recipes/attention_asr/train.py CONFIG.toml EXP [--init-from MODEL] [--set A.B=C]
    python recipes/attention_asr/train.py CONFIG.toml EXP --ctc-only [--set A.B=C]

The model is EXP/best; the same command goes on after an interruption.  The second form leaves the
speller out: the same listener becomes a recogniser of CTC alone, as `asr train` makes them.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from las import JointTraining, LasConfig, ListenAttendSpell, SpellerConfig

from asr.cli import run_program
from asr.errors import ConfigError
from asr.models.recognizer import Recognizer
from asr.spec_augment import SpecAugment
from asr.toml_config import dump_toml, load_toml
from asr.train import train
from asr.training_display import TrainingDisplay

__all__ = ["main"]


def _claim(folder: Path, config: SpellerConfig) -> None:
    """Write speller.toml, or make sure that the one there says the same."""
    path = folder / "speller.toml"
    if path.exists() and load_toml(SpellerConfig, path) != config:
        raise ConfigError(
            f"{folder}: holds a run with another [speller]; give a new folder, or the same "
            "configuration to go on with it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_toml(config), encoding="utf-8")


def _describe(values: Mapping[str, float]) -> str:
    return f"loss {values['loss']:.3f}  {values['per_second']:.0f} s of audio/s"


def _run(arguments: argparse.Namespace) -> int:
    config = load_toml(LasConfig, arguments.config, arguments.overrides)
    exp: Path = arguments.exp
    if not arguments.ctc_only:
        _claim(exp, config.speller)

    def joint(recognizer: Recognizer, spec_augment: SpecAugment | None) -> JointTraining:
        return JointTraining(ListenAttendSpell.around(recognizer, config.speller), spec_augment)

    try:
        with TrainingDisplay(_describe) as display:
            result = train(
                config.listener(),
                exp,
                init_from=arguments.init_from,
                make_training=None if arguments.ctc_only else joint,
                reporter=display,
            )
    except KeyboardInterrupt:
        print(f"train: interrupted; the same command goes on in {exp}", file=sys.stderr)
        return 130
    print(
        f"{exp / 'best'}: WER {result.best[0]:.2%} on dev after update {result.best_step}; ended "
        f"after {result.step} updates ({result.reason})"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train listener and speller together.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    parser.add_argument(
        "--init-from", metavar="MODEL", help="recogniser that the listener begins as"
    )
    parser.add_argument("--ctc-only", action="store_true", help="train the listener alone")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_program("train", lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
