"""What the tests of recipes share: running their shell scripts, programs and modules."""

import importlib
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """How a program of a recipe ended."""

    returncode: int
    stdout: str
    stderr: str


Script = Callable[..., Done]


def script_runner(recipe: Path, capsys: pytest.CaptureFixture[str]) -> Script:
    """What runs a program of a recipe in this process: torch takes seconds to load."""

    def run_script(name: str, *arguments: object) -> Done:
        main = runpy.run_path(str(recipe / name))["main"]
        code = main([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return run_script


@contextmanager
def imported(recipe: Path, modules: Sequence[str]) -> Iterator[SimpleNamespace]:
    """The modules of a recipe, for as long as they are needed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(recipe)
        yield SimpleNamespace(**{name: importlib.import_module(name) for name in modules})
        for name in modules:
            del sys.modules[name]


def run(*command: object, timeout: int = 590) -> "subprocess.CompletedProcess[str]":
    """Run a command with the checkout's code."""
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
