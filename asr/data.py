"""From utterances to batches: reading, augmenting, caching, bucketing, prefetching.

What an utterance looks like in an epoch follows from (seed, epoch, utterance), and which
batch it is in from (seed, epoch): the same whatever the number of workers, and after a
resume.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.audio import load
from asr.augment import WaveformAugmenter
from asr.augment import speed as at_speed
from asr.features import FeatureExtractor
from asr.manifest import Utterance
from asr.text import Tokenizer

Waveform = NDArray[np.float32]

__all__ = ["Batch", "FeatureSource", "Item", "SpeechBatches", "collate"]


@dataclass(frozen=True)
class Batch:
    """Utterances as tensors.

    Attributes:
        features: unnormalised features, padded with zeros, (B, T, F).
        feature_lengths: frames, (B,).
        tokens: targets, padded with zeros, (B, U).
        token_lengths: tokens, (B,).
        ids: utterance ids.
        seconds: duration of all audio.
    """

    features: Tensor
    feature_lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    ids: tuple[str, ...]
    seconds: float

    @property
    def weight(self) -> float:
        """Number of target tokens, over which the loss is averaged."""
        return float(self.token_lengths.sum())

    @property
    def amount(self) -> float:
        """Seconds of audio."""
        return self.seconds

    @property
    def name(self) -> str:
        """The utterances, for an error message."""
        shown = ", ".join(self.ids[:8])
        return f"{len(self.ids)} utterances: {shown}{', ...' if len(self.ids) > 8 else ''}"

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; lengths stay on the CPU, where no kernel waits for them."""
        return replace(
            self,
            features=self.features.to(device, non_blocking=True),
            tokens=self.tokens.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class Item:
    """An utterance as it occurs in one epoch."""

    index: int
    speed: float


class FeatureSource:
    """Gives the features of an utterance, from its file or from memory.

    Args:
        utterances: what there is.
        extractor: the front end.
        augmenter: changes to training audio beyond speed, or None.
        cache: "none"; "waveforms" keeps audio as int16, 115 MB an hour; "features" keeps
            float16 features per speed, 58 MB an hour with 80 bins; "device" keeps those on
            the extractor's device.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        extractor: FeatureExtractor,
        *,
        augmenter: WaveformAugmenter | None = None,
        cache: str = "none",
    ) -> None:
        self.utterances = utterances
        self.extractor = extractor
        self.augmenter = augmenter
        self.cache = cache
        self._waveforms: dict[int, NDArray[np.int16]] = {}
        self._features: dict[tuple[int, float], Tensor] = {}

    def waveform(self, index: int) -> Waveform:
        """Return the audio of an utterance, float32 (N,) at 16 kHz."""
        if self.cache != "waveforms":
            return self._read(index)
        if index not in self._waveforms:
            limited = np.clip(self._read(index), -1.0, 1.0)
            self._waveforms[index] = np.round(limited * 32767.0).astype(np.int16)
        # Also the first time: a resumed run must see the same samples.
        return self._waveforms[index].astype(np.float32) / 32767.0

    def _read(self, index: int) -> Waveform:
        utterance = self.utterances[index]
        path, offset = utterance.audio_filepath, utterance.offset
        return load(path, offset=offset, duration=utterance.duration)

    def features(self, index: int, *, speed: float = 1.0, epoch: int = 0) -> Tensor:
        """Return the unnormalised features of an utterance, (T, F).

        Args:
            index: number of the utterance.
            speed: 1.1 is a tenth faster (and higher).
            epoch: decides the augmentation.
        """
        key = (index, speed)
        if key in self._features:
            return self._features[key]
        waveform = self.waveform(index)
        if speed != 1.0:
            waveform = at_speed(waveform, speed)
        if self.augmenter:
            waveform = self.augmenter(waveform, epoch=epoch, index=index)
        samples = torch.from_numpy(waveform).unsqueeze(0)
        device = next(self.extractor.buffers()).device
        with torch.no_grad():
            features, _ = self.extractor(
                samples.to(device), torch.tensor([samples.shape[1]], device=device)
            )
        values: Tensor = features[0]
        if self.cache in ("features", "device"):
            values = values.half()
            self._features[key] = values if self.cache == "device" else values.cpu()
        return values


def collate(
    features: Sequence[Tensor],
    tokens: Sequence[Sequence[int]],
    *,
    ids: Sequence[str],
    seconds: float,
) -> Batch:
    """Pad utterances to a batch.

    Args:
        features: per utterance (T, F).
        tokens: per utterance, its target.
        ids: utterance ids.
        seconds: duration of all audio.
    """
    return Batch(
        features=pad_sequence(list(features), batch_first=True).float(),
        feature_lengths=torch.tensor([len(f) for f in features]),
        tokens=pad_sequence([torch.tensor(t, dtype=torch.long) for t in tokens], batch_first=True),
        token_lengths=torch.tensor([len(t) for t in tokens]),
        ids=tuple(ids),
        seconds=seconds,
    )


class SpeechBatches:
    """Duration-bucketed batches of training utterances for one rank.

    How many utterances each batch holds is fixed once, by cutting the sorted durations where
    longest x count exceeds `batch_seconds`.  In an epoch the utterances are sorted by their
    duration with up to 10 % of noise, dealt to batches of these sizes, and the batches are
    shuffled.  Each rank takes every `size`-th batch; the first batches are repeated where they
    do not divide evenly, so that every rank has the same number.

    Args:
        source: gives features.
        tokenizer: makes targets from transcripts.
        batch_seconds: audio per batch, with padding.
        max_batch_size: utterances per batch at most.
        speeds: factors from which one is drawn per utterance and epoch.
        shortest_first: first epoch in order of duration (Amodei et al. 2015, SortaGrad).
        seed: decides order and speeds.
        rank: this process.
        size: number of processes.
        workers: threads that prepare batches.
        prefetch: batches prepared ahead.
    """

    def __init__(
        self,
        source: FeatureSource,
        tokenizer: Tokenizer,
        *,
        batch_seconds: float,
        max_batch_size: int = 64,
        speeds: Sequence[float] = (1.0,),
        shortest_first: bool = False,
        seed: int = 0,
        rank: int = 0,
        size: int = 1,
        workers: int = 2,
        prefetch: int = 4,
    ) -> None:
        self.source = source
        self.tokens = [tokenizer.encode(u.text) for u in source.utterances]
        self.batch_seconds, self.max_batch_size = batch_seconds, max_batch_size
        self.speeds, self.shortest_first, self.seed = tuple(speeds), shortest_first, seed
        self.rank, self.size = rank, size
        self.workers, self.prefetch = workers, prefetch
        durations = np.array([utterance.duration for utterance in source.utterances])
        self._durations = durations
        self._sizes = _batch_sizes(np.sort(durations), batch_seconds, max_batch_size)

    def __len__(self) -> int:
        return -(-len(self._sizes) // self.size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield this rank's batches of an epoch, prepared ahead by the workers.

        Args:
            epoch: number of the epoch, from 0.
            start: number of batches of this rank to leave out (seen before a resume).
        """
        plan = self.plan(epoch)[self.rank :: self.size][start:]
        pending: deque[Future[Batch]] = deque()
        waiting = iter(plan)
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batches") as executor:
            try:
                while True:
                    while len(pending) < self.prefetch and (items := next(waiting, None)):
                        pending.append(executor.submit(self._load, items, epoch))
                    if not pending:
                        return
                    yield pending.popleft().result()
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def plan(self, epoch: int) -> list[list[Item]]:
        """Return the batches of an epoch for all ranks, as lists of items."""
        random = np.random.default_rng((self.seed, epoch))
        speeds = random.choice(np.array(self.speeds), size=len(self._durations))
        in_order = self.shortest_first and epoch == 0
        noise = np.ones(len(speeds)) if in_order else random.uniform(0.9, 1.1, size=len(speeds))
        order = np.argsort(self._durations / speeds * noise, kind="stable")
        items = [Item(int(i), float(speeds[i])) for i in order]
        ends = np.cumsum(self._sizes)
        batches = [items[end - n : end] for n, end in zip(self._sizes, ends, strict=True)]
        if not in_order:
            batches = [batches[i] for i in random.permutation(len(batches))]
        return batches + batches[: len(self) * self.size - len(batches)]

    def largest(self) -> Batch:
        """Return the batch with the most padded audio, at the slowest speed."""
        order = np.argsort(self._durations, kind="stable")
        ends = np.cumsum(self._sizes)
        padded = [
            self._durations[order[end - 1]] * n for n, end in zip(self._sizes, ends, strict=True)
        ]
        worst = int(np.argmax(padded))
        chosen = order[ends[worst] - self._sizes[worst] : ends[worst]]
        return self._load([Item(int(i), min(self.speeds)) for i in chosen], epoch=0)

    def _load(self, items: Sequence[Item], epoch: int) -> Batch:
        utterances = [self.source.utterances[item.index] for item in items]
        return collate(
            [self.source.features(i.index, speed=i.speed, epoch=epoch) for i in items],
            [self.tokens[item.index] for item in items],
            ids=[utterance.id for utterance in utterances],
            seconds=sum(u.duration / i.speed for u, i in zip(utterances, items, strict=True)),
        )


def _batch_sizes(
    durations: NDArray[np.float64], batch_seconds: float, max_batch_size: int
) -> list[int]:
    """Cut durations in rising order so that longest x count stays within `batch_seconds`."""
    sizes = [0]
    for duration in durations:
        full = duration * (sizes[-1] + 1) > batch_seconds or sizes[-1] >= max_batch_size
        if full and sizes[-1]:
            sizes.append(0)
        sizes[-1] += 1
    return [size for size in sizes if size]
