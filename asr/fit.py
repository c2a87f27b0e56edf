"""One training loop for every model of the project.

`fit` knows batches, a loss and a figure to minimise; it knows no speech.  Everything random
in an update follows from (seed, step, rank), and everything else is in the checkpoint, so a
run that is killed at any moment and started again ends with the same weights.
"""

import logging
import math
import random
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from asr.checkpoint import (
    atomic_folder,
    read_json,
    read_tensors,
    restore_replaced,
    write_json,
    write_tensors,
)
from asr.config import TrainingConfig
from asr.errors import CheckpointError, TrainingError
from asr.optimizers import eager
from asr.training_log import Evaluation, Reporter, TrainingLog
from asr.world import World

__all__ = [
    "Batches",
    "FitResult",
    "FitSettings",
    "Task",
    "TrainingBatch",
    "fit",
    "has_checkpoint",
    "learning_rate_at",
]

logger = logging.getLogger(__name__)


class TrainingBatch(Protocol):
    """What `fit` needs to know of a batch."""

    @property
    def weight(self) -> float:
        """How many terms the loss sums, for example target tokens."""

    @property
    def amount(self) -> float:
        """Size in the unit of the progress display, for example seconds of audio."""

    @property
    def name(self) -> str:
        """What to call the batch in an error message."""

    def to(self, device: torch.device) -> "TrainingBatch":
        """Return the batch on a device."""


class Batches(Protocol):
    """The training data of one rank: the same number of batches on every rank."""

    def __len__(self) -> int:
        """Number of batches per epoch."""

    def epoch(self, epoch: int, start: int) -> Iterator[Any]:
        """Yield the batches of an epoch from number `start`; the order follows from `epoch`."""

    def largest(self) -> Any:
        """Return the batch that needs the most memory."""


class Task(Protocol):
    """What is trained: a module that returns its loss, an evaluation, and a way to save."""

    @property
    def module(self) -> nn.Module:
        """Called as `module(batch)`; returns the loss summed over `batch.weight` terms, ()."""

    def evaluate(self, world: "World") -> dict[str, float]:
        """Measure the model on held-out data; called on every rank in eval mode."""

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write everything that makes the model usable into a folder."""


@dataclass(frozen=True)
class FitSettings:
    """How to optimise; the fields are those of the `[training]` section, and:

    Attributes:
        seed: decides everything random.
        minimise: names of evaluation metrics; later ones decide between equal earlier ones.
        rate_factors: prefixes of parameter names, and what the learning rate of these parameters
            is multiplied by; the first prefix that fits counts.
    """

    epochs: int = 1
    max_steps: int = 0
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: str = "constant"
    decay_start: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    precision: str = "float32"
    accumulate: int = 1
    ema_decay: float = 0.0
    patience: int = 0
    evaluate_every: int = 0
    checkpoint_every: int = 200
    keep: int = 2
    frozen: tuple[str, ...] = ()
    tensorboard: bool = False
    seed: int = 0
    minimise: tuple[str, ...] = ("loss",)
    rate_factors: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(
        cls,
        training: TrainingConfig,
        *,
        seed: int,
        prefix: str = "",
        minimise: tuple[str, ...] = ("loss",),
    ) -> "FitSettings":
        """Take what is for `fit` from a `[training]` section.

        Args:
            training: the section; what it has beyond is its model's own.
            seed: decides everything random.
            prefix: stands in the task's module in front of the names that `frozen` has.
            minimise: names of evaluation metrics.
        """
        own = {"frozen", "seed", "minimise"}
        values = training.model_dump(include={field.name for field in fields(cls)} - own)
        frozen = tuple(f"{prefix}{name}" for name in training.frozen)
        return cls(**values, frozen=frozen, seed=seed, minimise=minimise)


@dataclass(frozen=True)
class FitResult:
    """How a run ended.

    Attributes:
        step: updates done.
        epoch: whole epochs done.
        best: the lowest figures, in the order of `FitSettings.minimise`.
        best_step: the update after which they were measured.
        reason: why it ended, for a person.
    """

    step: int
    epoch: int
    best: tuple[float, ...]
    best_step: int
    reason: str


def learning_rate_at(step: int, n_steps: int, settings: FitSettings) -> float:
    """Return the learning rate of an update.

    It rises linearly over `warmup_steps`, stays until the fraction `decay_start` of all
    steps, then falls: linear or as half a cosine to 1 % of the peak, or with the inverse
    square root of the step (Vaswani et al. 2017, eq. 3).

    Args:
        step: number of the update, from 0.
        n_steps: updates in the whole run.
        settings: peak rate, warm-up and schedule.
    """
    peak = settings.learning_rate
    if step < settings.warmup_steps:
        return peak * (step + 1) / settings.warmup_steps
    start = max(settings.warmup_steps, int(settings.decay_start * n_steps))
    if settings.schedule == "constant" or step < start:
        return peak
    if settings.schedule == "inverse_sqrt":
        return peak * math.sqrt(max(start, 1) / max(step, 1))
    done = min(1.0, (step - start) / max(1, n_steps - start))
    shape = 1 - done if settings.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return peak * max(0.01, shape)


def fit(
    task: Task,
    batches: Batches,
    settings: FitSettings,
    folder: Path,
    *,
    world: World | None = None,
    reporter: Reporter | None = None,
) -> FitResult:
    """Train a model; started again on the same folder it goes on where it was.

    The update minimises sum(loss) / sum(weight) over the batches of all ranks and of
    `accumulate` steps, so one process with twice the accumulation equals two processes.

    Args:
        task: module with its loss, evaluation and saving.
        batches: the training data of this rank.
        settings: how to optimise.
        folder: receives `checkpoints/`, `best/` and `metrics.jsonl`.
        world: the processes that train together.
        reporter: receives progress.

    Returns:
        How the run ended; the best model is in `folder/best`.

    Raises:
        TrainingError: a loss that is not finite, or a batch too large for the memory.
        KeyboardInterrupt: the run was interrupted, after its state was saved.
    """
    run = _Run(task, batches, settings, folder, world or World())
    if not run.resume():
        run.probe_memory()
    return run.train(reporter)


def has_checkpoint(folder: Path) -> bool:
    """Return whether `fit` would go on with an earlier run in this folder."""
    return bool(_checkpoints(folder))


class _Average:
    """Exponential moving average of the parameters (Polyak and Juditsky 1992)."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.clone() for name, value in _state_once(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        state = _state_once(module)
        torch._foreach_lerp_(
            list(self.values.values()), [state[name] for name in self.values], 1 - decay
        )

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchange the averaged and the current values."""
        state = _state_once(module)
        for name, value in self.values.items():
            current = state[name].clone()
            state[name].copy_(value)
            value.copy_(current)


def _state_once(module: nn.Module) -> dict[str, Tensor]:
    """Return what is averaged; tied tensors, which a state_dict has twice, have one name."""
    tensors = chain(module.named_parameters(), module.named_buffers())
    return {name: value.detach() for name, value in tensors if value.is_floating_point()}


class _Signals:
    """Turns the first SIGINT or SIGTERM into a flag, so that an update is never cut."""

    def __init__(self) -> None:
        self.received = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        except ValueError:
            logger.debug("not in the main thread: signals keep their handlers")
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = True


class _Run:
    """The state of one training run."""

    def __init__(
        self, task: Task, batches: Batches, settings: FitSettings, folder: Path, world: World
    ) -> None:
        self.task, self.batches, self.settings = task, batches, settings
        self.folder, self.world = folder, world
        self.module = task.module.to(world.device)
        for name, parameter in self.module.named_parameters():
            if settings.frozen and name.startswith(settings.frozen):
                parameter.requires_grad_(False)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        if not self.parameters:
            raise TrainingError(
                f"training.frozen = {list(settings.frozen)} leaves nothing to train"
            )
        self.parallel: nn.Module = self.module
        if world.size > 1:
            ids = [world.device] if world.device.type == "cuda" else None
            self.parallel = nn.parallel.DistributedDataParallel(self.module, device_ids=ids)
        self.optimizer = eager(torch.optim.AdamW)(
            self._groups(), lr=settings.learning_rate, betas=(0.9, 0.98)
        )
        self.scaler = torch.amp.GradScaler(
            world.device.type, enabled=settings.precision == "float16"
        )
        self.average = _Average(self.module, settings.ema_decay) if settings.ema_decay else None
        self.step = self.epoch = self.position = 0
        self.best: list[float] = []
        self.best_step = self.n_worse = 0
        self.reason = ""
        steps_per_epoch = math.ceil(len(batches) / settings.accumulate)
        if not steps_per_epoch:
            raise TrainingError("no batch to train on; the manifests are empty after filtering")
        self.steps_per_epoch = steps_per_epoch
        self.n_steps = steps_per_epoch * settings.epochs
        if settings.max_steps:
            self.n_steps = min(self.n_steps, settings.max_steps)

    def _groups(self) -> list[dict[str, Any]]:
        """Weight decay is for matrices only, not for biases and normalisation gains."""
        by_factor: dict[float, list[nn.Parameter]] = {1.0: []}
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                by_factor.setdefault(self._rate_factor(name), []).append(parameter)
        groups = []
        for factor, parameters in by_factor.items():
            matrices = [p for p in parameters if p.dim() > 1]
            vectors = [p for p in parameters if p.dim() <= 1]
            for some, decay in ((matrices, self.settings.weight_decay), (vectors, 0.0)):
                groups.append({"params": some, "weight_decay": decay, "rate_factor": factor})
        return groups

    def _rate_factor(self, name: str) -> float:
        factors = (f for prefix, f in self.settings.rate_factors if name.startswith(prefix))
        return next(factors, 1.0)

    # Updates

    def train(self, reporter: Reporter | None) -> FitResult:
        log = TrainingLog(
            self.folder if self.world.rank == 0 else None,
            self.step,
            self.n_steps,
            reporter=reporter,
            tensorboard=self.settings.tensorboard,
        )
        with _Signals() as signals, closing(log):
            while not self._finished():
                for group in self._accumulated(log):
                    self._update(group, log)
                    self._after_update(log)
                    if self.world.sum(float(signals.received)):
                        self._save()
                        raise KeyboardInterrupt
                    if self._finished():
                        break
                else:
                    self.epoch, self.position = self.epoch + 1, 0
        return FitResult(self.step, self.epoch, tuple(self.best), self.best_step, self.reason)

    def _finished(self) -> bool:
        if self.settings.patience and self.n_worse >= self.settings.patience:
            self.reason = f"no gain in {self.n_worse} evaluations"
        elif self.step >= self.n_steps:
            self.reason = f"all {self.n_steps} updates done"
        return bool(self.reason)

    def _accumulated(self, log: TrainingLog) -> Iterator[list[Any]]:
        batches = self.batches.epoch(self.epoch, self.position)
        group: list[Any] = []
        while True:
            with log.waiting():
                batch = next(batches, None)
            if batch is not None:
                group.append(batch)
                self.position += 1
            if group and (batch is None or len(group) == self.settings.accumulate):
                yield group
                group = []
            if batch is None:
                return

    def _update(self, group: list[Any], log: TrainingLog) -> None:
        settings, world = self.settings, self.world
        _seed_everything(settings.seed, self.step, world.rank)
        rate = learning_rate_at(self.step, self.n_steps, settings)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate * parameters["rate_factor"]
        self.module.train()
        weight = world.sum(sum(batch.weight for batch in group))
        losses = [
            # The wrapper averages gradients over ranks; the factor `size` makes it a sum.
            self._backward(batch, world.size / weight, last=batch is group[-1])
            for batch in group
        ]
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, settings.clip_norm)
        values = torch.stack([*losses, norm]).tolist()
        self._check_finite(values, group)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        if self.average:
            self.average.update(self.module, self.step)
        figures = {
            "loss": world.sum(sum(values[:-1])) / world.size,
            "gradient_norm": values[-1],
            "learning_rate": rate,
        }
        epoch = self.step / self.steps_per_epoch
        log.update(self.step, epoch, figures, sum(batch.amount for batch in group))

    def _backward(self, batch: Any, factor: float, *, last: bool) -> Tensor:
        # Gradients travel between ranks once per update, with the last batch.
        quiet: AbstractContextManager[Any] = nullcontext()
        if isinstance(self.parallel, nn.parallel.DistributedDataParallel) and not last:
            quiet = self.parallel.no_sync()
        with quiet:
            with self._autocast():
                loss: Tensor = self.parallel(batch.to(self.world.device)) * factor
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.settings.precision == "float32":
            return nullcontext()
        dtype = getattr(torch, self.settings.precision)
        return torch.autocast(self.world.device.type, dtype=dtype)

    def _check_finite(self, values: list[float], group: list[Any]) -> None:
        for value, batch in zip(values, [*group, None], strict=True):
            # Under float16 an infinite gradient only makes the scaler skip the update.
            if math.isfinite(value) or (batch is None and self.scaler.is_enabled()):
                continue
            what = "the loss" if batch else "the gradient"
            names = batch.name if batch else "; ".join(b.name for b in group)
            raise TrainingError(
                f"{what} is {value} at update {self.step + 1} on {names}; look at these, or "
                "lower training.learning_rate (the last checkpoint is unharmed)"
            )

    def _after_update(self, log: TrainingLog) -> None:
        settings = self.settings
        every = settings.evaluate_every or self.steps_per_epoch
        last = self.step >= self.n_steps
        with log.pause():
            if self.step % every == 0 or last:
                log.evaluation(self._evaluate())
            if self.step % settings.checkpoint_every == 0 or self._finished():
                self._save()

    def _evaluate(self) -> Evaluation:
        self.module.eval()
        if self.average:
            self.average.swap(self.module)
        with torch.no_grad():
            metrics = self.task.evaluate(self.world)
        value = [metrics[name] for name in self.settings.minimise]
        is_best = not self.best or value < self.best
        if is_best:
            self.best, self.best_step, self.n_worse = value, self.step, 0
            if self.world.rank == 0:
                with atomic_folder(self.folder / "best") as writing:
                    self.task.save(writing, self._metrics(metrics))
        else:
            self.n_worse += 1
        if self.average:
            self.average.swap(self.module)
        return Evaluation(self.step, self.step / self.steps_per_epoch, metrics, is_best)

    def _metrics(self, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {"step": self.step, "epoch": self.step / self.steps_per_epoch, **metrics}

    def probe_memory(self) -> None:
        """Run the largest batch once, so that too little memory shows now and not at night."""
        _seed_everything(self.settings.seed, 0, self.world.rank)
        batch = self.batches.largest()
        self.module.train()
        try:
            # The unwrapped module: ranks may have different largest batches, nothing is reduced.
            with self._autocast():
                loss = self.module(batch.to(self.world.device))
            loss.backward()
        except (torch.OutOfMemoryError, MemoryError):
            raise TrainingError(
                f"the largest batch ({batch.name}) does not fit into the memory of "
                f"{self.world.device}; lower data.batch_seconds or data.max_seconds"
            ) from None
        finally:
            self.optimizer.zero_grad(set_to_none=True)

    # Checkpoints

    def _save(self) -> None:
        if self.world.rank == 0:
            self._write_checkpoint()
        # A rank that ended first would make torchrun stop the one that still writes.
        self.world.wait()

    def _write_checkpoint(self) -> None:
        checkpoints = self.folder / "checkpoints"
        path = checkpoints / f"step-{self.step:08d}"
        if path.exists():
            return
        with atomic_folder(path) as writing:
            self.task.save(writing, {"step": self.step})
            tensors, scalars = self._state()
            write_tensors(writing / "training.safetensors", tensors)
            write_json(writing / "training.json", scalars)
        for old in _checkpoints(self.folder)[: -self.settings.keep]:
            _remove(old)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        if self.average:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
        names = ("step", "epoch", "position", "best", "best_step", "n_worse")
        scalars = {name: getattr(self, name) for name in names}
        scalars["scaler"] = self.scaler.state_dict()
        scalars["batches_per_epoch"] = len(self.batches)
        return tensors, scalars

    def resume(self) -> bool:
        """Take up the newest checkpoint of the folder; False where there is none."""
        restore_replaced(self.folder / "best")
        found = _checkpoints(self.folder)
        if not found:
            return False
        scalars = read_json(found[-1] / "training.json")
        tensors = read_tensors(found[-1] / "training.safetensors", self.world.device)
        if scalars.pop("batches_per_epoch") != len(self.batches):
            raise CheckpointError(
                f"{found[-1]}: was written with other training data or another number of "
                "processes; use a new experiment folder, or --init-from this one"
            )
        try:
            self.module.load_state_dict(_section(tensors, "module."))
            self._load_optimizer(_section(tensors, "optimizer."))
            if self.average:
                for name, value in _section(tensors, "average.").items():
                    self.average.values[name].copy_(value)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"{found[-1]}: does not fit this configuration ({str(error).splitlines()[0]}); "
                "use a new experiment folder"
            ) from None
        if scaler := scalars.pop("scaler"):
            self.scaler.load_state_dict(scaler)
        for name, value in scalars.items():
            setattr(self, name, value)
        logger.info("resumed at update %d from %s", self.step, found[-1])
        return True

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            # AdamW keeps its step counts on the CPU whatever the parameters' device.
            state.setdefault(int(index), {})[key] = value.cpu() if key == "step" else value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoints").glob("step-*"))


def _remove(path: Path) -> None:
    # Renamed first: a half-deleted folder must not look like a checkpoint.
    hidden = path.with_name(f".{path.name}.deleting")
    path.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _seed_everything(seed: int, step: int, rank: int) -> None:
    mixed = int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)
