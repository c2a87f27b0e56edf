import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from asr import formats
from asr.audio import save_wav
from asr.cli import main
from asr.commands import transcribe as command
from asr.transcribe import load

from .test_transcribe import make_sound


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with three recordings, of which two have one name."""
    folder = tmp_path / "recordings"
    for number, name in enumerate(("one/a.wav", "two/a.wav", "two/b.wav")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save_wav(folder / name, make_sound(2.0 + number, seed=number))
    return folder


@pytest.fixture
def texts(recordings: Path, tiny_model: Path) -> dict[str, str]:
    """What is said in each of them."""
    paths = sorted(recordings.rglob("*.wav"))
    transcripts = load(tiny_model, "cpu").transcribe(paths)
    assert all(transcript.text for transcript in transcripts)
    return {
        path.relative_to(recordings).as_posix(): transcript.text
        for path, transcript in zip(paths, transcripts, strict=True)
    }


@pytest.fixture
def run(tiny_model: Path, capfd: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["transcribe", "--model", str(tiny_model), *map(str, arguments)])
        return code, *capfd.readouterr()

    return run


def test_one_recording_prints_its_text_alone(run, recordings: Path, texts) -> None:
    assert run(recordings / "one/a.wav") == (0, texts["one/a.wav"] + "\n", "")
    upper = texts["one/a.wav"].upper()
    assert run("--case", "upper", recordings / "one/a.wav") == (0, upper + "\n", "")


def test_several_print_a_line_each_in_their_order(run, recordings: Path, texts) -> None:
    names = ["two/b.wav", "one/a.wav"]
    expected = "".join(f"{recordings / name}\t{texts[name]}\n" for name in names)
    assert run(*(recordings / name for name in names)) == (0, expected, "")


def test_a_folder_stands_for_the_recordings_in_it(run, recordings: Path, texts) -> None:
    (recordings / "notes.md").write_text("no audio")
    code, output, errors = run(recordings)
    assert (code, errors) == (0, "")
    assert output == "".join(f"{recordings / name}\t{text}\n" for name, text in texts.items())
    # What is named twice is done once.
    assert run(recordings, recordings / "one" / "a.wav")[1] == output


def test_json_lines(run, recordings: Path, texts) -> None:
    code, output, _ = run("--format", "json", recordings)
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [line["text"] for line in lines] == list(texts.values())
    assert [line["audio_filepath"] for line in lines] == [str(recordings / name) for name in texts]
    assert [line["duration"] for line in lines] == [2.0, 3.0, 4.0]
    assert [word["text"] for word in lines[0]["words"]] == lines[0]["text"].split()


@pytest.mark.parametrize("format_name", ["srt", "vtt", "tsv"])
def test_subtitles_on_standard_output(
    format_name: str, run, recordings: Path, tiny_model: Path
) -> None:
    path = recordings / "two/b.wav"
    transcript = load(tiny_model, "cpu").transcribe(path)
    expected = formats.FORMATS[format_name](transcript)
    assert run("--format", format_name, path) == (0, expected, "")
    code, output, errors = run("--format", format_name, recordings)
    assert (code, output) == (2, "")
    assert f"--format {format_name} for 3 recordings needs --output-dir" in errors


def test_the_command_knows_the_formats() -> None:
    assert tuple(formats.FORMATS) == command._FORMATS


def test_files_of_all_formats(run, recordings: Path, texts, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    arguments = ["--format", "txt,json", "--format", "srt, vtt,tsv", "--format", "txt"]
    assert run(recordings, *arguments, "--output-dir", output) == (0, "", "")
    written = sorted(path.name for path in output.iterdir())
    names = ["b", "one-a", "two-a"]
    assert written == sorted(f"{name}.{suffix}" for name in names for suffix in formats.FORMATS)
    assert (output / "one-a.txt").read_text() == texts["one/a.wav"] + "\n"
    assert (output / "two-a.txt").read_text() == texts["two/a.wav"] + "\n"
    assert json.loads((output / "b.json").read_text())["text"] == texts["two/b.wav"]
    assert (output / "b.vtt").read_text().startswith("WEBVTT\n\n00:00:0")
    # A second run replaces them.
    (output / "b.txt").write_text("old")
    run(recordings, "--output-dir", output)
    assert (output / "b.txt").read_text() == texts["two/b.wav"] + "\n"


def test_names_that_tell_recordings_apart() -> None:
    def names(*paths: str) -> list[str]:
        return command._output_names([f"/data/{path}" for path in paths])

    assert names("x/a.wav", "x/b.flac") == ["a", "b"]
    assert names("x/a.wav", "y/a.wav", "y/b.wav") == ["x-a", "y-a", "b"]
    assert names("1/x/a.wav", "2/x/a.wav") == ["1-x-a", "2-x-a"]
    assert names("x/a.wav", "x/a.mp3") == ["a.wav", "a.mp3"]
    assert names("x/a.wav", "x/a.mp3", "y/a.wav") == ["x-a.wav", "a.mp3", "y-a.wav"] or names(
        "x/a.wav", "x/a.mp3", "y/a.wav"
    ) == ["a.wav", "a.mp3", "a"]
    assert names("x/A.wav", "y/a.wav") == ["x-A", "y-a"]
    assert names("x/a.wav", "y/a.wav", "z/x-a.wav") == ["data-x-a", "y-a", "z-x-a"]
    assert command._output_names(["-", "b.wav"]) == ["stdin", "b"]
    assert command._output_names(["talk.2024.wav"]) == ["talk.2024"]


def test_no_recording_is_overwritten(run, recordings: Path, tmp_path: Path) -> None:
    disguised = tmp_path / "talk.txt"
    shutil.copy(recordings / "one/a.wav", disguised)
    before = disguised.read_bytes()
    code, output, errors = run(disguised, "--output-dir", tmp_path)
    assert (code, output) == (2, "")
    assert f"{disguised}: is a recording to be transcribed and would be overwritten" in errors
    assert disguised.read_bytes() == before


def test_one_bad_recording_among_many(run, recordings: Path, texts, tmp_path: Path) -> None:
    (recordings / "two/bad.wav").write_text("not audio")
    (recordings / "zz.wav").write_bytes(b"")
    missing = tmp_path / "missing.wav"
    output = tmp_path / "output"
    code, printed, errors = run(missing, recordings, "--output-dir", output)
    assert (code, printed) == (2, "")
    assert sorted(path.name for path in output.iterdir()) == ["b.txt", "one-a.txt", "two-a.txt"]
    lines = errors.splitlines()
    assert len(lines) == 3
    for line, name in zip(sorted(lines), ("missing.wav", "bad.wav", "zz.wav"), strict=True):
        assert line.startswith("asr: error: ")
        assert name in line
    code, printed, errors = run(recordings)
    assert code == 2
    assert printed == "".join(f"{recordings / name}\t{text}\n" for name, text in texts.items())
    assert len(errors.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "docx"], "--format docx: choose from txt, json, srt, vtt, tsv"),
        (["--format", "txt,"], "--format ,: choose from"),
        (["--format", "txt,srt"], "several formats need --output-dir"),
        (["--case", "title"], "--case"),
        (["--threads", "0"], "--threads 0: 1 or more"),
        (["--batch-seconds", "0"], "--batch-seconds 0.0: 1 or more"),
        (["--batch-seconds", "nan"], "--batch-seconds nan"),
        (["--device", "gpu"], "device 'gpu'"),
        (["--output-dir", __file__], "--output-dir"),
        (["--model", "none"], "none: no model folder"),
    ],
)
def test_wrong_options(arguments: list[str], says: str, run, recordings: Path) -> None:
    code, output, errors = run(recordings / "one/a.wav", *arguments)
    assert (code, output) == (2, "")
    assert says in errors
    assert len(errors.splitlines()) == 1


def test_options_of_speed_change_no_text(run, recordings: Path) -> None:
    expected = run(recordings)
    assert run(recordings, "--threads", 1, "--batch-seconds", 2, "--device", "cpu") == expected


def as_process(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "asr", "transcribe", *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=120, **options)


def test_standard_input(recordings: Path, texts, tiny_model: Path, tmp_path: Path) -> None:
    data = (recordings / "two/b.wav").read_bytes()
    done = as_process("-", "--model", tiny_model, input=data, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == texts["two/b.wav"] + "\n"
    options = ["--model", tiny_model, "--output-dir", tmp_path / "o"]
    assert as_process("-", *options, input=data).returncode == 0
    assert (tmp_path / "o/stdin.txt").read_text() == texts["two/b.wav"] + "\n"


def test_the_bar_goes_to_a_terminal_and_the_text_to_standard_output(
    recordings: Path, texts, tiny_model: Path
) -> None:
    (recordings / "bad.wav").write_text("not audio")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    done = as_process(
        recordings, "--model", tiny_model, stdout=subprocess.PIPE, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65_536)
        except OSError:  # the end, on Linux
            break
        if not data:
            break
        shown += data
    os.close(master)
    assert done.returncode == 2
    expected = "".join(f"{recordings / name}\t{text}\n" for name, text in texts.items())
    assert done.stdout.decode() == expected
    assert b"x real time" in shown
    assert b"asr: error: " in shown
    assert b"bad.wav" in shown


def test_an_interrupted_run_leaves_whole_files_only(tiny_model: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "many", tmp_path / "output"
    folder.mkdir()
    for number in range(300):
        save_wav(folder / f"{number}.wav", make_sound(5.0, seed=number % 7))
    command = [sys.executable, "-m", "asr", "transcribe", str(folder), "--model", str(tiny_model)]
    options = [
        "--output-dir",
        str(output),
        "--format",
        "json",
        "--batch-seconds",
        "5",
        "--threads",
        "1",
    ]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    # A file that is being written is hidden, and may never become whole.
    while not (output.is_dir() and any(p.name[0] != "." for p in output.iterdir())):
        assert time.monotonic() < limit
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "asr: error: interrupted\n"
    written = list(output.iterdir())
    assert 0 < len(written) < 300
    for path in written:
        assert path.suffix == ".json"
        assert not path.name.startswith(".")
        assert json.loads(path.read_text())["duration"] == 5.0


def test_a_reader_that_goes_away_ends_it_quietly(recordings: Path, tiny_model: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m asr transcribe --model {tiny_model} {recordings} | head -c 1",
        shell=True,
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == b""


def test_silence_is_no_error(run, tmp_path: Path) -> None:
    save_wav(tmp_path / "short.wav", np.zeros(200, np.float32))
    assert run(tmp_path / "short.wav") == (0, "\n", "")
