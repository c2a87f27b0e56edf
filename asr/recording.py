"""Recordings on their way to log-probabilities: samples from any source, chunks, results."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import SAMPLE_RATE, inspect, load, resample, stream
from asr.chunks import Chunk, Chunker
from asr.errors import AsrError, AudioError
from asr.manifest import Utterance

__all__ = ["Audio", "Place", "Recording"]

Audio = str | os.PathLike[str] | BinaryIO | NDArray[Any] | Tensor | Utterance
"""A recording: a path, "-" for standard input, a binary file object, samples, or an utterance
of a manifest."""


@dataclass(frozen=True)
class Place:
    """A chunk and where its log-probabilities belong: from frame `start` of the recording on."""

    recording: "Recording"
    start: int
    chunk: Chunk


class Recording:
    """A recording on its way to its log-probabilities.

    Args:
        index: its number among all.
        chunker: cuts it.
        source: where the samples come from.
        sample_rate: of samples in memory, in Hz.
        n_tokens: symbols of the model, V.
        read_seconds: about how much `read` reads.
    """

    def __init__(
        self,
        index: int,
        chunker: Chunker,
        source: Audio,
        sample_rate: int,
        *,
        n_tokens: int,
        read_seconds: float,
    ) -> None:
        self.index = index
        self.error: AsrError | None = None
        self._is_read = False
        self._n_samples = 0
        self._n_awaited = 0
        self._n_frames = 0
        self._log_probs = torch.empty(0, n_tokens)
        self._read_frames = round(read_seconds / chunker.extractor.hop_seconds)
        blocks = _blocks(source, sample_rate, chunker.seconds, f"recording {index + 1}")
        self._chunks = chunker.split(self._counted(blocks))

    @property
    def duration(self) -> float:
        """Seconds that have been read."""
        return self._n_samples / SAMPLE_RATE

    @property
    def log_probs(self) -> Tensor:
        """Those of all chunks so far, (T', V)."""
        return self._log_probs[: self._n_frames]

    @property
    def is_complete(self) -> bool:
        """Whether all log-probabilities are there."""
        return self._is_read and not self._n_awaited

    def read(self) -> tuple[list[Chunk], bool]:
        """Read on; returns the next chunks and whether they are the rest.

        Raises:
            AudioError: the recording cannot be read.
        """
        chunks, n_frames = [], 0
        with torch.inference_mode():
            for chunk in self._chunks:
                chunks.append(chunk)
                n_frames += len(chunk.features)
                if n_frames >= self._read_frames:
                    return chunks, False
        return chunks, True

    def expect(self, chunks: Sequence[Chunk], *, is_rest: bool) -> list[Place]:
        """Make places for the log-probabilities of the next chunks."""
        places = []
        for chunk in chunks:
            places.append(Place(self, self._n_frames, chunk))
            self._n_frames += chunk.last - chunk.first
        self._n_awaited += len(chunks)
        self._is_read = is_rest
        return places

    def put(self, start: int, log_probs: Tensor) -> None:
        """Take log-probabilities (T', V) that begin with frame `start`."""
        end = start + len(log_probs)
        if end > len(self._log_probs):
            # Room for twice as much: many small pieces that stay, among large ones that go,
            # would fragment the memory, by over 100 MB for each hour of audio.
            larger = torch.empty(max(end, 2 * len(self._log_probs)), log_probs.shape[1])
            larger[: len(self._log_probs)] = self._log_probs
            self._log_probs = larger
        self._log_probs[start:end] = log_probs
        self._n_awaited -= 1

    def _counted(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for block in blocks:
            self._n_samples += len(block)
            yield block


def _blocks(
    source: Audio, sample_rate: int, block_seconds: float, name: str
) -> Iterator[NDArray[np.float32]]:
    """Read a recording as mono samples at 16 kHz, in pieces (N,)."""
    if isinstance(source, Utterance):
        yield from _utterance_blocks(source, block_seconds)
    elif isinstance(source, np.ndarray | Tensor):
        yield _samples(source, sample_rate, name)
    elif isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        yield from stream(source, block_seconds=block_seconds)
    else:
        raise AudioError(
            f"{name}: a {type(source).__name__} is no recording; give a path, a binary file "
            "object, a numpy array or a tensor"
        )


def _utterance_blocks(utterance: Utterance, block_seconds: float) -> Iterator[NDArray[np.float32]]:
    path, offset, duration = utterance.audio_filepath, utterance.offset, utterance.duration
    # A manifest's duration is rounded: a file that is the utterance is read to its end.
    if not offset and inspect(path).duration < duration + 0.1:
        yield from stream(path, block_seconds=block_seconds)
    else:
        yield load(path, offset=offset, duration=duration)


def _samples(source: NDArray[Any] | Tensor, sample_rate: int, name: str) -> NDArray[np.float32]:
    """Bring samples in memory to floats at 16 kHz, (N,)."""
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        samples = (source.float() if source.is_floating_point() else source).numpy()
    else:
        samples = source
    if samples.ndim != 1 or not len(samples):
        raise AudioError(
            f"{name}: samples of shape {samples.shape}; one channel (N,) is needed: pass the "
            "mean of the channels, and a list for several recordings"
        )
    if samples.dtype in (np.int16, np.int32):
        samples = samples / -float(np.iinfo(samples.dtype).min)
    elif samples.dtype.kind != "f":
        raise AudioError(
            f"{name}: samples of type {samples.dtype}; floats in [-1, 1], int16 or int32 are needed"
        )
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: the samples hold NaN or infinity")
    return resample(samples, sample_rate, SAMPLE_RATE)
