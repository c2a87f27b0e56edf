"""Networks that say which phone each frame belongs to, with their data and their loss."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from frames import LabelledUtterance
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from asr.checkpoint import read_tensors, write_json, write_tensors
from asr.config import TrainingConfig
from asr.errors import CheckpointError
from asr.nn.dropout import Dropout
from asr.nn.recurrent import RecurrentStack
from asr.toml_config import Section, dump_toml, load_toml
from asr.world import World

__all__ = [
    "MODELS",
    "FrameBatch",
    "FrameBatches",
    "FrameLabeller",
    "FrameLabelsConfig",
    "FrameTask",
    "FrameTraining",
    "load_labeller",
    "make_labeller",
]

MODELS = ("mlp", "bilstm")
"""Without and with context."""

# What torch's loss counts nothing for.
_PADDING = -100


class InputConfig(Section):
    """What the networks see."""

    n_mels: int = Field(default=40, ge=1)
    stride: int = Field(default=2, ge=1, description="of frames, each 10 ms after the last")


class NetworkConfig(Section):
    """The networks; see `FrameLabeller`."""

    hidden_size: int = Field(default=128, ge=1, description="per direction, of the BiLSTM")
    n_layers: int = Field(default=1, ge=1, description="of the BiLSTM")
    mlp_size: int = Field(default=256, ge=1, description="of the two hidden layers of the MLP")
    dropout: float = Field(default=0.2, ge=0, lt=1)


class OptimizationConfig(TrainingConfig):
    """Optimisation; see `asr.fit.fit`."""

    epochs: int = Field(default=10, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    batch_size: int = Field(default=8, ge=1, description="utterances")


class FrameLabelsConfig(Section):
    """The recipe's configuration."""

    seed: int = Field(default=0, ge=0)
    input: InputConfig = InputConfig()
    model: NetworkConfig = NetworkConfig()
    training: OptimizationConfig = OptimizationConfig()


@dataclass(frozen=True)
class FrameBatch:
    """Utterances of a batch.

    Attributes:
        features: (B, T, F).
        lengths: frames, (B,) int64.
        labels: numbers of phones, -100 in the padding, (B, T) int64.
        name: for an error message.
    """

    features: Tensor
    lengths: Tensor
    labels: Tensor
    name: str

    @classmethod
    def of(cls, utterances: Sequence[LabelledUtterance]) -> "FrameBatch":
        """Pad utterances."""
        return cls(
            pad_sequence([u.features for u in utterances], batch_first=True),
            torch.tensor([len(u.labels) for u in utterances]),
            pad_sequence(
                [u.labels for u in utterances], batch_first=True, padding_value=_PADDING
            ),
            ", ".join(u.utterance.id for u in utterances),
        )  # fmt: skip

    @property
    def weight(self) -> float:
        """Number of frames."""
        return float(self.lengths.sum())

    @property
    def amount(self) -> float:
        """Number of frames."""
        return self.weight

    def to(self, device: torch.device) -> "FrameBatch":
        """Return the batch on a device."""
        return replace(self, features=self.features.to(device), labels=self.labels.to(device))


class FrameBatches:
    """Training utterances, shuffled anew each epoch; what fills no batch waits for the next.

    Args:
        utterances: what there is.
        batch_size: utterances of a batch and process.
        seed: decides the order.
        world: the processes.
    """

    def __init__(
        self, utterances: Sequence[LabelledUtterance], batch_size: int, seed: int, world: World
    ) -> None:
        self.utterances, self.batch_size = utterances, batch_size
        self.seed, self.world = seed, world

    def __len__(self) -> int:
        return max(1, len(self.utterances) // (self.batch_size * self.world.size))

    def epoch(self, epoch: int, start: int) -> Iterator[FrameBatch]:
        """Yield the batches of an epoch from number `start`."""
        generator = torch.Generator().manual_seed(self.seed * 10_007 + epoch)
        order = torch.randperm(len(self.utterances), generator=generator).tolist()
        size = self.batch_size * self.world.size
        for number in range(start, len(self)):
            part = order[number * size + self.world.rank : (number + 1) * size : self.world.size]
            yield FrameBatch.of([self.utterances[index] for index in part])

    def largest(self) -> FrameBatch:
        """Return the batch of the longest utterances."""
        order = sorted(self.utterances, key=lambda u: len(u.labels))
        return FrameBatch.of(order[-self.batch_size :])


class FrameLabeller(nn.Module):
    """log P(phone | frame) for each frame.

        mlp:     softmax(V relu(W_2 relu(W_1 x_t + b_1) + b_2) + v)
        bilstm:  softmax(V [h_t forwards; h_t backwards] + v)

    Args:
        kind: one of MODELS.
        n_features: of a frame, F.
        n_phones: with the silence, P.
        config: sizes.
    """

    def __init__(self, kind: str, n_features: int, n_phones: int, config: NetworkConfig) -> None:
        super().__init__()
        self.stack: RecurrentStack | None = None
        if kind == "bilstm":
            self.stack = RecurrentStack(
                n_features, config.hidden_size, config.n_layers, cell="lstm", bidirectional=True,
                dropout=config.dropout,
            )  # fmt: skip
            size = self.stack.output_size
        else:
            size = config.mlp_size
            self.layers = nn.Sequential(
                nn.Linear(n_features, size), nn.ReLU(), Dropout(config.dropout),
                nn.Linear(size, size), nn.ReLU(),
            )  # fmt: skip
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(size, n_phones)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return log-probabilities (B, T, P) for features (B, T, F)."""
        h = self.stack(features, lengths) if self.stack is not None else self.layers(features)
        log_probs: Tensor = self.output(self.dropout(h)).log_softmax(-1)
        return log_probs


class FrameTraining(nn.Module):
    """A network with its loss, called as `module(batch)`: the sum over frames of -log P(phone)."""

    def __init__(self, network: FrameLabeller) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: FrameBatch) -> Tensor:
        """Return the loss in nats, ()."""
        log_probs = self.network(batch.features, batch.lengths)
        return F.nll_loss(
            log_probs.flatten(0, 1), batch.labels.flatten(), ignore_index=_PADDING, reduction="sum"
        )


class FrameTask:
    """What `fit` trains and measures.

    Args:
        network: what is trained.
        config: saved beside it.
        dev: utterances that the best network is chosen by.
    """

    def __init__(
        self, network: FrameLabeller, config: FrameLabelsConfig, dev: Sequence[LabelledUtterance]
    ) -> None:
        self.network, self.config = network, config
        size = config.training.batch_size
        self.dev = [FrameBatch.of(dev[i : i + size]) for i in range(0, len(dev), size)]
        self._module = FrameTraining(network)

    @property
    def module(self) -> nn.Module:
        """See `asr.fit.Task`."""
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        """Return the part of frames that are wrong, and the loss of a frame in nats."""
        wrong = loss = n_frames = 0.0
        for batch in (each.to(world.device) for each in self.dev):
            loss += float(self._module(batch))
            found = self.network(batch.features, batch.lengths).argmax(-1)
            wrong += float(((found != batch.labels) & (batch.labels != _PADDING)).sum())
            n_frames += batch.weight
        return {"error": wrong / n_frames, "loss": loss / n_frames}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """See `asr.fit.Task`."""
        (folder / "config.toml").write_text(dump_toml(self.config), encoding="utf-8")
        write_tensors(folder / "model.safetensors", self.network.state_dict())
        write_json(folder / "metrics.json", dict(metrics))


def make_labeller(kind: str, config: FrameLabelsConfig, n_phones: int) -> FrameLabeller:
    """Return a new network; the seed decides its weights."""
    torch.manual_seed(config.seed)
    return FrameLabeller(kind, config.input.n_mels, n_phones, config.model)


def load_labeller(exp: Path, kind: str, n_phones: int) -> tuple[FrameLabelsConfig, FrameLabeller]:
    """Read the best network of a kind, in eval mode.

    Raises:
        CheckpointError: it was not trained, or its files do not belong together.
    """
    folder = exp / kind / "best"
    if not (folder / "config.toml").is_file():
        raise CheckpointError(f"{folder}: no network there; train {kind} first")
    config = load_toml(FrameLabelsConfig, folder / "config.toml")
    network = make_labeller(kind, config, n_phones)
    try:
        network.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError:
        raise CheckpointError(
            f"{folder}: weights, config.toml and the phones do not belong together; "
            "train anew, in a new folder"
        ) from None
    return config, network.eval()
