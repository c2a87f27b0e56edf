"""Any audio file to mono float32 samples at 16 kHz.

WAV, FLAC, Ogg Vorbis, Opus, MP3, AIFF and libsndfile's other formats are decoded here;
everything else (m4a, mp4, webm, ...) by the program ffmpeg, where it is installed.  The format
is told by the content, never by the name.

Rules:

- Channels are averaged, then the mean is resampled (soxr, 20-bit quality).
- Samples keep their level.  Float files may go beyond [-1, 1], with a logged warning when they
  go far beyond; NaN and infinity are refused.
- A file that is cut short is refused, not transcribed in part, wherever it states its length
  (WAV, AIFF, AU, FLAC, MP3 with a length tag, MP4, ...) or marks its end (Ogg).  An MP3 or AAC
  stream that does neither counts as whole.
"""

import logging
import math
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from asr.audio_decoders import Decoder, open_decoder
from asr.errors import AudioError

__all__ = [
    "AUDIO_SUFFIXES",
    "SAMPLE_RATE",
    "AudioInfo",
    "find",
    "inspect",
    "load",
    "resample",
    "save_wav",
    "stream",
]

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Samples a second inside the toolkit."""

# Those that libsndfile reads, then those that ffmpeg reads.
AUDIO_SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus"}
    | {".rf64", ".sph", ".w64", ".wav", ".wave"}
    | {".3gp", ".aac", ".ac3", ".amr", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4"}
    | {".mpga", ".spx", ".webm", ".wma"}
)
"""The lower-case file suffixes that `find` takes for audio."""

_READ_SAMPLES = 65_536
_SPOOL_BYTES = 1 << 20
# Shorter stretches than this are what encoders and rounded headers leave open.
_TOLERANCE_SECONDS = 0.1
# Lossy decoders overshoot full scale by a few dB; files in another scale by 90 dB.
_LOUD = 8.0


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds, as it is in the file.

    Args:
        sample_rate: in Hz
        n_channels: number of channels
        n_samples: number of samples of each channel
        duration: in seconds
    """

    sample_rate: int
    n_channels: int
    n_samples: int
    duration: float


Source = str | os.PathLike[str] | BinaryIO
"""A path, "-" for standard input, or a file object opened for reading bytes."""


def inspect(path: Source) -> AudioInfo:
    """Look at an audio file without decoding it.

    Only where a file does not state its length (FLAC from a pipe, MP3 without a length tag,
    WebM from a browser) it is decoded to count the samples.

    Args:
        path: see `load`

    Raises:
        AudioError: as `load`, for what the header shows
    """
    with _opened(path) as (name, decoder):
        n_samples = decoder.n_samples
        if n_samples is None:
            n_samples = sum(len(block) for block in _mono_blocks(decoder, name))
        if n_samples == 0:
            raise AudioError(f"{name}: holds no samples; a recording with sound is needed")
        rate = decoder.sample_rate
        return AudioInfo(rate, decoder.n_channels, n_samples, n_samples / rate)


def load(
    source: Source,
    *,
    sample_rate: int = SAMPLE_RATE,
    offset: float = 0.0,
    duration: float | None = None,
) -> NDArray[np.float32]:
    """Read an audio file, or a stretch of it.

    Args:
        source: a path, "-" for standard input, or a binary file object, which need not be
            seekable and is read from where it stands
        sample_rate: of the result in Hz
        offset: where to begin, in seconds; WAV, AIFF, FLAC and Opus are entered there, formats
            that cannot be entered exactly (MP3, Vorbis, ffmpeg's) are decoded up to there
        duration: read at most so many seconds; None reads to the end

    Returns:
        mono samples (N,), nominally in [-1, 1]

    Raises:
        AudioError: the file is missing, unreadable, empty, cut short, not audio, or holds NaN;
            it ends before the offset; or its format needs ffmpeg, which is missing
    """
    blocks = list(_resampled_blocks(source, sample_rate, offset, duration))
    return np.concatenate(blocks)


def stream(
    source: Source, *, block_seconds: float = 30.0, sample_rate: int = SAMPLE_RATE
) -> Iterator[NDArray[np.float32]]:
    """Read an audio file of any length block by block.

    Joined, the blocks are the samples that `load` returns.  Memory holds one block; what comes
    from a pipe is kept in a temporary file, because most formats need to be entered twice.

    Args:
        source: see `load`
        block_seconds: length of a block, > 0
        sample_rate: of the result in Hz

    Yields:
        mono samples (block_seconds * sample_rate,); the last block may be shorter

    Raises:
        AudioError: see `load`; damage inside a file shows only when it is reached
    """
    n_wanted = round(block_seconds * sample_rate)
    if n_wanted < 1:
        raise ValueError(f"block_seconds={block_seconds}: a block needs at least one sample")
    pending: list[NDArray[np.float32]] = []
    n_pending = 0
    for block in _resampled_blocks(source, sample_rate, 0.0, None):
        pending.append(block)
        n_pending += len(block)
        if n_pending >= n_wanted:
            joined = np.concatenate(pending)
            whole = n_pending - n_pending % n_wanted
            for start in range(0, whole, n_wanted):
                yield joined[start : start + n_wanted].copy()
            pending, n_pending = [joined[whole:].copy()], n_pending - whole
    if n_pending:
        yield np.concatenate(pending)


def resample(waveform: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Change the sample rate; what lies above the lower Nyquist frequency is removed.

    Args:
        waveform: samples (N,)
        from_rate: in Hz
        to_rate: in Hz

    Returns:
        samples (round(N * to_rate / from_rate),)
    """
    if from_rate == to_rate:
        return waveform
    result: NDArray[np.float32] = soxr.resample(waveform, from_rate, to_rate, quality="HQ")
    return result


def save_wav(
    path: str | os.PathLike[str],
    waveform: NDArray[np.floating],
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Write a WAV file of 16-bit samples.

    Args:
        path: the file; its folder has to be there
        waveform: mono samples (N,) in [-1, 1]; beyond that they are clipped
        sample_rate: in Hz

    Raises:
        AudioError: the waveform holds NaN or infinity, or the file cannot be written
    """
    if waveform.ndim != 1:
        raise ValueError(f"waveform of shape {waveform.shape}: mono samples (N,) are needed")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: not written, the waveform holds NaN or infinity")
    try:
        with open(path, "wb") as file:
            soundfile.write(file, waveform, sample_rate, format="WAV", subtype="PCM_16")
    except OSError as error:
        raise AudioError(f"{path}: cannot be written ({error.strerror})") from None


def find(folder: str | os.PathLike[str]) -> list[Path]:
    """List the audio files below a folder, by `AUDIO_SUFFIXES`; hidden ones are left out.

    Args:
        folder: searched with all folders below it; links to folders are not followed

    Returns:
        paths that begin with the folder, sorted, at least one

    Raises:
        AudioError: there is no such folder, or no audio file in it
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise AudioError(f"{folder}: {reason}")
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise AudioError(f"{error.filename}: cannot be read ({error.strerror})") from None

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES
        ]
    if not found:
        raise AudioError(
            f"{folder}: no audio file in it or below it (looked for "
            f"{' '.join(sorted(AUDIO_SUFFIXES))})"
        )
    return sorted(found)


def _resampled_blocks(
    source: Source, sample_rate: int, offset: float, duration: float | None
) -> Iterator[NDArray[np.float32]]:
    """The samples in pieces of any size, at least one sample in all."""
    n_samples = 0
    with _opened(source) as (name, decoder):
        blocks = _mono_blocks(decoder, name, offset, duration)
        if decoder.sample_rate == sample_rate:
            for block in blocks:
                n_samples += len(block)
                yield block
        else:
            resampler = soxr.ResampleStream(
                decoder.sample_rate, sample_rate, 1, dtype="float32", quality="HQ"
            )
            for block in blocks:
                piece = resampler.resample_chunk(block)
                n_samples += len(piece)
                yield piece
            piece = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            n_samples += len(piece)
            yield piece
        if n_samples == 0:
            raise AudioError(f"{name}: holds no samples; a recording with sound is needed")


def _mono_blocks(
    decoder: Decoder, name: str, offset: float = 0.0, duration: float | None = None
) -> Iterator[NDArray[np.float32]]:
    """The mean of the channels at the file's own rate."""
    rate, stated = decoder.sample_rate, decoder.n_samples
    if not 0 <= offset < math.inf or (duration is not None and not 0 < duration < math.inf):
        raise AudioError(
            f"{name}: offset {offset} and duration {duration} are no stretch of a file; "
            "seconds are needed, the offset 0 or more, the duration more than 0"
        )
    start = round(offset * rate)
    wanted = math.inf if duration is None else round(duration * rate)
    position = decoder.skip(start)
    peak = 0.0
    while wanted > 0 and len(block := decoder.read(int(min(_READ_SAMPLES, wanted)))):
        position += len(block)
        wanted -= len(block)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)
        block_peak = float(np.abs(mono).max())
        if not math.isfinite(block_peak):
            raise AudioError(f"{name}: holds NaN or infinite samples; make the file anew")
        peak = max(peak, block_peak)
        yield mono
    if wanted > 0 and stated is not None and stated - position > _TOLERANCE_SECONDS * rate:
        raise AudioError(
            f"{name}: cut short or damaged, only {position / rate:.2f} of {stated / rate:.2f} s "
            "can be decoded; fetch or make the file anew"
        )
    if start and position <= start:
        raise AudioError(f"{name}: ends at {position / rate:.2f} s, before offset {offset:.2f} s")
    if peak > _LOUD:
        logger.warning(
            "%s: samples up to %.3g where [-1, 1] is expected; kept as they are", name, peak
        )


@contextmanager
def _opened(source: Source) -> Iterator[tuple[str, Decoder]]:
    """Decode a source; gives its name for messages and the decoder."""
    with _as_file(source) as (name, path), open_decoder(path, name) as decoder:
        yield name, decoder


@contextmanager
def _as_file(source: Source) -> Iterator[tuple[str, Path]]:
    """Give a source's name and a path where it can be entered anywhere."""
    if not isinstance(source, str | os.PathLike):
        name = getattr(source, "name", None)
        with _spooled(source, name if isinstance(name, str) else "audio data") as named:
            yield named
    elif os.fspath(source) == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise AudioError("standard input: nothing is piped into it; try 'asr transcribe FILE'")
        with _spooled(sys.stdin.buffer, "standard input") as named:
            yield named
    else:
        path = Path(source)
        if _is_pipe(path):
            with path.open("rb") as pipe, _spooled(pipe, str(path)) as named:
                yield named
        else:
            yield str(path), path


def _is_pipe(path: Path) -> bool:
    """Tell a pipe from a file; whatever is neither is refused."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else _reason(error)
        raise AudioError(f"{path}: {reason}") from None
    if stat.S_ISDIR(status.st_mode):
        raise AudioError(f"{path}: is a folder, not an audio file")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
        raise AudioError(f"{path}: is neither a file nor a pipe")
    return stat.S_ISFIFO(status.st_mode)


def _reason(error: Exception) -> str:
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"


@contextmanager
def _spooled(source: IO[bytes], name: str) -> Iterator[tuple[str, Path]]:
    """Copy what is left of a file object into a temporary file."""
    with tempfile.NamedTemporaryFile(prefix="asr-") as copy:
        try:
            while data := source.read(_SPOOL_BYTES):
                copy.write(data)
            copy.flush()
        except OSError as error:
            raise AudioError(f"{name}: {_reason(error)}") from None
        yield name, Path(copy.name)
