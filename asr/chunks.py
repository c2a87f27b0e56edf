"""Recordings of any length as chunks of normalised features, in bounded memory.

A recording that fits into one chunk is one chunk: what a batch of utterances gets.  A longer
one is cut into chunks that overlap.  Of a chunk's output only the middle is kept; the context
on both sides is there for the recurrent layers, which need to have heard what comes before and
after.  The kept parts meet exactly, so that joined they are the output of the whole recording.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.features import FeatureExtractor, Normalizer, n_frames
from asr.filterbank import WINDOW_SAMPLES

__all__ = ["Chunk", "Chunker"]

# A frame with its second difference depends on so many frames on both sides.
_DELTA_FRAMES = 4


@dataclass(frozen=True)
class Chunk:
    """A stretch of a recording for the acoustic model.

    Attributes:
        features: normalised, (T, F).
        first: output frames of the chunk before this one are context.
        last: output frames from this one on are context.
    """

    features: Tensor
    first: int
    last: int


class Chunker:
    """Cuts recordings into chunks.

    Args:
        extractor: computes features.
        normalizer: normalises them; what it needs of the frames around a chunk it gets.
        factor: feature frames per output frame of the acoustic model.
        seconds: what is kept of a chunk in the middle of a recording.
        context_seconds: what is heard and dropped on either side.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        normalizer: Normalizer,
        *,
        factor: int,
        seconds: float,
        context_seconds: float,
    ) -> None:
        self.extractor = extractor
        self.normalizer = normalizer
        self.factor = factor
        hop_seconds = extractor.hop_seconds
        # Whole output frames, so that all chunks see the frames of the whole recording.
        self.n_kept = factor * max(1, round(seconds / hop_seconds / factor))
        self.n_context = factor * max(0, round(context_seconds / hop_seconds / factor))
        self.n_frames = self.n_kept + 2 * self.n_context

    @property
    def seconds(self) -> float:
        """The longest chunk."""
        return self.n_frames * self.extractor.hop_seconds

    def split(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Chunk]:
        """Cut a recording.

        Args:
            blocks: its samples at 16 kHz, in pieces of any size (N,).

        Yields:
            chunks whose kept output frames, one chunk after the other, are those of the
            recording; none where it has no frame.
        """
        pieces = self._features(blocks)
        if self.normalizer.kind == "utterance":
            pieces = self._standardized(pieces)
        window = self.normalizer.window_frames if self.normalizer.kind == "sliding" else 0
        # The frames of the recording from number `offset` on.
        frames, offset, start = next(pieces, torch.zeros(0, self.extractor.n_features)), 0, 0
        for piece in pieces:
            frames = torch.cat([frames, piece])
            # One more frame than the normalisation of the chunk needs shows that it is not
            # the last one.
            while offset + len(frames) > max(start + self.n_frames + window, window):
                yield self._chunk(frames, offset, start, is_last=False)
                start += self.n_kept
                first_needed = max(0, start - self.n_kept - window)
                frames, offset = frames[first_needed - offset :], first_needed
        while offset + len(frames) > start + self.n_frames:
            yield self._chunk(frames, offset, start, is_last=False)
            start += self.n_kept
        if len(frames):
            yield self._chunk(frames, offset, start, is_last=True)

    def _chunk(self, frames: Tensor, offset: int, start: int, *, is_last: bool) -> Chunk:
        """Make the chunk from frame `start` on, of the frames from number `offset` on."""
        end = offset + len(frames)
        first = start + self.n_context if start else 0
        if is_last:
            # Moved back to full length: context costs nothing there.
            start = max(0, -(-(end - self.n_frames) // self.factor) * self.factor)
            stop, last = end, end
        else:
            stop = start + self.n_frames
            last = stop - self.n_context
        return Chunk(
            self._normalized(frames, start - offset, stop - offset, at_start=offset == 0),
            (first - start) // self.factor,
            -(-(last - start) // self.factor),
        )

    def _normalized(self, frames: Tensor, start: int, stop: int, *, at_start: bool) -> Tensor:
        """Normalise frames[start:stop] as they are in the whole recording."""
        if self.normalizer.kind == "utterance":
            return frames[start:stop]
        low, high = start, stop
        if self.normalizer.kind == "sliding":
            # The window is moved inward at the ends of the recording, and so reaches further
            # there than half its length.
            window = self.normalizer.window_frames
            high = min(len(frames), max(stop + window - window // 2, window if at_start else 0))
            low = max(0, min(start - window // 2, high - window))
        normalized: Tensor = self.normalizer(frames[None, low:high], torch.tensor([high - low]))
        return normalized[0, start - low : stop - low]

    def _features(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Tensor]:
        """Compute the unnormalised frames of a recording, in pieces (T, F)."""
        margin = _DELTA_FRAMES if self.extractor.deltas else 0
        hop_samples = self.extractor.hop_samples
        # `samples` begins with frame number `offset`; `done` frames have been given out.
        samples, offset, done = np.zeros(0, np.float32), 0, 0
        for block in blocks:
            samples = np.concatenate([samples, block])
            ready = offset + n_frames(len(samples), hop_samples) - margin
            if ready > done:
                yield self._extract(samples)[done - offset : ready - offset]
                done = ready
                first_needed = max(0, done - margin)
                samples = samples[(first_needed - offset) * hop_samples :]
                offset = first_needed
        if margin and len(samples) >= WINDOW_SAMPLES:
            yield self._extract(samples)[done - offset :]

    def _standardized(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Bring the frames of a recording to mean 0 and deviation 1.

        The statistics need all frames before the first one can be given out, so that these
        wait in a temporary file.
        """
        count = 0
        total = squares = torch.zeros(())
        shapes = []
        with tempfile.TemporaryFile() as file:
            for piece in pieces:
                file.write(piece.cpu().numpy().tobytes())
                shapes.append(piece.shape)
                frames = piece.to("cpu", torch.float64)
                count += len(frames)
                total = total + frames.sum(dim=0)
                squares = squares + frames.square().sum(dim=0)
            file.seek(0)
            waiting = (
                torch.frombuffer(bytearray(file.read(4 * shape.numel())), dtype=torch.float32)
                .view(shape)
                .to(self.normalizer.std.device)
                for shape in shapes
            )
            if count <= self.n_frames:
                # One chunk: exactly what it would be in a batch of utterances.
                if count:
                    yield self.normalizer(torch.cat(list(waiting))[None], torch.tensor([count]))[0]
                return
            mean = (total / count).to(self.normalizer.std)
            deviation = squares / count - (total / count).square()
            scale = deviation.clamp_min(0).sqrt().clamp_min(1e-5).to(self.normalizer.std)
            for frames in waiting:
                yield (frames - mean) / scale

    def _extract(self, samples: NDArray[np.float32]) -> Tensor:
        device = self.extractor.window.device
        waveforms = torch.from_numpy(samples).to(device)[None]
        features: Tensor = self.extractor(waveforms, torch.tensor([len(samples)]))[0][0]
        return features
