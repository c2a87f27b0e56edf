"""Training any network that gives a sequence of tokens a label: batches, loss, held-out figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentiment_config import ClassifierTrainingConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from asr.fit import FitSettings, fit
from asr.training_log import Reporter
from asr.world import World

__all__ = [
    "Encoded",
    "LabelledBatch",
    "LabelledBatches",
    "TextTask",
    "class_weights",
    "confusion",
    "figures",
    "run_network",
    "train_network",
]

# Batches are cut from pools of so many, sorted by length: little padding, much chance.
_BATCHES_PER_POOL = 20


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens and the numbers of their labels."""

    tokens: Sequence[Sequence[int]]
    labels: Sequence[int]


@dataclass(frozen=True)
class LabelledBatch:
    """Texts of a batch.

    Attributes:
        tokens: (B, T) int64, 0 in the padding.
        lengths: (B,) int64, on the CPU.
        labels: (B,) int64.
        name: for an error message.
    """

    tokens: Tensor
    lengths: Tensor
    labels: Tensor
    name: str

    @classmethod
    def of(cls, texts: Encoded, rows: Sequence[int], name: str) -> "LabelledBatch":
        """Make a batch of some texts."""
        tokens = [torch.tensor(texts.tokens[row], dtype=torch.int64) for row in rows]
        return cls(
            pad_sequence(tokens, batch_first=True),
            torch.tensor([len(each) for each in tokens]),
            torch.tensor([texts.labels[row] for row in rows]),
            name,
        )

    @property
    def weight(self) -> float:
        """Number of texts."""
        return float(len(self.labels))

    @property
    def amount(self) -> float:
        """Number of texts."""
        return self.weight

    def to(self, device: torch.device) -> "LabelledBatch":
        """Return the batch on a device; lengths stay where they are."""
        return replace(self, tokens=self.tokens.to(device), labels=self.labels.to(device))


class LabelledBatches:
    """Texts in batches of similar length; each epoch has others, in another order.

    Args:
        texts: to train on.
        batch_size: texts of a batch at most.
        seed: decides the order.
    """

    def __init__(self, texts: Encoded, batch_size: int, seed: int) -> None:
        self.texts, self.batch_size, self.seed = texts, batch_size, seed

    def __len__(self) -> int:
        return -(-len(self.texts.labels) // self.batch_size)

    def epoch(self, epoch: int, start: int) -> Iterator[LabelledBatch]:
        """Yield the batches of an epoch from number `start`."""
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(len(self.texts.labels)).tolist()
        groups: list[Sequence[int]] = []
        for pool in _chunks(order, _BATCHES_PER_POOL * self.batch_size):
            groups += _chunks(sorted(pool, key=self._length), self.batch_size)
        mixed = generator.permutation(len(groups))
        for number in range(start, len(self)):
            rows = groups[mixed[number]]
            yield LabelledBatch.of(self.texts, rows, f"batch {number} of epoch {epoch}")

    def largest(self) -> LabelledBatch:
        """Return a batch of the longest texts."""
        rows = sorted(range(len(self.texts.labels)), key=self._length)[-self.batch_size :]
        return LabelledBatch.of(self.texts, rows, "the longest texts")

    def _length(self, row: int) -> int:
        return len(self.texts.tokens[row])


class _Training(nn.Module):
    """A network with its loss, called as `module(batch)`: - sum of weight_y log P(y | text)."""

    weights: Tensor

    def __init__(self, network: nn.Module, weights: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, batch: LabelledBatch) -> Tensor:
        logits = self.network(batch.tokens, batch.lengths)
        return F.cross_entropy(logits, batch.labels, self.weights, reduction="sum")


class TextTask:
    """What `fit` trains and measures.

    Args:
        network: called as `network(tokens (B, T), lengths (B,))`, returns logits (B, C).
        dev: held-out texts.
        weights: of the classes in the loss, (C,).
        save: writes what makes the network usable into a folder.
    """

    def __init__(
        self,
        network: nn.Module,
        dev: Encoded,
        weights: Tensor,
        save: Callable[[Path, Mapping[str, Any]], None],
    ) -> None:
        self.network, self.dev, self.save = network, dev, save
        self._module = _Training(network, weights)

    @property
    def module(self) -> nn.Module:
        """The network with its loss."""
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        """Measure on the held-out texts."""
        logits = run_network(self.network, self.dev.tokens)
        labels = torch.tensor(self.dev.labels)
        found = figures(confusion(labels.numpy(), logits.argmax(1).numpy(), logits.shape[1]))
        loss = float(F.cross_entropy(logits, labels))
        return {
            "loss": loss,
            "accuracy": found["accuracy"],
            "macro_f1_error": 1 - found["macro_f1"],
        }


@torch.no_grad()
def run_network(
    network: nn.Module, tokens: Sequence[Sequence[int]], batch_size: int = 64
) -> Tensor:
    """Return the outputs of a network for texts, (N, ...), in eval mode whatever it was in."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
    texts = Encoded(tokens, [0] * len(tokens))
    parts = []
    for rows in _chunks(order, batch_size):
        batch = LabelledBatch.of(texts, rows, "texts to read").to(device)
        parts.append(network(batch.tokens, batch.lengths).float().cpu())
    network.train(was_training)
    return torch.cat(parts)[torch.tensor(order).argsort()]


def _chunks(rows: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def confusion(
    labels: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, n_labels: int
) -> np.ndarray:
    """Count texts by label (row) and predicted label (column), (C, C)."""
    counts = np.zeros((n_labels, n_labels), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predicted)), 1)
    return counts


def figures(counts: np.ndarray) -> dict[str, float]:
    """Return accuracy and macro-F1 of counts (C, C), see `confusion`.

        F1_c = 2 right_c / (labelled_c + predicted_c);   macro-F1 = mean of F1_c

    A class that neither labels nor predictions have counts as 0.
    """
    right = np.diag(counts)
    f1 = 2 * right / np.maximum(1, counts.sum(0) + counts.sum(1))
    return {"accuracy": float(right.sum() / counts.sum()), "macro_f1": float(f1.mean())}


def class_weights(labels: Sequence[int], n_labels: int, balance: float) -> Tensor:
    """Return weights proportional to frequency^-balance, (C,), whose mean over the texts is 1."""
    frequency = np.bincount(labels, minlength=n_labels) / len(labels)
    weights = np.maximum(frequency, 1 / len(labels)) ** -balance
    return torch.from_numpy(weights / (weights * frequency).sum()).float()


def train_network(
    task: TextTask,
    train: Encoded,
    config: ClassifierTrainingConfig,
    folder: Path,
    *,
    world: World,
    seed: int,
    rate_factors: tuple[tuple[str, float], ...] = (),
    frozen: tuple[str, ...] = (),
    reporter: Reporter | None = None,
) -> None:
    """Train with one cycle of the learning rate; the best network by dev is `folder/best`.

    Args:
        task: network, held-out texts.
        train: texts to train on.
        config: how to optimise.
        folder: experiment folder.
        world: where.
        seed: of order and dropout.
        rate_factors: see `asr.fit.FitSettings`; names begin with those of the network.
        frozen: names of parameters that stay as they are.
        reporter: receives progress.

    Reference: Smith and Topin, "Super-convergence", arXiv 1708.07120.
    """
    batches = LabelledBatches(train, config.batch_size, seed)
    settings = FitSettings.of(
        config, seed=seed, prefix="network.", minimise=("macro_f1_error", "loss")
    )
    n_steps = config.max_steps or config.epochs * -(-len(batches) // config.accumulate)
    settings = replace(
        settings,
        warmup_steps=int(config.cycle_start * n_steps),
        frozen=(*settings.frozen, *(f"network.{name}" for name in frozen)),
        rate_factors=tuple((f"network.{name}", factor) for name, factor in rate_factors),
    )
    folder.mkdir(parents=True, exist_ok=True)
    fit(task, batches, settings, folder, world=world, reporter=reporter)
