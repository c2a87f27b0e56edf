"""A small task for `fit`, also a program: python -m tests.toy_task FOLDER [SETTING=VALUE ...]

It learns whether a bit sequence holds more ones than zeros.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr.checkpoint import write_tensors
from asr.fit import FitSettings, fit
from asr.world import World, start_world


@dataclass(frozen=True)
class ToyBatch:
    bits: Tensor
    label: Tensor
    name: str

    @property
    def weight(self) -> float:
        return float(len(self.bits))

    @property
    def amount(self) -> float:
        return self.weight

    def to(self, device: torch.device) -> "ToyBatch":
        return ToyBatch(self.bits.to(device), self.label.to(device), self.name)


class ToyBatches:
    """Batches of unequal sizes, so that averaging per batch would show."""

    def __init__(self, n_batches: int = 12, *, rank: int = 0, size: int = 1, pause: float = 0.0):
        self.n_batches, self.rank, self.size, self.pause = n_batches, rank, size, pause

    def __len__(self) -> int:
        return self.n_batches // self.size

    def epoch(self, epoch: int, start: int) -> Iterator[ToyBatch]:
        for number in range(self.rank, self.n_batches, self.size)[start:]:
            time.sleep(self.pause)
            yield self.batch(epoch, number)

    def batch(self, epoch: int, number: int) -> ToyBatch:
        generator = torch.Generator().manual_seed(1000 * epoch + number)
        bits = torch.randint(0, 2, (4 + number % 5, 9, 1), generator=generator).float()
        return ToyBatch(bits, (bits.sum((1, 2)) > 4.5).float(), f"batch {epoch}/{number}")

    def largest(self) -> ToyBatch:
        return self.batch(0, 4)


class ToyModule(nn.Module):
    def __init__(self, dropout: float = 0.3, ballast: int = 0) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 8, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(8, 1)
        self.ballast = nn.Parameter(torch.zeros(ballast, 1))

    def forward(self, batch: ToyBatch) -> Tensor:
        hidden, _ = self.gru(batch.bits)
        logits = self.output(self.dropout(hidden[:, -1])).squeeze(-1) + self.ballast.sum()
        loss: Tensor = nn.functional.binary_cross_entropy_with_logits(
            logits, batch.label, reduction="sum"
        )
        return loss


class ToyTask:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.scores: list[float] = []

    def evaluate(self, world: World) -> dict[str, float]:
        if self.scores:
            return {"loss": self.scores.pop(0)}
        held_out = ToyBatches()
        total = sum(float(self.module(held_out.batch(99, n))) for n in range(12))
        return {"loss": total / 72}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        write_tensors(folder / "model.safetensors", self.module.state_dict())
        (folder / "metrics.json").write_text(json.dumps(metrics))


def main(folder: str, *assignments: str) -> None:
    torch.set_num_threads(1)
    options: dict[str, Any] = {k: json.loads(v) for k, v in (a.split("=") for a in assignments)}
    dropout, ballast = options.pop("dropout", 0.3), options.pop("ballast", 0)
    pause = options.pop("pause", 0.0)
    world = start_world("cpu")
    torch.manual_seed(5)
    task = ToyTask(ToyModule(dropout, ballast))
    batches = ToyBatches(rank=world.rank, size=world.size, pause=pause)
    fit(task, batches, FitSettings(**options), Path(folder), world=world)
    if world.rank == 0:
        write_tensors(Path(folder) / "final.safetensors", task.module.state_dict())


if __name__ == "__main__":
    main(*sys.argv[1:])
