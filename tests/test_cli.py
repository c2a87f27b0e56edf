"""The command line: what is printed where, and with which exit code it ends."""

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import asr
from asr.cli import COMMANDS, main
from asr.errors import AudioError

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., int]], None]:
    """Add a command `try` that runs a function, or raises what the function raises."""

    def add(run: Callable[..., int]) -> None:
        def configure(parser: argparse.ArgumentParser) -> None:
            parser.add_argument("--count", type=int, default=0)

        module = SimpleNamespace(HELP="try something", configure=configure, run=run)
        monkeypatch.setattr("asr.cli.COMMANDS", (*COMMANDS, "try"))
        monkeypatch.setitem(sys.modules, "asr.commands.try", module)

    return add


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def run_asr(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "asr", *arguments],
        check=False,
        text=True,
        stderr=subprocess.PIPE,
        **options,  # type: ignore[call-overload, no-any-return]
    )


def test_help_lists_every_command_with_its_line(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in COMMANDS:
        module = import_module(f"asr.commands.{name}")
        assert f"{name} {' '.join(module.HELP.split())}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: asr {name}")


def test_every_module_of_a_command_is_registered() -> None:
    folder = Path(asr.__file__).parent / "commands"
    shared = {"__init__", "model_options", "progress_bar"}
    assert set(COMMANDS) == {path.stem for path in folder.glob("*.py")} - shared


def test_help_takes_less_than_half_a_second() -> None:
    # CPU time, since other programs may be running.
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run_asr("--help", stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < 0.5


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"asr {asr.__version__}\n"


def test_no_command_shows_the_help(capsys: Capture) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: asr")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transcribed"], ["'transcribed'", "did you mean 'asr transcribe'"]),
        (["xyzzy"], ["'xyzzy'", *COMMANDS]),
        (["--nothing"], ["--nothing", "asr --help"]),
        (["doctor", "--jsn"], ["--jsn", "asr doctor --help"]),
        (["doctor", "extra"], ["extra", "asr doctor --help"]),
        (["score"], ["REF", "asr score --help"]),
        (["score", "a", "b", "--worst", "many"], ["--worst", "'many'", "asr score --help"]),
        (["score", "a", "b", "--wors", "3"], ["--wors"]),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], words: list[str], capsys: Capture
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("asr: error: ")
    assert captured.err.count("\n") == 1
    assert all(word in captured.err for word in words), captured.err


def test_a_file_in_place_of_a_command(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "speech.wav"
    path.touch()
    assert main([str(path)]) == 2
    assert f"asr transcribe {path}" in capsys.readouterr().err


def test_the_exit_code_is_that_of_the_command(command: Callable[..., None]) -> None:
    command(lambda arguments: arguments.count)
    assert main(["try", "--count", "7"]) == 7


def test_an_error_of_the_user_is_one_line(command: Callable[..., None], capsys: Capture) -> None:
    command(raising(AudioError("x.wav: is empty\nneeds samples")))
    assert main(["try"]) == 2
    assert capsys.readouterr().err == "asr: error: x.wav: is empty needs samples\n"


def test_a_bug_passes_with_its_traceback(command: Callable[..., None]) -> None:
    command(raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        main(["try"])


def test_a_file_that_the_system_refuses_is_one_line(
    command: Callable[..., None], tmp_path: Path, capsys: Capture
) -> None:
    command(lambda _: len((tmp_path / "missing" / "x.txt").read_text()))
    assert main(["try"]) == 2
    message = f"asr: error: {tmp_path}/missing/x.txt: No such file or directory\n"
    assert capsys.readouterr().err == message


def test_an_operating_system_error_without_a_file_is_a_bug(command: Callable[..., None]) -> None:
    command(raising(OSError("something else")))
    with pytest.raises(OSError, match="something else"):
        main(["try"])


def test_an_interrupt_ends_quietly(command: Callable[..., None], capsys: Capture) -> None:
    command(raising(KeyboardInterrupt()))
    assert main(["try"]) == 130
    assert capsys.readouterr().err == "asr: error: interrupted\n"


@pytest.fixture
def score_command(tmp_path: Path) -> tuple[str, ...]:
    """A real command that prints."""
    transcript = tmp_path / "transcript.txt"
    transcript.write_text("ONE TWO THREE\n")
    return ("score", str(transcript), str(transcript))


@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_reader_that_goes_away_is_no_error(
    score_command: tuple[str, ...], buffering: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONUNBUFFERED": buffering}
    try:
        done = run_asr(*score_command, stdout=writer, env=environment)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("buffering", ["", "1"])
def test_a_full_disk_is_one_line(score_command: tuple[str, ...], buffering: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": buffering}
    with open("/dev/full", "w") as full:
        done = run_asr(*score_command, stdout=full, env=environment)
    assert (done.returncode, done.stderr) == (2, "asr: error: No space left on device\n")


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["try"], logging.WARNING),
        (["-v", "try"], logging.INFO),
        (["try", "--verbose"], logging.INFO),
    ],
)
def test_verbose_may_stand_on_either_side(
    arguments: list[str], level: int, command: Callable[..., None]
) -> None:
    levels: list[int] = []

    def run(_: argparse.Namespace) -> int:
        levels.extend(logging.getLogger(name).level for name in ("asr", "lm"))
        return 0

    command(run)
    assert main(arguments) == 0
    assert levels == [level, level]


def test_info_shows_a_line_for_each_error_rate(capsys: Capture) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    for name, result in facts["figures"].items():
        (line,) = (line for line in shown if line.endswith(f"  {name}"))
        assert f"{result['wer']:.1%} ({result['interval'][0]:.1%} to" in line
    assert max(map(len, shown)) < 120
