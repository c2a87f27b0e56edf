"""Decoders of audio files: libsndfile, and the program ffmpeg for what that cannot read."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio_headers import Header, read_header
from asr.errors import AudioError

__all__ = ["Decoder", "open_decoder"]

_SKIP_SAMPLES = 65_536
_MIN_BYTES = 44  # the header of a WAV file; no format holds audio in less
_MAX_CHANNELS = 64
_SAMPLE_RATES = range(2_000, 768_001)
# libsndfile enters Vorbis up to a block too late near the end, and MP3 with noise.
_INEXACT_SEEK = ("VORBIS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
_UNKNOWN_LENGTH = 1 << 62  # libsndfile gives the largest number where a header has none

_FFMPEG_HINT = "install it (Debian, Ubuntu: apt install ffmpeg; Fedora: dnf install ffmpeg-free; "
_FFMPEG_HINT += "macOS: brew install ffmpeg) or convert the file to wav or flac"
# No play lists and no pictures: those lead to other files, or are no audio.
_FFMPEG_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,loas,matroska,mov,mp3,"
    "mpc,mpc8,mpeg,mpegts,nistsphere,ogg,rm,tak,tta,voc,w64,wav,wv"
)
# ffmpeg guesses; below this it takes arbitrary bytes for audio (its own limit for a retry).
_MIN_PROBE_SCORE = 25
# The formats whose stated length is written down, not estimated from the bit rate.
_TIMED_FORMATS = frozenset(("mov", "matroska", "asf"))
# What ffmpeg says of a file that ends too early, before it exits with 0.
_CUT_SIGNS = (b"File ended prematurely", b"partial file")


class Decoder(Protocol):
    """Samples of one file, front to back."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def n_channels(self) -> int:
        """Number of channels."""

    @property
    def n_samples(self) -> int | None:
        """Samples of each channel that the file states, None where it states none."""

    def skip(self, n_samples: int) -> int:
        """Pass over samples and return how many there were; called before the first read."""

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Return the next samples (n_samples, n_channels), fewer only at the end."""


@contextmanager
def open_decoder(path: Path, name: str) -> Iterator[Decoder]:
    """Open a file with the decoder that can read it.

    Args:
        path: a regular file
        name: what messages call it

    Raises:
        AudioError: it cannot be read, is empty, cut short, or not audio
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror})") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        if size < _MIN_BYTES:
            what = "empty file" if size == 0 else f"only {size} bytes, no audio"
            raise AudioError(f"{name}: {what}; record or fetch it anew")
        header = read_header(file)
        _refuse_cut(header, name)
        file.seek(0)
        opened = _open_soundfile(file, header, name)
        with closing(opened or _Ffmpeg(path, name)) as decoder:
            _refuse_odd(decoder, name)
            yield decoder


def _refuse_cut(header: Header, name: str) -> None:
    if header.fraction == 1:
        return
    found = (
        "its last page lacks the end mark"
        if header.kind == "ogg"
        else f"{header.fraction:.1%} of the audio that its header promises is there"
    )
    raise AudioError(
        f"{name}: cut short, {found}; fetch it anew, or keep what is there with: "
        "ffmpeg -i FILE NEW.wav"
    )


def _refuse_odd(decoder: Decoder, name: str) -> None:
    if not 1 <= decoder.n_channels <= _MAX_CHANNELS:
        raise AudioError(f"{name}: {decoder.n_channels} channels; 1 to {_MAX_CHANNELS} are taken")
    if decoder.sample_rate not in _SAMPLE_RATES:
        raise AudioError(
            f"{name}: sample rate {decoder.sample_rate} Hz; {_SAMPLE_RATES.start} to "
            f"{_SAMPLE_RATES.stop - 1} are taken"
        )


class _Sequential(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read front to back.

    soundfile seeks to where it is after every read, and in MP3 that loses the bit reservoir:
    the following frames come out wrong.  It does not where a file cannot seek.
    """

    def seekable(self) -> bool:
        return False


class _SoundFile:
    def __init__(
        self, file: _Sequential, name: str, n_samples: int | None, *, can_seek: bool
    ) -> None:
        self._file, self._name = file, name
        self._can_seek = can_seek and n_samples is not None
        self.sample_rate = int(file.samplerate)
        self.n_channels = int(file.channels)
        self.n_samples = n_samples

    def skip(self, n_samples: int) -> int:
        if not self._can_seek or self.n_samples is None or n_samples == 0:
            return _read_past(self, n_samples)
        try:
            return int(self._file.seek(min(n_samples, self.n_samples)))
        except soundfile.LibsndfileError:
            raise AudioError(f"{self._name}: damaged; fetch or make it anew") from None

    def read(self, n_samples: int) -> NDArray[np.float32]:
        try:
            block: NDArray[np.float32] = self._file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            if self.n_samples is None:
                raise AudioError(f"{self._name}: damaged; fetch or make it anew") from None
            return np.zeros((0, self.n_channels), np.float32)  # the caller counts what is missing
        return block

    def close(self) -> None:
        self._file.close()


class _LongFile:
    """An MP3 file without a usable length tag, made to look much longer than it is.

    libsndfile guesses the length from the first frame and the size, and drops what goes
    beyond; with the end far away it decodes all that is there.

    Args:
        file: the file
        tag_offset: where a misleading length tag lies, which is hidden, or None
    """

    def __init__(self, file: BinaryIO, tag_offset: int | None) -> None:
        self._file = file
        self._tag = range(0) if tag_offset is None else range(tag_offset, tag_offset + 4)
        # Frames of one file differ by at most 320 / 8 kbit/s.
        self._end = 64 * file.seek(0, os.SEEK_END)
        file.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return self._file.seek(self._end + offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, n_bytes: int = -1) -> bytes:
        start = self._file.tell()
        data = bytearray(self._file.read(n_bytes))
        for index in self._tag:
            if start <= index < start + len(data):
                data[index - start] = 0
        return bytes(data)


def _open_soundfile(file: BinaryIO, header: Header, name: str) -> _SoundFile | None:
    """Open with libsndfile; None where it does not know the format."""
    # libsndfile would take the first stream for all; or search for frames and complain on stderr.
    if header.kind in ("oggs", "mpeg"):
        return None
    try:
        if header.kind == "mp3" and not header.is_length_known:
            opened = _Sequential(_LongFile(file, header.tag_offset))
            return _SoundFile(opened, name, None, can_seek=False)
        # Without the name, by whose suffix libsndfile would guess.
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        opened = _Sequential(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        if header.kind == "flac":
            raise AudioError(f"{name}: cut short or damaged FLAC; fetch it anew") from None
        return None
    n_samples = None if opened.frames > _UNKNOWN_LENGTH else int(opened.frames)
    can_seek = opened.subtype not in _INEXACT_SEEK
    return _SoundFile(opened, name, n_samples, can_seek=can_seek)


class _Ffmpeg:
    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        probed = _probe(path, name)
        self.sample_rate = int(probed["streams"][0].get("sample_rate", 0))
        self.n_channels = int(probed["streams"][0].get("channels", 0))
        seconds = _stated_seconds(probed)
        self.n_samples = None if seconds is None else round(seconds * self.sample_rate)
        self._running = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        # A file and not a pipe, which would block ffmpeg once it is full.
        self._messages = self._running.enter_context(tempfile.TemporaryFile())  # noqa: SIM115

    def skip(self, n_samples: int) -> int:
        return _read_past(self, n_samples)

    def read(self, n_samples: int) -> NDArray[np.float32]:
        if self._process is None:
            self._process = self._running.enter_context(self._start())
            self._running.callback(self._process.kill)
        assert self._process.stdout is not None
        data = self._process.stdout.read(n_samples * self.n_channels * 4)
        if not data:
            self._refuse_failure(self._process.wait())
        # Whole samples only, should ffmpeg die in the middle of one.
        data = data[: len(data) - len(data) % (self.n_channels * 4)]
        return np.frombuffer(data, "<f4").astype(np.float32).reshape(-1, self.n_channels)

    def _refuse_failure(self, exit_code: int) -> None:
        self._messages.seek(0)
        messages = self._messages.read()
        if any(sign in messages for sign in _CUT_SIGNS):
            raise AudioError(f"{self._name}: cut short (ffmpeg: {_reason(messages, self._path)})")
        if exit_code:
            reason = _reason(messages, self._path)
            raise AudioError(f"{self._name}: ffmpeg cannot decode it ({reason})")

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [_program("ffmpeg", self._name), "-nostdin", "-v", "error"]
        command += [*_input(self._path), "-map", "0:a:0"]
        command += ["-ar", str(self.sample_rate), "-ac", str(self.n_channels)]
        command += ["-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._messages
        )

    def close(self) -> None:
        self._running.close()


def _read_past(decoder: Decoder, n_samples: int) -> int:
    position = 0
    while position < n_samples:
        n_read = len(decoder.read(min(_SKIP_SAMPLES, n_samples - position)))
        if n_read == 0:
            break
        position += n_read
    return position


def _program(program: str, name: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise AudioError(
            f"{name}: not audio, or in a format that needs the program {program}, which is not "
            f"installed; {_FFMPEG_HINT}"
        )
    return found


def _input(path: Path) -> list[str]:
    # "file:" keeps ffmpeg from reading a protocol into an odd name.
    safe = ["-protocol_whitelist", "file", "-format_whitelist", _FFMPEG_FORMATS]
    return [*safe, "-i", f"file:{path}"]


def _probe(path: Path, name: str) -> dict[str, Any]:
    entries = "format=format_name,nb_streams,duration,probe_score"
    entries += ":stream=sample_rate,channels,duration:stream_tags=DURATION"
    command = [_program("ffprobe", name), "-v", "error", "-select_streams", "a:0"]
    command += ["-show_entries", entries, "-of", "json", *_input(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise AudioError(f"{name}: not audio, or damaged (ffmpeg: {_reason(done.stderr, path)})")
    probed: dict[str, Any] = json.loads(done.stdout)
    if not probed.get("streams") or int(probed["format"]["probe_score"]) < _MIN_PROBE_SCORE:
        raise AudioError(f"{name}: holds no audio that ffmpeg can read")
    return probed


def _stated_seconds(probed: dict[str, Any]) -> float | None:
    """The length of the audio where the container states it."""
    stream, container = probed["streams"][0], probed["format"]
    if _TIMED_FORMATS.isdisjoint(container["format_name"].split(",")):
        return None
    if "duration" in stream:
        return float(stream["duration"])
    tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.get("tags", {}).get("DURATION", ""))
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    # The container's is that of its longest stream.
    if int(container["nb_streams"]) == 1 and "duration" in container:
        return float(container["duration"])
    return None


def _reason(messages: bytes, path: Path) -> str:
    """What ffmpeg complained about first."""
    lines = messages.decode("utf-8", "replace").strip().splitlines()
    if not lines or "not on whitelist" in lines[0]:
        return "no audio format"
    return re.sub(r"^\[[^]]* @ \w+\] ", "", lines[0]).replace(f"file:{path}: ", "")
