"""Training an encoder-decoder: pairs of symbol sequences -> batches, `fit`, held-out loss."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr.errors import TrainingError
from asr.fit import FitResult, FitSettings, fit
from asr.nn.seq2seq import EncoderDecoder, sequence_loss, teacher_forced
from asr.search import END
from asr.toml_config import claim_folder
from asr.training_log import Reporter
from asr.translator import END_SYMBOL, Translator, TranslatorConfig
from asr.world import World, start_world

__all__ = ["Pair", "PairBatch", "PairBatches", "PairTraining", "measure", "symbols_of", "train"]

logger = logging.getLogger(__name__)

Pair = tuple[Sequence[str], Sequence[str]]
"""A source and its target, each a sequence of symbols."""

# Batches are cut from pools of so many, sorted by length: little padding, much chance.
_BATCHES_PER_POOL = 200
# Targets are taken as equally long up to a factor of 2^(1/3), so that sources can be sorted, too.
_GROUPS_PER_OCTAVE = 3


@dataclass(frozen=True)
class PairBatch:
    """Sources and targets of a batch.

    Attributes:
        sources: (B, T) int64.
        source_lengths: (B,) int64, on the CPU.
        targets: (B, U) int64, each ended by token 0, which is also the padding.
        target_lengths: (B,) int64, with the end, on the CPU.
        name: for an error message.
    """

    sources: Tensor
    source_lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    name: str

    @classmethod
    def of(cls, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], name: str) -> "PairBatch":
        """Make a batch of pairs of tokens, targets without the end."""
        sources = [torch.tensor(source) for source, _ in pairs]
        targets = [torch.tensor([*target, END]) for _, target in pairs]
        return cls(
            pad_sequence(sources, batch_first=True),
            torch.tensor([len(source) for source in sources]),
            pad_sequence(targets, batch_first=True, padding_value=END),
            torch.tensor([len(target) for target in targets]),
            name,
        )

    @property
    def weight(self) -> float:
        """Number of target tokens with the ends."""
        return float(self.target_lengths.sum())

    @property
    def amount(self) -> float:
        """Number of target tokens with the ends."""
        return self.weight

    def to(self, device: torch.device) -> "PairBatch":
        """Return the batch on a device; lengths stay where they are."""
        sources = self.sources.to(device, non_blocking=True)
        targets = self.targets.to(device, non_blocking=True)
        return PairBatch(sources, self.source_lengths, targets, self.target_lengths, self.name)


class PairBatches:
    """Pairs of tokens in batches of similar length; each epoch has others, in another order.

    Args:
        pairs: sources and targets, without the end.
        batch_size: pairs of a batch of this process at most, where `batch_tokens` is 0.
        batch_tokens: target tokens with ends of such a batch, about.
        seed: decides the order.
        rank: this process.
        size: number of processes; each has as many batches.

    Raises:
        TrainingError: fewer pairs than processes.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        *,
        batch_size: int,
        batch_tokens: int = 0,
        seed: int = 0,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self.pairs, self.batch_size, self.batch_tokens = pairs, batch_size, batch_tokens
        self.seed, self.rank, self.size = seed, rank, size
        self._lengths = [(len(source), len(target)) for source, target in pairs]
        # By the target first: a step of the decoder costs more than one of the encoder.
        self._order = [
            (round(_GROUPS_PER_OCTAVE * math.log2(1 + n_target)), n_source)
            for n_source, n_target in self._lengths
        ]
        self._weights = np.array([n_target + 1 for _, n_target in self._lengths])
        if batch_tokens and pairs:
            # A share of all tokens is no smaller than a target: one begins in each.
            share = max(batch_tokens, int(self._weights.max()))
            self._n_batches = max(1, int(self._weights.sum()) // share)
            self.batch_size = math.ceil(len(pairs) / self._n_batches)
        else:
            self._n_batches = math.ceil(len(pairs) / batch_size)
        if not len(self):
            raise TrainingError(
                f"{len(pairs)} pairs do not give a batch for each of {size} processes; more pairs "
                "are needed"
            )

    def __len__(self) -> int:
        return self._n_batches // self.size

    def epoch(self, epoch: int, start: int) -> Iterator[PairBatch]:
        """Yield the batches of an epoch from number `start`."""
        generator = np.random.default_rng((self.seed, epoch))
        order = generator.permutation(len(self.pairs)).tolist()
        n_pool = _BATCHES_PER_POOL * self.batch_size
        by_length: list[int] = []
        for number, first in enumerate(range(0, len(order), n_pool)):
            pool = sorted(order[first : first + n_pool], key=self._order.__getitem__)
            # A batch of tokens may have pairs of two pools: of similar length where they meet.
            by_length += reversed(pool) if self.batch_tokens and number % 2 else pool
        batches = self._cut(by_length)
        mixed = generator.permutation(len(batches))[self.rank :: self.size]
        for number in range(start, len(self)):
            indices = batches[mixed[number]]
            name = f"batch {number} of epoch {epoch}, which has pair {indices[0]}"
            yield PairBatch.of([self.pairs[index] for index in indices], name)

    def _cut(self, order: list[int]) -> list[list[int]]:
        if not self.batch_tokens:
            return [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        weights = self._weights[order]
        starts = weights.cumsum() - weights
        numbers = starts * self._n_batches // weights.sum()
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        return [part.tolist() for part in np.split(np.array(order), cuts)]

    def largest(self) -> PairBatch:
        """Return a batch of the longest pairs."""
        longest = sorted(range(len(self.pairs)), key=lambda index: sum(self._lengths[index]))
        indices = longest[-self.batch_size :]
        return PairBatch.of([self.pairs[index] for index in indices], "the longest pairs")


class PairTraining(nn.Module):
    """A network with its training loss, called as `module(batch)`.

    Args:
        network: what is trained.
        label_smoothing: see `asr.nn.seq2seq.sequence_loss`.
    """

    def __init__(self, network: EncoderDecoder, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.label_smoothing = label_smoothing

    def forward(self, batch: PairBatch) -> Tensor:
        """Return the loss summed over the target tokens, in nats, ()."""
        inputs = teacher_forced(batch.targets)
        lengths = batch.source_lengths, batch.target_lengths
        log_probs = self.network(batch.sources, lengths[0], inputs, lengths[1])  # (N, V)
        smoothing = self.label_smoothing if self.training else 0.0
        return sequence_loss(log_probs, batch.targets, lengths[1], smoothing)


class _PairTask:
    """What `fit` trains and measures."""

    def __init__(
        self, translator: Translator, dev: Sequence[tuple[list[int], list[int]]], batch_size: int
    ) -> None:
        self.translator = translator
        settings = translator.config.training
        self._module = PairTraining(translator.network, settings.label_smoothing)
        self._dev = _held_out(dev, batch_size)

    @property
    def module(self) -> nn.Module:
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        total = weight = 0.0
        for batch in self._dev[world.rank :: world.size]:
            total += float(self._module(batch.to(world.device)))
            weight += batch.weight
        loss = world.sum(total) / world.sum(weight)
        return {"loss": loss, "perplexity": math.exp(min(loss, 700))}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        self.translator.save(folder, metrics)


def _held_out(pairs: Sequence[tuple[list[int], list[int]]], batch_size: int) -> list[PairBatch]:
    ordered = sorted(pairs, key=lambda pair: (len(pair[0]), len(pair[1])))
    return [
        PairBatch.of(ordered[first : first + batch_size], "dev")
        for first in range(0, len(ordered), batch_size)
    ]


@torch.inference_mode()
def measure(translator: Translator, pairs: Sequence[Pair]) -> tuple[float, int]:
    """Return the loss of pairs, -log P(targets, ends | sources) in nats, and of how many symbols.

    Raises:
        TextError: a source is empty, or a symbol is not known.
    """
    batch_size = translator.config.training.batch_size
    batches = _held_out(_encode(translator, pairs), batch_size)
    module = PairTraining(translator.network).eval()
    losses = [float(module(batch.to(translator.device))) for batch in batches]
    return sum(losses), sum(int(batch.weight) for batch in batches)


def symbols_of(sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the symbols that occur, in order."""
    return tuple(sorted({symbol for sequence in sequences for symbol in sequence}))


def train(
    config: TranslatorConfig,
    pairs: Sequence[Pair],
    dev: Sequence[Pair],
    folder: Path,
    *,
    symbols: tuple[Sequence[str], Sequence[str]] | None = None,
    reporter: Reporter | None = None,
) -> FitResult:
    """Train an encoder-decoder; the same call goes on after an interruption.

    Args:
        config: network and optimisation.
        pairs: to train on.
        dev: whose loss is measured and minimised.
        folder: experiment folder; `folder/best` becomes the model.
        symbols: of source and target, without the end; None for those of `pairs`.
        reporter: receives progress; `per_second` counts target tokens.

    Raises:
        AsrError: bad configuration, no pairs, unknown symbols in dev, a loss that is not finite.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    for name, part in (("train", pairs), ("dev", dev)):
        if not part:
            raise TrainingError(f"no pair for {name}; one or more is needed")
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = start_world(settings.device)
    if world.rank == 0:
        claim_folder(
            folder, config, ("seed", "model", "training.batch_size", "training.batch_tokens")
        )
    source_symbols, target_symbols = symbols or (
        symbols_of(source for source, _ in pairs),
        symbols_of(target for _, target in pairs),
    )
    torch.manual_seed(config.seed)
    translator = Translator(config, source_symbols, (END_SYMBOL, *target_symbols))
    translator.to(world.device)
    batches = PairBatches(
        _encode(translator, pairs),
        batch_size=settings.batch_size,
        batch_tokens=settings.batch_tokens,
        seed=config.seed,
        rank=world.rank,
        size=world.size,
    )
    n_parameters = sum(p.numel() for p in translator.parameters())
    logger.info(
        "%d pairs to train, %d for dev, %d and %d symbols, %d batches an epoch, %.2f million "
        "parameters, on %s",
        len(pairs), len(dev), len(source_symbols), len(target_symbols), len(batches),
        n_parameters / 1e6, world.device,
    )  # fmt: skip
    task = _PairTask(translator, _encode(translator, dev), settings.batch_size)
    fitting = FitSettings.of(settings, seed=config.seed, prefix="network.")
    return fit(task, batches, fitting, folder, world=world, reporter=reporter)


def _encode(translator: Translator, pairs: Sequence[Pair]) -> list[tuple[list[int], list[int]]]:
    return [(translator.encode_source(s), translator.encode_target(t)) for s, t in pairs]
