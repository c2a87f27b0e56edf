"""What several recipes' programs do alike; what they measure is their own.  Loads no torch."""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from asr.cli import run_program
from asr.errors import ConfigError
from asr.readme_table import write_table
from asr.training_log import read_metrics

__all__ = [
    "ScoreProgram",
    "describe_machine",
    "machine_facts",
    "run_score",
    "timed",
    "training_facts",
    "training_seconds",
]

_SECONDS_FILE = "seconds"


def machine_facts() -> dict[str, Any]:
    """What a figure's time depends on, for score.json."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "torch": version("torch"),
    }


def describe_machine() -> str:
    """The same in words."""
    facts = machine_facts()
    return f"{facts['cores']} {facts['processor']} cores, torch {facts['torch']}"


class ScoreProgram(NamedTuple):
    """What is particular about a recipe's score.py.

    Args:
        description: for its help.
        names_help: what the names on its command line are.
        summarize: from the experiment folder and the names to what score.json holds.
        table: what score.json holds as Markdown.
        headline: the main result in a few words.
    """

    description: str
    names_help: str
    summarize: Callable[[Path, Sequence[str]], dict[str, Any]]
    table: Callable[[dict[str, Any]], str]
    headline: Callable[[dict[str, Any]], str]


def run_score(program: ScoreProgram, argv: Sequence[str] | None = None) -> int:
    """Run `score.py EXP NAME...` or `score.py --table EXP`: EXP/score.json, printed as a table.

    Returns:
        The exit code; see `asr.cli.run_program`.
    """
    parser = argparse.ArgumentParser(description=program.description)
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("names", metavar="NAME", nargs="*", help=program.names_help)
    parser.add_argument("--table", action="store_true", help="print the table of score.json again")
    parser.add_argument("--readme", type=Path, help="also write the table there")
    arguments = parser.parse_args(argv)
    return run_program("score", lambda: _score(program, arguments))


def _score(program: ScoreProgram, arguments: argparse.Namespace) -> int:
    path: Path = arguments.exp / "score.json"
    if arguments.table:
        result = json.loads(path.read_text(encoding="utf-8"))
    else:
        result = program.summarize(arguments.exp, arguments.names)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    table = program.table(result)
    print(table)
    if arguments.readme:
        write_table(arguments.readme, table)
    print(f"{path}: {program.headline(result)}")
    return 0


@contextmanager
def timed(exp: Path) -> Iterator[None]:
    """Add the time and the CPU time of a training to those that EXP/seconds has.

    Args:
        exp: its experiment folder; nothing is written where it does not exist in the end.
    """
    started, cpu_started = time.monotonic(), time.process_time()
    try:
        yield
    finally:
        wall, cpu = time.monotonic() - started, time.process_time() - cpu_started
        path = exp / _SECONDS_FILE
        if path.exists():
            before = path.read_text(encoding="utf-8").split()
            wall, cpu = wall + int(before[0]), cpu + int(before[1])
        if exp.is_dir():
            path.write_text(f"{wall:.0f} {cpu:.0f}\n", encoding="utf-8")


def training_seconds(exp: Path) -> dict[str, int]:
    """Return how long a training took by EXP/seconds, for score.json; nothing where it is not.

    Args:
        exp: its experiment folder.

    Returns:
        training_seconds, training_cpu_seconds.
    """
    path = exp / _SECONDS_FILE
    if not path.exists():
        return {}
    wall, cpu = map(int, path.read_text(encoding="utf-8").split())
    return {"training_seconds": wall, "training_cpu_seconds": cpu}


def training_facts(exp: Path) -> dict[str, Any]:
    """How long a model was trained within `timed`, and what for, for score.json.

    Args:
        exp: its experiment folder.

    Returns:
        epochs, perplexity (the lowest on dev, a symbol), training_seconds, training_cpu_seconds.

    Raises:
        ConfigError: the folder holds no training that has ended.
    """
    try:
        lines = read_metrics(exp / "metrics.jsonl")
        wall, cpu = (exp / _SECONDS_FILE).read_text(encoding="utf-8").split()
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be read ({error.strerror}); train the model first"
        ) from None
    dev = [line for line in lines if line["kind"] == "dev"]
    if not dev:
        raise ConfigError(f"{exp}: no evaluation yet; let the training end first")
    return {
        "epochs": dev[-1]["epoch"],
        "perplexity": min(line["perplexity"] for line in dev),
        "training_seconds": int(wall),
        "training_cpu_seconds": int(cpu),
    }
