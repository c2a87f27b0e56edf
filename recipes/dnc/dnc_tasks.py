"""What the memory is for: copying, associative recall and sorting, made by code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["IGNORED", "TASKS", "MemoryBatch", "MemoryBatches", "TaskSize", "make_batch"]

IGNORED = -100
TASKS = ("copy", "recall", "sort")

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TaskSize:
    """How hard a task is.

    Attributes:
        n_symbols: symbols there are; the tokens behind them are the signs GO and ANSWER.
        longest: symbols to copy or sort, or pairs to recall from, at most.
    """

    n_symbols: int
    longest: int

    @property
    def n_tokens(self) -> int:
        """Symbols and signs."""
        return self.n_symbols + 2


@dataclass(frozen=True)
class MemoryBatch:
    """Sequences of one length.

    Attributes:
        length: symbols to copy or sort, or pairs.
        tokens: (B, T) int64.
        targets: (B, T) int64, IGNORED where nothing is to be said.
        name: for an error message.
    """

    length: int
    tokens: Tensor
    targets: Tensor
    name: str

    @property
    def weight(self) -> float:
        """Number of answers."""
        return float((self.targets != IGNORED).sum())

    @property
    def amount(self) -> float:
        """Number of sequences."""
        return float(len(self.tokens))

    def to(self, device: torch.device) -> "MemoryBatch":
        """Return the batch on a device."""
        return replace(self, tokens=self.tokens.to(device), targets=self.targets.to(device))


def make_batch(
    task: str, size: TaskSize, length: int, n_sequences: int, generator: np.random.Generator
) -> MemoryBatch:
    """Draw sequences.

        copy     a b c GO . . .      answers a b c
        sort     c a b GO . . .      answers a b c
        recall   a 1 b 2 c 3 GO b c a   answers 2 3 1 to the last tokens; no key comes twice

    Args:
        task: one of TASKS.
        size: symbols.
        length: symbols to copy or sort, or pairs.
        n_sequences: B.
        generator: the source of chance.
    """
    shape = (n_sequences, length)
    go, answer = size.n_symbols, size.n_symbols + 1
    symbols = generator.integers(0, size.n_symbols, shape)
    sign = np.full((n_sequences, 1), go)
    if task == "recall":
        keys = generator.permuted(np.tile(np.arange(size.n_symbols), (n_sequences, 1)), axis=1)
        keys = keys[:, :length]
        pairs = np.stack([keys, symbols], axis=-1).reshape(n_sequences, -1)
        asked = generator.permuted(np.tile(np.arange(length), (n_sequences, 1)), axis=1)
        inputs = np.hstack([pairs, sign, np.take_along_axis(keys, asked, axis=1)])
        answers = np.take_along_axis(symbols, asked, axis=1)
    else:
        inputs = np.hstack([symbols, sign, np.full(shape, answer)])
        answers = np.sort(symbols, axis=1) if task == "sort" else symbols
    targets = np.full_like(inputs, IGNORED)
    targets[:, -answers.shape[1] :] = answers
    name = f"{n_sequences} sequences of length {length} to {task}"
    return MemoryBatch(length, torch.from_numpy(inputs), torch.from_numpy(targets), name)


class MemoryBatches:
    """Batches without end, half of them as long as may be now, the others of any length below.

    Args:
        task: one of TASKS.
        size: symbols and lengths.
        longest: returns how long the sequences may be now.
        batch_size: B.
        per_epoch: batches called an epoch.
        seed: decides the sequences.
    """

    def __init__(
        self,
        task: str,
        size: TaskSize,
        longest: Callable[[], int],
        *,
        batch_size: int,
        per_epoch: int,
        seed: int,
    ) -> None:
        self.task, self.size, self.longest = task, size, longest
        self.batch_size, self.per_epoch, self.seed = batch_size, per_epoch, seed

    def __len__(self) -> int:
        return self.per_epoch

    def epoch(self, epoch: int, start: int) -> Iterator[MemoryBatch]:
        """Yield the batches of an epoch from number `start`."""
        for number in range(start, self.per_epoch):
            generator = np.random.default_rng((self.seed, epoch, number))
            longest = self.longest()
            is_longest = generator.random() < 0.5
            length = longest if is_longest else int(generator.integers(1, longest, endpoint=True))
            yield make_batch(self.task, self.size, length, self.batch_size, generator)

    def largest(self) -> MemoryBatch:
        """Return a batch of the greatest length."""
        generator = np.random.default_rng(self.seed)
        return make_batch(self.task, self.size, self.size.longest, self.batch_size, generator)
