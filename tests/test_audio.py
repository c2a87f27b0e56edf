"""Audio of every kind to mono float32 at 16 kHz, and what is refused."""

import io
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from asr.audio import (
    AUDIO_SUFFIXES,
    SAMPLE_RATE,
    AudioInfo,
    find,
    inspect,
    load,
    resample,
    save_wav,
    stream,
)
from asr.errors import AudioError

needs_ffmpeg = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")), reason="ffmpeg is not installed"
)

# name -> soundfile's format and subtype, and the relative RMS error that it may make
FORMATS = {
    "u8.wav": ("WAV", "PCM_U8", 4e-2),
    "i16.wav": ("WAV", "PCM_16", 2e-4),
    "i24.wav": ("WAV", "PCM_24", 1e-6),
    "i32.wav": ("WAV", "PCM_32", 1e-6),
    "f32.wav": ("WAV", "FLOAT", 1e-6),
    "f64.wav": ("WAV", "DOUBLE", 1e-6),
    "mulaw.wav": ("WAV", "ULAW", 2e-2),
    "alaw.wav": ("WAV", "ALAW", 2e-2),
    "extensible.wav": ("WAVEX", "PCM_16", 2e-4),
    "long.rf64": ("RF64", "PCM_16", 2e-4),
    "long.w64": ("W64", "PCM_16", 2e-4),
    "a.aiff": ("AIFF", "PCM_16", 2e-4),
    "a.au": ("AU", "PCM_16", 2e-4),
    "a.caf": ("CAF", "PCM_16", 2e-4),
    "a.sph": ("NIST", "PCM_16", 2e-4),
    "a.flac": ("FLAC", "PCM_16", 2e-4),
    "a.ogg": ("OGG", "VORBIS", 5e-2),
    "a.opus": ("OGG", "OPUS", 1e-1),
    "a.mp3": ("MP3", "MPEG_LAYER_III", 5e-2),
}
# Those that state a length or mark their end.
WHOLE = [name for name in FORMATS if name not in ("a.caf", "a.sph", "long.w64")]
FFMPEG_CODECS = {"a.m4a": "aac", "a.mp4": "aac", "a.webm": "libopus", "a.mka": "flac"}


def tones(
    seconds: float, sample_rate: int = SAMPLE_RATE, n_channels: int = 1
) -> NDArray[np.floating]:
    """Three partials that swell and fade, (N,) or (N, channels); channels differ in level."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    wave = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 470.0, 1130.0))
    wave = 0.2 * wave * (0.55 + 0.45 * np.sin(2 * np.pi * 0.7 * time))
    if n_channels == 1:
        return wave
    return np.outer(wave, np.linspace(1.0, 0.4, n_channels))


def relative_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def write(
    path: Path, wave: NDArray[np.floating], sample_rate: int = SAMPLE_RATE, kind: str | None = None
) -> Path:
    """Write the audio in the format of FORMATS that has the path's name, or `kind`."""
    audio_format, subtype, _ = FORMATS[kind or path.name]
    soundfile.write(path, wave, sample_rate, format=audio_format, subtype=subtype)
    return path


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-nostdin", *map(str, arguments)], check=True)


@pytest.fixture
def no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which nothing is found."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))


# Formats


@pytest.mark.parametrize("name", FORMATS)
def test_formats_of_libsndfile(name: str, tmp_path: Path, no_ffmpeg: None) -> None:
    wave = tones(1.5)
    path = write(tmp_path / name, wave)
    loaded = load(path)
    assert loaded.dtype == np.float32
    assert loaded.shape == wave.shape
    assert relative_error(loaded, wave) < FORMATS[name][2]
    assert inspect(path) == AudioInfo(SAMPLE_RATE, 1, 24_000, 1.5)


@needs_ffmpeg
@pytest.mark.parametrize("name", FFMPEG_CODECS)
def test_formats_of_ffmpeg(name: str, tmp_path: Path) -> None:
    wave = tones(2.0, 48_000, 2)
    write(tmp_path / "i16.wav", wave, 48_000)
    path = tmp_path / name
    ffmpeg("-i", tmp_path / "i16.wav", "-c:a", FFMPEG_CODECS[name], path)
    loaded = load(path)
    # Encoders fill up their last frame.
    assert abs(len(loaded) - 32_000) < 1000
    assert relative_error(loaded[:32_000], resample(wave.mean(axis=1), 48_000, 16_000)) < 0.05
    info = inspect(path)
    assert (info.sample_rate, info.n_channels) == (48_000, 2)
    assert info.duration == pytest.approx(2.0, abs=0.03)


@needs_ffmpeg
def test_sound_of_a_video(tmp_path: Path) -> None:
    """The sound is shorter than the picture, which is no reason to take it for cut short."""
    write(tmp_path / "i16.wav", tones(1.0))
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=d=3:s=64x64:r=5", "-i", tmp_path / "i16.wav"),
        tmp_path / "film.mkv",
    )
    assert len(load(tmp_path / "film.mkv")) == pytest.approx(16_000, abs=1000)


@pytest.mark.parametrize("kind", ["a.mp3", "a.flac", "a.opus", "i16.wav"])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.m4a", "x"])
def test_content_decides_not_the_name(kind: str, name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, tones(0.5), kind=kind)
    assert len(load(path)) == 8000


def test_odd_names(tmp_path: Path) -> None:
    data = write(tmp_path / "i16.wav", tones(0.1)).read_bytes()
    for name in ("-", "-i.wav", "a 'b'.wav", "ключ 音.wav", "http:x", os.fsdecode(b"\xff.wav")):
        (tmp_path / name).write_bytes(data)
        assert len(load(tmp_path / name)) == 1600


@needs_ffmpeg
@pytest.mark.parametrize("name", ["-i.m4a", "http:x.m4a", "a 'b' %d.m4a", "音.m4a"])
def test_odd_names_for_ffmpeg(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "i16.wav", tones(0.5))
    ffmpeg("-i", tmp_path / "i16.wav", tmp_path / "a.m4a")
    (tmp_path / "a.m4a").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(load(name)) > 7900


# Resampling and channels


@pytest.mark.parametrize("sample_rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_tone_keeps_frequency_and_level(sample_rate: int, tmp_path: Path) -> None:
    n_samples = sample_rate * 2 + 7
    time = np.arange(n_samples) / sample_rate
    path = write(tmp_path / "f32.wav", 0.5 * np.sin(2 * np.pi * 1000 * time), sample_rate)
    loaded = load(path)
    assert abs(len(loaded) - round(n_samples * 16_000 / sample_rate)) <= 1
    # The edges ring; what lies between is the same tone with the same phase.
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(loaded)) / 16_000)
    assert np.abs(loaded - expected)[1000:-1000].max() < 1e-4


@pytest.mark.parametrize(
    ("sample_rate", "hz"), [(48_000, 9_000), (44_100, 12_000), (96_000, 30_000)]
)
def test_tone_above_nyquist_vanishes(sample_rate: int, hz: int) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(sample_rate) / sample_rate).astype(np.float32)
    result = resample(tone, sample_rate, 16_000)
    assert 20 * np.log10(np.abs(result)[1000:-1000].max()) < -80


@pytest.mark.parametrize("n_channels", [2, 6, 64])
def test_channels_are_averaged(n_channels: int, tmp_path: Path) -> None:
    wave = tones(0.5, n_channels=n_channels)
    path = write(tmp_path / "f32.wav", wave)
    assert np.abs(load(path) - wave.mean(axis=1)).max() < 1e-6
    assert inspect(path).n_channels == n_channels


def test_other_rates_may_be_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "i16.wav", tones(1.0, 44_100), 44_100)
    assert len(load(path, sample_rate=8_000)) == 8_000
    assert len(load(path, sample_rate=44_100)) == 44_100


# Streams


@pytest.mark.parametrize("block_seconds", [0.13313, 2.0, 30.0])
@pytest.mark.parametrize("name", ["i16.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a"])
def test_stream_equals_load(name: str, block_seconds: float, tmp_path: Path) -> None:
    wave = tones(7.3, 48_000 if name in ("a.opus", "a.m4a") else 44_100, 2)
    rate = 48_000 if name in ("a.opus", "a.m4a") else 44_100
    if name == "a.m4a":
        if not shutil.which("ffmpeg"):
            pytest.skip("ffmpeg is not installed")
        ffmpeg("-i", write(tmp_path / "i16.wav", wave, rate), tmp_path / name)
    else:
        write(tmp_path / name, wave, rate)
    blocks = list(stream(tmp_path / name, block_seconds=block_seconds))
    assert {len(block) for block in blocks[:-1]} <= {round(block_seconds * 16_000)}
    assert 0 < len(blocks[-1]) <= round(block_seconds * 16_000)
    assert all(block.flags.writeable for block in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks), load(tmp_path / name))


def test_resampled_stream_equals_one_shot(tmp_path: Path) -> None:
    wave = tones(9.0, 44_100).astype(np.float32)
    path = write(tmp_path / "f32.wav", wave, 44_100)
    np.testing.assert_array_equal(load(path), resample(wave, 44_100, 16_000))


def test_an_hour_in_bounded_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "i16.wav", np.zeros((1600, 2)))
    n_bytes = 3600 * 16_000 * 2 * 2
    header = bytearray(path.read_bytes()[:44])
    header[40:44] = n_bytes.to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, 44 + n_bytes)  # sparse: 230 MB that lie nowhere
    program = (
        "import resource, sys; from asr.audio import load, stream\n"
        "load(sys.argv[1], duration=1.0)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(sum(len(block) for block in stream(sys.argv[1], block_seconds=30)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, check=True, text=True
    )
    n_samples, growth = map(int, done.stdout.split())
    assert n_samples == 3600 * 16_000
    # Kilobytes on Linux, bytes on macOS; the whole hour would take 230 MB as mono floats.
    assert growth < 50_000 * (1024 if sys.platform == "darwin" else 1)


def test_abandoned_stream_ends_ffmpeg(tmp_path: Path) -> None:
    """Left-over processes and open files would be resource warnings, which fail the test."""
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    ffmpeg("-i", write(tmp_path / "i16.wav", tones(20.0)), tmp_path / "a.m4a")
    blocks = stream(tmp_path / "a.m4a", block_seconds=0.5)
    assert len(next(blocks)) == 8000
    blocks.close()  # type: ignore[attr-defined]
    assert len(load(tmp_path / "a.m4a", duration=0.25)) == 4000


# Stretches


@pytest.mark.parametrize("name", ["i16.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a"])
def test_stretch_is_that_part_of_the_whole(name: str, tmp_path: Path) -> None:
    if name == "a.m4a":
        if not shutil.which("ffmpeg"):
            pytest.skip("ffmpeg is not installed")
        ffmpeg("-i", write(tmp_path / "i16.wav", tones(8.0)), tmp_path / name)
    else:
        write(tmp_path / name, tones(8.0))
    whole = load(tmp_path / name)
    for offset, duration in ((1.23456, 2.5), (7.5, 9.0)):
        part = load(tmp_path / name, offset=offset, duration=duration)
        start = round(offset * 16_000)
        end = None if duration is None else start + round(duration * 16_000)
        assert len(part) == len(whole[start:end])
        # Opus decoders converge on what came before (RFC 7845, 4.6).
        assert np.abs(part - whole[start:end]).max() < 1e-4


def test_stretch_does_not_read_the_rest(tmp_path: Path) -> None:
    """Damage behind the stretch stays unseen."""
    path = write(
        tmp_path / "a.flac", tones(20.0) + 0.01 * np.random.default_rng(0).normal(size=320_000)
    )
    data = bytearray(path.read_bytes())
    data[len(data) * 3 // 4 :][:2000] = bytes(2000)
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    assert len(load(path, offset=1.0, duration=2.0)) == 32_000
    with pytest.raises(
        AudioError, match=r"a\.flac: cut short or damaged, only \d+\.\d+ of 20\.00 s"
    ):
        load(path)


@pytest.mark.parametrize("name", ["i16.wav", "a.flac", "a.mp3"])
def test_offset_behind_the_end(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, tones(1.0))
    with pytest.raises(AudioError, match=rf"{name}: ends at 1\.00 s, before offset 3\.00 s"):
        load(path, offset=3.0)


@pytest.mark.parametrize(
    ("offset", "duration"),
    [(-1.0, None), (float("nan"), None), (0.0, 0.0), (0.0, -2.0), (0.0, float("nan"))],
)
def test_impossible_stretches(offset: float, duration: float | None, tmp_path: Path) -> None:
    path = write(tmp_path / "i16.wav", tones(1.0))
    with pytest.raises(AudioError, match=r"i16\.wav: offset .* no stretch"):
        load(path, offset=offset, duration=duration)


# Pipes and file objects


@pytest.fixture
def pipe_of() -> Iterator[object]:
    """A function that gives the reading end of a pipe into which a thread writes the bytes."""
    threads: list[threading.Thread] = []
    ends: list[BinaryIO] = []

    def make(data: bytes) -> BinaryIO:
        reading, writing = os.pipe()

        def feed() -> None:
            with open(writing, "wb") as file:
                file.write(data)

        threads.append(threading.Thread(target=feed))
        threads[-1].start()
        ends.append(os.fdopen(reading, "rb"))
        return ends[-1]

    yield make
    for thread in threads:
        thread.join()
    for end in ends:
        end.close()


PIPED = ["i16.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.aiff"]


@pytest.mark.parametrize("name", PIPED)
def test_pipe_and_file_object(name: str, tmp_path: Path, pipe_of) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / name, tones(5.0, 48_000, 2), 48_000)
    expected = load(path)
    np.testing.assert_array_equal(load(pipe_of(path.read_bytes())), expected)
    np.testing.assert_array_equal(load(io.BytesIO(path.read_bytes())), expected)
    with path.open("rb") as file:
        np.testing.assert_array_equal(np.concatenate(list(stream(file))), expected)


@pytest.mark.parametrize("name", ["i16.wav", "a.opus"])
def test_standard_input(name: str, tmp_path: Path) -> None:
    data = write(tmp_path / name, tones(1.0)).read_bytes()
    command = [sys.executable, "-c", "from asr.audio import load; print(len(load('-')))"]
    piped = subprocess.run(command, input=data, capture_output=True, check=True)
    assert piped.stdout.split() == [b"16000"]


def test_standard_input_that_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    master, terminal = pty.openpty()
    with os.fdopen(master), os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pytest.raises(AudioError, match="standard input: nothing is piped into it"):
            load("-")


@needs_ffmpeg
def test_pipe_that_ffmpeg_decodes(tmp_path: Path, pipe_of) -> None:  # type: ignore[no-untyped-def]
    """An MP4 has its table at the end, so a pipe alone would not do."""
    ffmpeg("-i", write(tmp_path / "i16.wav", tones(1.0)), tmp_path / "a.m4a")
    np.testing.assert_array_equal(
        load(pipe_of((tmp_path / "a.m4a").read_bytes())), load(tmp_path / "a.m4a")
    )


def test_named_pipe(tmp_path: Path) -> None:
    data = write(tmp_path / "a.flac", tones(1.0)).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    assert len(load(tmp_path / "pipe")) == 16_000
    writer.join()


def test_empty_pipe(pipe_of) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AudioError, match="empty file"):
        load(pipe_of(b""))


# Lengths that headers hide


def test_wav_of_a_program_that_wrote_to_a_pipe(tmp_path: Path) -> None:
    path = write(tmp_path / "i16.wav", tones(1.0))
    for size in (0xFFFFFFFF, 0xFFFFFFD8, 0x7FFFFFFF, 0x80000000, 0x7F000024):
        data = bytearray(path.read_bytes())
        data[40:44] = size.to_bytes(4, "little")
        path.write_bytes(data)
        assert len(load(path)) == 16_000
        assert inspect(path).n_samples == 16_000


def test_flac_without_a_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", tones(1.0))
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the number of samples in STREAMINFO
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert inspect(path) == AudioInfo(SAMPLE_RATE, 1, 16_000, 1.0)
    assert len(load(path)) == 16_000
    assert len(load(path, offset=0.25)) == 12_000


def loud_then_quiet() -> NDArray[np.floating]:
    noise = np.random.default_rng(0).normal(size=160_000) * 0.1
    noise[16_000:] = 0
    return noise


@pytest.mark.parametrize("hidden", [True, False])
def test_mp3_without_length_tag_keeps_its_end(hidden: bool, tmp_path: Path) -> None:
    """libsndfile alone estimates the length from the first frames and drops what is beyond."""
    path = tmp_path / "a.mp3"
    soundfile.write(
        path,
        loud_then_quiet(),
        SAMPLE_RATE,
        format="MP3",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    )
    with_tag = load(path)
    assert len(with_tag) == 160_000
    if hidden:
        data = path.read_bytes()
        path.write_bytes(data.replace(b"Xing", b"\0\0\0\0").replace(b"Info", b"\0\0\0\0"))
        without = load(path)
        # The tag's own frame counts as sound, and the encoder's delay is not cut off.
        assert 160_000 <= len(without) <= 160_000 + 3 * 1152
        assert inspect(path).n_samples == len(without)


def test_mp3_files_joined_end_to_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", tones(3.0))
    path.write_bytes(path.read_bytes() * 2)
    assert len(load(path)) == pytest.approx(96_000, abs=3 * 1152)


def test_mp3_with_a_picture_in_front(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", tones(3.0))
    expected = load(path)
    length = bytes((300_000 >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x04\0\0" + length + bytes(300_000) + path.read_bytes())
    np.testing.assert_array_equal(load(path), expected)


@needs_ffmpeg
def test_mp3_equals_the_decoder_of_ffmpeg(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Read in blocks, soundfile alone loses the bit reservoir and gives noise."""
    path = write(tmp_path / "a.mp3", loud_then_quiet())
    ffmpeg("-i", path, "-c:a", "pcm_f32le", tmp_path / "f32.wav")
    assert np.abs(load(path) - load(tmp_path / "f32.wav")).max() < 1e-5
    list(stream(path, block_seconds=0.1))
    load(path, offset=3.0)
    assert capfd.readouterr().err == ""


@needs_ffmpeg
def test_ogg_files_joined_end_to_end(tmp_path: Path) -> None:
    """A chain (RFC 3533), as radio recorders make it; libsndfile reads its first link."""
    first = write(tmp_path / "a.ogg", tones(2.0)).read_bytes()
    ffmpeg("-i", tmp_path / "a.ogg", "-c", "copy", "-f", "ogg", tmp_path / "b.ogg")
    (tmp_path / "chain.ogg").write_bytes(first + (tmp_path / "b.ogg").read_bytes())
    assert len(load(tmp_path / "chain.ogg")) == pytest.approx(64_000, abs=1000)


# Refusals


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", WHOLE)
def test_cut_file_is_refused(
    name: str, part: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / name, tones(4.0))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    for read in (load, lambda source: list(stream(source))):
        with pytest.raises(AudioError, match=f"^{path}: cut short") as raised:
            read(path)
        assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("table-last.m4a", ["-c:a", "aac"]),
        ("table-first.m4a", ["-c:a", "aac", "-movflags", "+faststart"]),
        ("a.mka", ["-c:a", "libopus"]),
        ("a.wma", ["-c:a", "wmav2"]),
    ],
)
def test_cut_file_of_ffmpeg_is_refused(name: str, options: list[str], tmp_path: Path) -> None:
    wave = tones(8.0, 48_000) + 0.05 * np.random.default_rng(0).normal(size=384_000)
    ffmpeg("-i", write(tmp_path / "i16.wav", wave, 48_000), *options, tmp_path / name)
    assert len(load(tmp_path / name)) == pytest.approx(128_000, abs=1500)
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size // 2)
    with pytest.raises(AudioError, match=rf"{name}: (cut short|not audio, or damaged)"):
        load(tmp_path / name)


@needs_ffmpeg
def test_webm_of_a_browser(tmp_path: Path) -> None:
    """Recorded as it comes, it states no length; half of it is told by its last block."""
    command = ["ffmpeg", "-v", "error", "-i", str(write(tmp_path / "i16.wav", tones(8.0)))]
    done = subprocess.run([*command, "-f", "webm", "-"], capture_output=True, check=True)
    (tmp_path / "a.webm").write_bytes(done.stdout)
    assert len(load(tmp_path / "a.webm")) == pytest.approx(128_000, abs=1000)
    (tmp_path / "a.webm").write_bytes(done.stdout[: len(done.stdout) // 2])
    with pytest.raises(AudioError, match=r"a\.webm: cut short"):
        load(tmp_path / "a.webm")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.wav", b"", "empty file"),
        ("a.flac", b"fLaC", "only 4 bytes"),
        ("a.wav", b"This is not audio. " * 100, "not audio"),
        ("a.mp3", bytes(5000), "not audio"),
        ("a.mp3", b"ID3\x04\0\0\0\0\0\x20" + b"\xff\xfbxyz" * 2000, "no audio|not audio"),
        ("a.ogg", b"OggS" + bytes(500), "cut short"),
        ("a.wav", b"RIFF\xff\0\0\0WAVE" + b"\xa5" * 500, "not audio"),
        ("a.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(500), "not audio"),
        ("a.html", b"<!doctype html><html>404 Not Found</html>", "only 41 bytes"),
    ],
)
@pytest.mark.parametrize("with_ffmpeg", [True, False])
def test_no_audio(
    name: str,
    data: bytes,
    reason: str,
    with_ffmpeg: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not with_ffmpeg:
        request.getfixturevalue("no_ffmpeg")
    (tmp_path / name).write_bytes(data)
    for read in (load, inspect):
        with pytest.raises(AudioError, match=f"^{tmp_path / name}: .*({reason})") as raised:
            read(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def test_random_bytes_are_no_audio(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for front in (
        b"",
        b"ID3\x03\0\0\0\0\0\x10",
        b"\xff\xfb\x90\x44",
        b"RIFF1234WAVE",
        b"fLaC",
        b"OggS",
    ):
        (tmp_path / "x.mp3").write_bytes(front + random.bytes(20_000))
        with pytest.raises(AudioError):
            load(tmp_path / "x.mp3")
    assert capfd.readouterr().err == ""


def test_without_ffmpeg_its_installation_is_named(tmp_path: Path, no_ffmpeg: None) -> None:
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(500))
    with pytest.raises(
        AudioError, match=r"a\.m4a: .*ffprobe, which is not installed.*apt install ffmpeg"
    ):
        load(tmp_path / "a.m4a")


@needs_ffmpeg
def test_play_lists_lead_nowhere(tmp_path: Path) -> None:
    ffmpeg("-i", write(tmp_path / "i16.wav", tones(1.0)), tmp_path / "a.aac")
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{tmp_path}/a.aac\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile a.aac\n" + "#" * 50,
    ):
        (tmp_path / "list.wav").write_text(text)
        with pytest.raises(AudioError, match=r"list\.wav: not audio"):
            load(tmp_path / "list.wav")


@needs_ffmpeg
def test_film_without_sound(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=5", tmp_path / "a.mkv")
    with pytest.raises(AudioError, match=r"a\.mkv: holds no audio"):
        load(tmp_path / "a.mkv")


@pytest.mark.parametrize("name", ["i16.wav", "a.aiff", "a.ogg"])
def test_no_samples(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, np.zeros(0))
    for read in (load, inspect, lambda source: list(stream(source))):
        with pytest.raises(AudioError, match=f"{name}: holds no samples"):
            read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 150_000])
def test_nan_and_infinity(value: float, position: int, tmp_path: Path) -> None:
    wave = tones(10.0, n_channels=2)
    wave[position, 1] = value
    path = write(tmp_path / "f32.wav", wave)
    with pytest.raises(AudioError, match=r"f32\.wav: holds NaN or infinite samples"):
        load(path)


def test_levels_stay_and_wrong_scales_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "f32.wav", 2.5 * tones(1.0))
    assert np.abs(load(path) - 2.5 * tones(1.0)).max() < 1e-6
    assert not caplog.records
    load(write(tmp_path / "f32.wav", 32_768 * tones(1.0)))
    assert "f32.wav: samples up to" in caplog.text


@pytest.mark.parametrize(
    ("sample_rate", "n_channels", "reason"),
    [
        (16_000, 65, "65 channels"),
        (100, 1, "sample rate 100 Hz"),
        (900_000, 1, "sample rate 900000 Hz"),
    ],
)
def test_absurd_headers(sample_rate: int, n_channels: int, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "i16.wav"
    soundfile.write(path, np.zeros((1000, n_channels)), sample_rate)
    for read in (load, inspect):
        with pytest.raises(AudioError, match=rf"i16\.wav: {reason}"):
            read(path)


def test_no_file_at_the_path(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "missing.wav", "no such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "a.wav" / "b.wav", "cannot be read|no such file"),
        (Path("/dev/null"), "neither a file nor a pipe"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (Path("a\0b.wav"), "cannot be read"),
    ):
        with pytest.raises(AudioError, match=reason) as raised:
            load(path)
        assert str(path) in str(raised.value)


def test_unreadable_file(tmp_path: Path) -> None:
    path = write(tmp_path / "i16.wav", tones(0.1))
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # who may read everything
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
        tmp_path.chmod(0o755)
        os.seteuid(65_534)
    try:
        with pytest.raises(AudioError, match=r"i16\.wav: cannot be read \(Permission denied\)"):
            load(path)
    finally:
        os.seteuid(user)


# Folders and writing


def test_find(tmp_path: Path) -> None:
    wanted = ["b.wav", "a/z.FLAC", "a/B/c.opus", "a.mp3", "x.y.m4a"]
    others = [
        ".hidden.wav",
        ".cache/a.wav",
        "a/.b/c.wav",
        "a/._c.wav",
        "notes.txt",
        "wav",
        "a/.wav",
    ]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find(tmp_path) == sorted(tmp_path / name for name in wanted)
    assert find(str(tmp_path / "a" / "B")) == [tmp_path / "a/B/c.opus"]


def test_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for folder, reason in (
        (tmp_path, "no audio file"),
        (tmp_path / "missing", "no such folder"),
        (tmp_path / "notes.txt", "not a folder"),
    ):
        with pytest.raises(AudioError, match=f"^{folder}: .*{reason}"):
            find(folder)


def test_suffixes_are_lower_case_with_a_dot() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)
    assert {
        ".wav",
        ".flac",
        ".ogg",
        ".opus",
        ".mp3",
        ".aiff",
        ".m4a",
        ".mp4",
        ".webm",
    } <= AUDIO_SUFFIXES


def test_save_wav(tmp_path: Path) -> None:
    wave = tones(1.0).astype(np.float32)
    save_wav(tmp_path / "a.bin", wave)
    assert np.abs(load(tmp_path / "a.bin") - wave).max() <= 1 / 32_767
    save_wav(tmp_path / "b.wav", np.array([-3.0, 0.0, 3.0]), 8_000)
    assert soundfile.read(tmp_path / "b.wav", dtype="int16")[0].tolist() == [-32_768, 0, 32_767]
    assert inspect(tmp_path / "b.wav").sample_rate == 8_000
    with pytest.raises(AudioError, match=r"c\.wav: not written"):
        save_wav(tmp_path / "c.wav", np.array([0.0, np.nan]))
    assert not (tmp_path / "c.wav").exists()
    with pytest.raises(AudioError, match=r"d\.wav: cannot be written"):
        save_wav(tmp_path / "missing" / "d.wav", wave)


# Real recordings


def test_librispeech(asr_data: Path) -> None:
    paths = find(asr_data / "LibriSpeech" / "dev-clean-20spk")
    assert len(paths) == 400
    for path in paths[::40]:
        waveform = load(path)
        assert inspect(path) == AudioInfo(16_000, 1, len(waveform), len(waveform) / 16_000)
        assert 0.003 < np.sqrt(np.mean(waveform**2)) < 0.3
