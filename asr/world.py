"""Where a model computes: one device, or the devices of several processes."""

import os
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist

from asr.errors import TrainingError

__all__ = ["World", "select_device", "start_world"]


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: this process, 0 to size - 1.
        size: number of processes.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum(self, value: float) -> float:
        """Add a number over all ranks."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return float(total)

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            dist.barrier()

    def gather(self, value: Any) -> list[Any]:
        """Collect a picklable value from every rank, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def select_device(name: str) -> torch.device:
    """Return the device that a name stands for.

    Args:
        name: "auto" (CUDA, else CPU), "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        TrainingError: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"device {name!r} cannot be used ({reason}); try --device cpu"
        ) from None
    return device


def start_world(device: str) -> World:
    """Join the processes that `torchrun` started, or stand alone.

    Args:
        device: see `select_device`; with several processes per machine each takes the CUDA
            device of its local rank.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World(device=select_device(device))
    chosen = select_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    return World(dist.get_rank(), dist.get_world_size(), chosen)
