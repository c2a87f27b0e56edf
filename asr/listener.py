"""Recordings into log-probabilities: any number of them, of any length, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.chunks import Chunk, Chunker
from asr.errors import AsrError, ConfigError
from asr.models.recognizer import Recognizer
from asr.recording import Audio, Place, Recording
from asr.views import Views

__all__ = ["Listener"]

# The most threads that transcribe at once; each needs the memory of a batch.
_MAX_WORKERS = 8
# The most audio whose features wait to be sorted by length, 32 kB a second.  Read speech has
# 14 % of padding in batches from 640 s of it, 8 % in batches from 2400 s.
_POOL_SECONDS = 2400


class Listener:
    """The acoustic model at work, on chunks of many recordings in batches.

    On a CPU, as many batches are worked on at once as torch has threads
    (`torch.set_num_threads`), each by one thread: recurrent layers gain more from that than
    from several threads on one batch.

    Args:
        recognizer: the model, in eval mode.
        batch_seconds: audio in a batch, with padding; by default 160 on a CPU, else 640.
        chunk_seconds: what is kept of each chunk of a recording that is longer than a chunk.
        context_seconds: what each chunk hears on either side beyond that.
        n_views: times that each recording is heard; see `asr.views.Views`.

    Raises:
        ConfigError: one of them is out of range.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        batch_seconds: float | None,
        chunk_seconds: float,
        context_seconds: float,
        n_views: int,
    ) -> None:
        is_on_cpu = recognizer.device.type == "cpu"
        batch_seconds = batch_seconds if batch_seconds is not None else 160 if is_on_cpu else 640
        for name, value, low in (
            ("batch_seconds", batch_seconds, 1.0),
            ("chunk_seconds", chunk_seconds, 1.0),
            ("context_seconds", context_seconds, 0.0),
        ):
            if not low <= value < float("inf"):
                raise ConfigError(f"{name} is {value:g}; {low:g} or more seconds are needed")
        self.recognizer = recognizer
        self.batch_seconds = batch_seconds
        self.views = Views(recognizer, n_views)
        self.chunker = Chunker(
            recognizer.extractor,
            recognizer.normalizer,
            factor=recognizer.network.subsampling_factor,
            seconds=chunk_seconds,
            context_seconds=context_seconds,
        )
        # On an accelerator one batch at a time: its memory is the limit.
        self._turn: AbstractContextManager[Any] = nullcontext() if is_on_cpu else Lock()

    def listen(
        self, sources: Iterable[Audio], sample_rate: int, on_progress: Callable[[float], None]
    ) -> Iterator[Recording]:
        """Compute the log-probabilities of recordings; each is handed out when it is done.

        Which chunks share a batch follows from the recordings alone, not from the timing.

        Args:
            sources: the recordings; they are asked for as they are needed.
            sample_rate: of samples in memory, in Hz.
            on_progress: called with seconds of audio whenever so much more has been done.

        Yields:
            recordings whose `log_probs` are all there, or whose `error` says why not; not always
            in the order of their numbers.
        """
        recordings = (
            Recording(
                index,
                self.chunker,
                source,
                sample_rate,
                n_tokens=self.recognizer.tokenizer.n_tokens,
                read_seconds=self.batch_seconds,
            )
            for index, source in enumerate(sources)
        )
        with _workers(self.recognizer.device) as (executor, n_workers):
            batches = _Batches(self, executor, n_workers, on_progress)
            # Read ahead so that chunks of similar length can be found for a batch.
            reading: deque[tuple[Recording, Future[tuple[list[Chunk], bool]]]] = deque()
            while True:
                while len(reading) < 4 * n_workers and (recording := next(recordings, None)):
                    reading.append((recording, executor.submit(recording.read)))
                if not reading:
                    break
                recording, future = reading.popleft()
                try:
                    chunks, is_rest = future.result()
                except AsrError as error:
                    recording.error = error
                    yield recording
                    continue
                if not is_rest:
                    reading.appendleft((recording, executor.submit(recording.read)))
                places = recording.expect(chunks, is_rest=is_rest)
                if recording.is_complete:
                    yield recording
                for place in places:
                    yield from batches.add(place)
            yield from batches.finish()

    def run(self, chunks: Sequence[Chunk]) -> list[Tensor]:
        """Return the kept log-probabilities of each chunk, (T', V), as views of one tensor.

        Raises:
            ConfigError: the batch does not fit into the device's memory.
        """
        with torch.inference_mode(), self._turn:
            features = pad_sequence([chunk.features for chunk in chunks], batch_first=True)
            lengths = torch.tensor([len(chunk.features) for chunk in chunks])
            try:
                log_probs = self.views(features, lengths).cpu()
            except torch.OutOfMemoryError:
                seconds = len(chunks) * features.shape[1] * self.chunker.extractor.hop_seconds
                raise ConfigError(
                    f"a batch of {seconds:.0f} s does not fit into the memory of "
                    f"{self.recognizer.device}; lower batch_seconds"
                ) from None
        return [row[chunk.first : chunk.last] for row, chunk in zip(log_probs, chunks, strict=True)]


class _Batches:
    """Groups chunks into batches and runs them.

    Chunks of full length go as soon as they fill a batch; shorter ones are collected and
    sorted, so that a batch has little padding.
    """

    def __init__(
        self,
        listener: Listener,
        executor: ThreadPoolExecutor,
        n_workers: int,
        on_progress: Callable[[float], None],
    ) -> None:
        self._listener = listener
        self._executor = executor
        self._n_workers = n_workers
        self._on_progress = on_progress
        hop_seconds = listener.chunker.extractor.hop_seconds
        self._batch_frames = round(listener.batch_seconds / hop_seconds)
        self._full_frames = listener.chunker.n_frames
        self._pool_frames = min(
            8 * n_workers * self._batch_frames, round(_POOL_SECONDS / hop_seconds)
        )
        self._full: list[Place] = []
        self._short: list[Place] = []
        self._running: deque[tuple[list[Place], Future[list[Tensor]]]] = deque()

    def add(self, place: Place) -> Iterator[Recording]:
        """Take a chunk; yields recordings that have become complete."""
        if len(place.chunk.features) == self._full_frames:
            self._full.append(place)
            if (len(self._full) + 1) * self._full_frames > self._batch_frames:
                self._submit(self._full)
                self._full = []
        else:
            self._short.append(place)
            n_frames = sum(len(each.chunk.features) for each in self._short)
            if n_frames >= self._pool_frames:
                self._submit_sorted()
        while len(self._running) > 4 * self._n_workers or (
            self._running and self._running[0][1].done()
        ):
            yield from self._collect()

    def finish(self) -> Iterator[Recording]:
        """Run what is left."""
        self._short += self._full
        self._full = []
        self._submit_sorted()
        while self._running:
            yield from self._collect()

    def _submit_sorted(self) -> None:
        """Submit the short chunks in batches that keep all workers busy to the end."""
        if not self._short:
            return
        self._short.sort(key=lambda place: -len(place.chunk.features))
        n_frames = sum(len(place.chunk.features) for place in self._short)
        n_rounds = -(-n_frames // (self._n_workers * self._batch_frames))
        limit = n_frames / (self._n_workers * n_rounds)
        batch: list[Place] = []
        for place in self._short:
            longest = len((batch or [place])[0].chunk.features)
            if batch and (len(batch) + 1) * longest > limit * 1.02:
                self._submit(batch)
                batch = []
            batch.append(place)
        self._submit(batch)
        self._short = []

    def _submit(self, batch: list[Place]) -> None:
        chunks = [place.chunk for place in batch]
        self._running.append((batch, self._executor.submit(self._listener.run, chunks)))

    def _collect(self) -> Iterator[Recording]:
        """Wait for the oldest batch."""
        batch, future = self._running.popleft()
        results = future.result()
        self._on_progress(sum(map(len, results)) * self._listener.recognizer.frame_seconds)
        for place, log_probs in zip(batch, results, strict=True):
            place.recording.put(place.start, log_probs)
            if place.recording.is_complete:
                yield place.recording


@contextmanager
def _workers(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that read and compute, and their number."""
    n_threads = torch.get_num_threads()
    # Beside an accelerator, threads read.
    n_workers = min(n_threads, _MAX_WORKERS) if device.type == "cpu" else 2
    share = max(1, n_threads // n_workers)
    executor = ThreadPoolExecutor(
        n_workers, "transcribe", initializer=torch.set_num_threads, initargs=(share,)
    )
    try:
        yield executor, n_workers
    finally:
        executor.shutdown(cancel_futures=True)
        # The number is each thread's own, but new threads begin with the one set last.
        torch.set_num_threads(n_threads)
