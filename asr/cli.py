"""The command `asr`: finds the command's module, runs it and turns errors into one line."""

import argparse
import difflib
import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from asr import __version__
from asr.errors import AsrError, ConfigError

__all__ = ["COMMANDS", "Parser", "main", "run_program"]

# Each is asr/commands/NAME.py, in the order in which `asr --help` lists them.
COMMANDS = (
    "transcribe",
    "train",
    "tune",
    "evaluate",
    "score",
    "prepare",
    "align",
    "info",
    "doctor",
)

INTERRUPTED = 128 + 2  # what a shell reports after SIGINT
BROKEN_PIPE = 128 + 13  # what a shell reports after SIGPIPE


class Parser(argparse.ArgumentParser):
    """A parser whose errors are the project's: one line, without the usage in front."""

    def error(self, message: str) -> NoReturn:
        """Raise what went wrong.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message} (see '{self.prog} --help')")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: The arguments after the program's name; those of the process by default.

    Returns:
        The exit code, see `run_program`.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_program("asr", lambda: _run(arguments))


def run_program(name: str, run: Callable[[], int]) -> int:
    """Run a program's work and tell the user's errors in one line on standard error.

    Args:
        name: Stands in front of the line.
        run: Does the work and returns the exit code.

    Returns:
        The exit code: that of the work, 2 for bad input or arguments, 130 interrupted, 141 when
        the reader of standard output went away.

    Raises:
        Exception: Whatever is not the user's doing, so a bug, passes with its traceback.
    """
    try:
        code = run()
        sys.stdout.flush()
        return code
    except AsrError as error:
        message, code = str(error), error.exit_code
    except KeyboardInterrupt:
        message, code = "interrupted", INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _drop_output()
        elif error.filename is None:
            raise
        place = "" if error.filename is None else f"{error.filename}: "
        message, code = f"{place}{error.strerror}", AsrError.exit_code
    print(f"{name}: error: {' '.join(message.splitlines())}", file=sys.stderr)
    return code


def _run(argv: list[str]) -> int:
    name = next((argument for argument in argv if not argument.startswith("-")), None)
    if name is not None and name not in COMMANDS:
        raise ConfigError(_unknown_command(name))
    parser = Parser(
        prog="asr", description="Speech recognition: recordings into text.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"asr {__version__}")
    _add_verbose(parser, default=False)
    choices = parser.add_subparsers(metavar="COMMAND", required=name is not None)
    # Only the chosen command is imported; the help shows them all.
    for each in COMMANDS if name is None else (name,):
        _add_command(choices, each)
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except SystemExit as stop:  # --help and --version have printed
        return int(stop.code or 0)
    if unknown:
        program = "asr" if name is None else f"asr {name}"
        raise ConfigError(f"unknown arguments: {' '.join(unknown)} (see '{program} --help')")
    if name is None:
        parser.print_help(sys.stderr)
        return ConfigError.exit_code
    _log(verbose=arguments.verbose)
    return int(arguments.run(arguments))


def _add_command(choices: "argparse._SubParsersAction[Parser]", name: str) -> None:
    module: ModuleType = import_module(f"asr.commands.{name}")
    parser = choices.add_parser(
        name,
        help=module.HELP,
        description=module.HELP,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.configure(parser)
    _add_verbose(parser, default=argparse.SUPPRESS)
    parser.set_defaults(run=module.run)


def _add_verbose(parser: argparse.ArgumentParser, *, default: bool | str) -> None:
    parser.add_argument(
        "-v", "--verbose", action="store_true", default=default, help="log what is being done"
    )


def _unknown_command(name: str) -> str:
    if Path(name).exists():
        return f"{name!r} is a file, not a command; to turn it into text: asr transcribe {name}"
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    if close:
        return f"there is no command {name!r}; did you mean 'asr {close[0]}'?"
    return f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}"


def _log(*, verbose: bool) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    for package in ("asr", "lm"):
        logging.getLogger(package).setLevel(logging.INFO if verbose else logging.WARNING)


def _drop_output() -> None:
    # Python flushes standard output once more at exit, which would complain again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
