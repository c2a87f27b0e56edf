"""What a user can give that is broken: each gives one clear line on stderr and exit code 2.

The lists below are the list of what is covered.  Every case runs the real command line; the
audio runs against `asr.audio` too.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import load
from asr.cli import main
from asr.errors import AudioError

TONE = 0.3 * np.sin(np.arange(48_000) / 7)


def _bytes(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _sound(
    name: str,
    samples: np.ndarray,
    *,
    sample_rate: int = 16_000,
    subtype: str | None = None,
    keep: float = 1.0,
) -> Callable[[Path], Path]:
    """A sound file of which only the given part is there."""

    def make(folder: Path) -> Path:
        path = folder / name
        kind = "OGG" if path.suffix == ".opus" else path.suffix[1:].upper()
        soundfile.write(path, samples, sample_rate, format=kind, subtype=subtype)
        os.truncate(path, int(path.stat().st_size * keep))
        return path

    return make


def _folder(folder: Path) -> Path:
    (folder / "recordings").mkdir()
    (folder / "recordings" / "notes.txt").write_text("no audio here")
    return folder / "recordings"


def _link(target: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "link.wav").symlink_to(target)
        return folder / "link.wav"

    return make


NAN = TONE.copy()
NAN[30_000] = np.nan
M4A = b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0" + bytes(500)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///a.aac\n#EXT-X-ENDLIST\n"

# What is wrong with it -> how it is made, and what the line has to say.
AUDIO: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "missing.wav", "no such file"),
    "dangling link": (_link("nowhere.wav"), "no such file"),
    "link to itself": (_link("link.wav"), "cannot be read"),
    "device": (lambda folder: Path("/dev/null"), "neither a file nor a pipe"),
    "empty file": (_bytes("empty.wav", b""), "empty file"),
    "a few bytes": (_bytes("short.mp3", b"ID3\x04"), "only 4 bytes"),
    "text": (_bytes("text.wav", b"This is a transcript, not a recording.\n" * 9), "not audio"),
    "web page": (_bytes("page.mp3", b"<!doctype html><title>404</title>" * 9), "not audio"),
    "random bytes": (_bytes("noise.bin", np.random.default_rng(0).bytes(9000)), "audio"),
    "zeros": (_bytes("zeros.mp3", bytes(9000)), "not audio"),
    "play list": (_bytes("list.wav", PLAYLIST), "not audio"),
    "wav header alone": (_sound("none.wav", TONE[:0]), "holds no samples"),
    "cut wav": (_sound("cut.wav", TONE, keep=0.5), "cut short, 50.0% of the audio"),
    "wav cut in its header": (_sound("cut.wav", TONE, keep=0.0003), "bytes, no audio"),
    "cut flac": (_sound("cut.flac", TONE, keep=0.5), "cut short"),
    "cut ogg": (_sound("cut.ogg", TONE, keep=0.5), "cut short"),
    "cut opus": (_sound("cut.opus", TONE, subtype="OPUS", keep=0.5), "cut short"),
    "cut mp3": (_sound("cut.mp3", TONE, keep=0.5), "cut short"),
    "cut aiff": (_sound("cut.aiff", TONE, keep=0.5), "cut short"),
    "not a number": (_sound("nan.wav", NAN, subtype="FLOAT"), "NaN"),
    "65 channels": (_sound("many.wav", np.zeros((99, 65))), "65 channels"),
    "100 Hz": (_sound("slow.wav", TONE, sample_rate=100), "sample rate 100 Hz"),
}


@pytest.mark.parametrize("what", AUDIO)
def test_audio(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, says = AUDIO[what]
    path = make(tmp_path)
    with pytest.raises(AudioError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert capfd.readouterr() == ("", "")


def refused(capfd: pytest.CaptureFixture[str], arguments: list[str], *says: str) -> None:
    """Run a command line and check that it is refused in one line that says all this."""
    capfd.readouterr()
    code = main(arguments)
    output, errors = capfd.readouterr()
    assert code == 2
    assert len(errors.splitlines()) == 1, errors
    assert "Traceback" not in errors
    assert all(part in errors for part in says), errors
    assert output == ""


@pytest.mark.parametrize("what", AUDIO)
def test_transcribe_audio(
    what: str, tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, says = AUDIO[what]
    path = make(tmp_path)
    refused(capfd, ["transcribe", "--model", str(tiny_model), str(path)], str(path), says)


def test_transcribe_folder_without_audio(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["transcribe", "--model", str(tiny_model), str(_folder(tmp_path))]
    refused(capfd, arguments, "recordings", "no audio file")


def test_transcribe_without_ffmpeg(
    tmp_path: Path,
    tiny_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = _bytes("a.m4a", M4A)(tmp_path)
    arguments = ["transcribe", "--model", str(tiny_model), str(path)]
    refused(capfd, arguments, str(path), "not installed", "apt install ffmpeg")


def test_transcribe_empty_standard_input(tiny_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "asr", "transcribe", "--model", str(tiny_model), "-"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "standard input: empty" in done.stderr


GOOD_LINE = json.dumps({"audio_filepath": "a.wav", "duration": 3.0, "text": "HELLO"})

# The second line of a manifest, and what is said of it.
MANIFEST_LINES = {
    "not JSON": ('{"audio_filepath": "a.wav", "duration": 1.0', "not JSON"),
    "no object": ('["a.wav", 1.0, "HELLO"]', "is not an object"),
    "no text": ('{"audio_filepath": "a.wav", "duration": 1.0}', "'text' is missing"),
    "no audio": ('{"duration": 1.0, "text": "HELLO"}', "'audio_filepath' is missing"),
    "negative duration": (GOOD_LINE.replace("3.0", "-3.0"), "duration is -3.0"),
    "duration 0": (GOOD_LINE.replace("3.0", "0"), "duration is 0"),
    "endless": (GOOD_LINE.replace("3.0", "Infinity"), "duration is Infinity"),
    "duration as text": (GOOD_LINE.replace("3.0", '"3 s"'), 'duration is "3 s"'),
    "text as number": (GOOD_LINE.replace('"HELLO"', "17"), "text is 17"),
    "negative offset": (GOOD_LINE.replace("}", ', "offset": -1}'), "offset is -1"),
}


@pytest.mark.parametrize("what", MANIFEST_LINES)
def test_manifest_line(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    line, says = MANIFEST_LINES[what]
    (tmp_path / "m.jsonl").write_text(f"{GOOD_LINE}\n{line}\n{GOOD_LINE}\n")
    arguments = ["prepare", "--check", str(tmp_path / "m.jsonl")]
    refused(capfd, arguments, f"{tmp_path / 'm.jsonl'}:2: ", says)


@pytest.mark.parametrize(
    ("data", "says"),
    [(None, "cannot be read"), (b"", "no utterances"), (b"\xff\xfe{}\n", "not UTF-8")],
)
def test_manifest_file(
    data: bytes | None, says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.jsonl"
    if data is not None:
        path.write_bytes(data)
    refused(capfd, ["prepare", "--check", str(path)], str(path), says)


@pytest.mark.parametrize("what", ["missing", "text", "cut wav"])
def test_evaluate_manifest_of_broken_audio(
    what: str, tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, says = AUDIO[what]
    path = make(tmp_path)
    fields = {"audio_filepath": str(path), "duration": 3.0, "text": "HELLO"}
    (tmp_path / "m.jsonl").write_text(json.dumps(fields) + "\n")
    arguments = ["evaluate", "--model", str(tiny_model), str(tmp_path / "m.jsonl")]
    refused(capfd, arguments, str(path), says)


# A configuration, further arguments, and what is said of them.
CONFIGS: dict[str, tuple[str, list[str], str]] = {
    "not TOML": ("[model\nn_layers = 2\n", [], "not valid TOML"),
    "half a value": ("seed =\n", [], "not valid TOML"),
    "unknown section": ("[modle]\n", [], "modle: unknown name; did you mean model?"),
    "unknown name": ("[model]\nn_layer = 2\n", [], "did you mean n_layers?"),
    "text for a number": ('[model]\nn_layers = "two"\n', [], "model.n_layers"),
    "fraction for a count": ("[model]\nn_layers = 2.5\n", [], "model.n_layers"),
    "out of range": ("[training]\nlearning_rate = -1.0\n", [], "training.learning_rate"),
    "no such choice": ('[model]\ncell = "transformer"\n', [], "model.cell"),
    "value for a section": ("model = 3\n", [], "model"),
    "contradiction": ('[tokenizer]\nkind = "folder"\n', [], "needs tokenizer.folder"),
    "--set without value": ("", ["--set", "model.n_layers"], "needs the form section.name=value"),
    "--set of an unknown name": ("", ["--set", "model.n_layer=2"], "did you mean n_layers?"),
    "--set of a wrong type": ("", ["--set", "model.n_layers=many"], "model.n_layers"),
    "--set below a value": ("seed = 1\n", ["--set", "seed.a=2"], "seed is a value"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configuration(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text, arguments, says = CONFIGS[what]
    (tmp_path / "conf.toml").write_text(text)
    refused(capfd, ["train", "--check", str(tmp_path / "conf.toml"), *arguments], says)


def test_configuration_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "conf.toml"
    refused(capfd, ["train", "--check", str(path)], str(path), "cannot read")
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    refused(capfd, ["train", "--check", str(path)], str(path), "not a text file")
    refused(capfd, ["train", "--check", str(tmp_path)], str(tmp_path), "cannot read")


def test_training_without_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "conf.toml").write_text("seed = 1\n")
    arguments = ["train", str(tmp_path / "conf.toml"), "--exp", str(tmp_path / "exp")]
    refused(capfd, arguments, "data.train")


def _shorten(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return damage


# What is done to a model folder, and the file that the line has to name.
MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (shutil.rmtree, "model"),
    "no configuration": (lambda folder: (folder / "config.toml").unlink(), "config.toml"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
    "cut weights": (_shorten("model.safetensors"), "model.safetensors"),
    "empty weights": (lambda folder: os.truncate(folder / "model.safetensors", 0), "model"),
    "cut tokenizer": (_shorten("tokenizer.json"), "tokenizer.json"),
    "cut configuration": (_replace("config.toml", "[features]", "[features"), "config.toml"),
    "other sizes": (_replace("config.toml", "hidden_size = ", "hidden_size = 1"), "do not belong"),
}


@pytest.mark.parametrize("command", ["info MODEL", "transcribe --model MODEL tone.wav"])
@pytest.mark.parametrize("what", MODELS)
def test_model(
    what: str, command: str, tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, says = MODELS[what]
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    damage(folder)
    tone = _sound("tone.wav", TONE)(tmp_path)
    words = {"MODEL": str(folder), "tone.wav": str(tone)}
    refused(capfd, [words.get(word, word) for word in command.split()], str(folder), says)


# Command lines, in which FILE is a recording, and what is said of them.
COMMAND_LINES = {
    "unknwon": "there is no command 'unknwon'",
    "transcrbe FILE": "did you mean 'asr transcribe'?",
    "FILE": "to turn it into text: asr transcribe",
    "transcribe": "required: FILE",
    "transcribe FILE --fromat txt": "unknown arguments: --fromat",
    "transcribe FILE --format docx": "docx",
    "transcribe FILE --device gpu": "gpu",
    "transcribe FILE --model": "--model: expected one argument",
    "train": "required: CONFIG.toml",
    "score FILE": "required: HYP",
    "score FILE FILE --bootstrap many": "invalid int value: 'many'",
    "score FILE FILE --bootstrap 0": "--bootstrap 0",
    "prepare FILE": "--output is missing",
    "prepare DIR --output DIR/m.jsonl": "no audio file",
    "prepare DIR/none --output DIR/m.jsonl": "no such file or folder",
    "prepare DIR --from librispeech --output DIR/m.jsonl": "*.trans.txt",
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_line(line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tone = _sound("tone.wav", TONE)(tmp_path)
    folder = _folder(tmp_path)
    words = [word.replace("FILE", str(tone)).replace("DIR", str(folder)) for word in line.split()]
    refused(capfd, words, COMMAND_LINES[line])


# Reference and hypothesis to score, and what is said of them.
TRANSCRIPTS: dict[str, tuple[str | None, str | None, str]] = {
    "no reference": (None, "A\n", "ref"),
    "no hypothesis": ("A\n", None, "hyp"),
    "empty reference": ("", "A\n", "holds no transcripts"),
    "other number of lines": ("A\nB\n", "A\n", "2 references but 1 hypotheses"),
    "hypothesis lacks an id": ("A (u1)\nB (u2)\n", "A (u1)\n", "u2"),
    "id twice": ("A (u1)\nB (u1)\n", "A (u1)\nB (u2)\n", "u1"),
    "broken JSON": ('{"id": "u1", "text": "A"}\n{"id": \n', "A\n", "ref:2"),
}


@pytest.mark.parametrize("what", TRANSCRIPTS)
def test_transcripts(what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    reference, hypothesis, says = TRANSCRIPTS[what]
    for name, text in (("ref", reference), ("hyp", hypothesis)):
        if text is not None:
            (tmp_path / name).write_text(text)
    refused(capfd, ["score", str(tmp_path / "ref"), str(tmp_path / "hyp")], says)


def test_as_a_process(tmp_path: Path) -> None:
    """The whole program, as a shell sees it."""
    done = subprocess.run(
        [sys.executable, "-m", "asr", "train", "--check", str(tmp_path / "none.toml")],
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"asr: error: {tmp_path / 'none.toml'}: ")
    assert len(done.stderr.splitlines()) == 1
