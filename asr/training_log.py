"""What a training run writes down: metrics.jsonl, TensorBoard, and events for a display."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from asr.errors import DependencyError

__all__ = ["Evaluation", "Reporter", "TrainingLog", "read_metrics"]


@dataclass(frozen=True)
class Evaluation:
    """Held-out figures after an update.

    Attributes:
        step: updates done.
        epoch: epochs done, with fraction.
        metrics: figures by name.
        is_best: whether the minimised figure is the lowest so far.
    """

    step: int
    epoch: float
    metrics: dict[str, float]
    is_best: bool


class Reporter(Protocol):
    """Receives what happens during `asr.fit.fit`, for display."""

    def progress(self, step: int, n_steps: int, values: Mapping[str, float]) -> None:
        """Called after an update.

        Args:
            step: updates done.
            n_steps: updates in the whole run.
            values: epoch, loss (running mean), learning_rate, gradient_norm, per_second
                (`amount` of the batches per second, this rank), waiting (fraction of the
                time spent waiting for data).
        """

    def evaluation(self, evaluation: Evaluation) -> None:
        """Called after an evaluation."""


class TrainingLog:
    """Averages the figures of updates and writes a line every `every` updates.

    Lines of a run that was killed and goes on from an older checkpoint are cut off first, so
    that the file always tells one story.

    Args:
        folder: where metrics.jsonl lies; None writes nothing (ranks above 0).
        step: updates done so far.
        n_steps: updates in the whole run.
        reporter: receives progress and evaluations.
        tensorboard: also write event files to `folder/tensorboard`.
        every: updates per line.
    """

    def __init__(
        self,
        folder: Path | None,
        step: int,
        n_steps: int,
        *,
        reporter: Reporter | None = None,
        tensorboard: bool = False,
        every: int = 20,
    ) -> None:
        self.n_steps, self.reporter, self.every = n_steps, reporter, every
        self._path = folder / "metrics.jsonl" if folder else None
        if self._path and self._path.exists():
            kept = [line for line in read_metrics(self._path) if line["step"] <= step]
            self._path.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self._writer = (
            _tensorboard_writer(folder / "tensorboard") if folder and tensorboard else None
        )
        self._start = time.monotonic()
        self._reset()

    def _reset(self) -> None:
        self._since = time.monotonic()
        self._waited = self._amount = self._loss = self._paused = 0.0
        self._n_updates = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for data."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time of the block (evaluation, saving) out of the rates."""
        start = time.monotonic()
        yield
        self._paused += time.monotonic() - start

    def update(self, step: int, epoch: float, figures: Mapping[str, float], amount: float) -> None:
        """Take the figures of an update.

        Args:
            step: updates done.
            epoch: epochs done, with fraction.
            figures: loss, gradient_norm, learning_rate of this update.
            amount: size of its batches in the unit of the display.
        """
        self._n_updates += 1
        self._loss += figures["loss"]
        self._amount += amount
        seconds = max(1e-9, time.monotonic() - self._since - self._paused)
        values = {
            "epoch": epoch,
            **figures,
            "loss": self._loss / self._n_updates,
            "per_second": self._amount / seconds,
            "waiting": self._waited / seconds,
        }
        if self.reporter:
            self.reporter.progress(step, self.n_steps, values)
        if self._n_updates >= self.every:
            self._write(step, values, "train")
            self._reset()

    def evaluation(self, evaluation: Evaluation) -> None:
        """Take the figures of an evaluation."""
        self._write(evaluation.step, {"epoch": evaluation.epoch, **evaluation.metrics}, "dev")
        if self.reporter:
            self.reporter.evaluation(evaluation)

    def _write(self, step: int, values: Mapping[str, float], kind: str) -> None:
        if self._path:
            line = {"kind": kind, "step": step}
            line |= {name: round(value, 6) for name, value in values.items()}
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
        if self._writer:
            for name, value in values.items():
                self._writer.add_scalar(f"{kind}/{name}", value, step)
            self._writer.flush()

    def close(self) -> None:
        """End the TensorBoard file, if there is one."""
        if self._writer:
            self._writer.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics.jsonl; a last line cut off by a crash is left out."""
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _tensorboard_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DependencyError(
            "training.tensorboard = true needs the package tensorboard: pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder))
