"""The lessons of this recipe, one after another.

    python recipes/rnn_basics/lessons.py CONF EXP [LESSON ...] [--set A.B=C]
    python recipes/rnn_basics/lessons.py CONF EXP score --readme recipes/rnn_basics/README.md

The lessons are counting, gradients, memory and gates; score collects what they found in
EXP/score.json, prints its table and, if told to, writes it into the README.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import counting
import gates
import gradients
import memory_tasks
from basics_config import BasicsConfig
from results import summarize, table

from asr.checkpoint import write_json
from asr.errors import AsrError, ConfigError
from asr.readme_table import write_table
from asr.toml_config import load_toml

__all__ = ["main"]

LESSONS = {
    "counting": counting.lesson,
    "gradients": gradients.lesson,
    "memory": memory_tasks.lesson,
    "gates": gates.lesson,
}


def _score(exp: Path, readme: Path | None) -> None:
    result = summarize(exp)
    write_json(exp / "score.json", result)
    print(table(result))
    if readme:
        write_table(readme, table(result))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="The lessons of this recipe.")
    parser.add_argument("conf", type=Path, help="TOML file")
    parser.add_argument("exp", type=Path, help="folder to write to")
    parser.add_argument("lessons", nargs="*", metavar="LESSON", help="default: all, and score")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=C")
    parser.add_argument("--readme", type=Path, help="where score also writes its table")
    arguments = parser.parse_args(argv)
    try:
        config = load_toml(BasicsConfig, arguments.conf, arguments.overrides)
        arguments.exp.mkdir(parents=True, exist_ok=True)
        for name in arguments.lessons or [*LESSONS, "score"]:
            if name == "score":
                _score(arguments.exp, arguments.readme)
            elif name in LESSONS:
                LESSONS[name](config, arguments.exp)
            else:
                raise ConfigError(f"lesson {name!r}: use {', '.join(LESSONS)} or score")
    except AsrError as error:
        print(f"rnn_basics: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
