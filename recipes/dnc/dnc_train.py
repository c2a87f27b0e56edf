"""Train the differentiable neural computer, and an LSTM beside it, on each task.

    python recipes/dnc/dnc_train.py CONF EXP [--set A.B=C]
    python recipes/dnc/dnc_train.py CONF EXP --score [--readme recipes/dnc/README.md]

The first form trains in EXP/TASK-MODEL and goes on after an interruption; the second measures all
that was trained on fresh sequences of the greatest length, writes EXP/score.json and, of the DNC,
EXP/TASK.png: where it wrote and where it read.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from dnc_cell import Dnc
from dnc_tasks import IGNORED, TASKS, MemoryBatch, MemoryBatches, TaskSize, make_batch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from asr.checkpoint import read_json, read_tensors, write_json, write_tensors
from asr.config import TrainingConfig
from asr.errors import AsrError
from asr.fit import FitSettings, fit
from asr.nn.recurrent import RecurrentStack
from asr.readme_table import write_table
from asr.recipe_programs import describe_machine, timed, training_seconds
from asr.toml_config import Section, load_toml
from asr.world import World, start_world

__all__ = ["DncConfig", "LstmBaseline", "MemoryTask", "SequenceLoss", "main", "measure"]

# Nats an answer, at which sequences grow.
_LEARNED = 0.15


class TaskConfig(Section):
    """The tasks; see `dnc_tasks`."""

    names: list[Literal["copy", "recall", "sort"]] = Field(default=[*TASKS], min_length=1)
    models: list[Literal["dnc", "lstm"]] = Field(default=["dnc", "lstm"], min_length=1)
    copy_length: int = Field(default=20, ge=1)
    recall_pairs: int = Field(default=6, ge=1)
    sort_numbers: int = Field(default=8, ge=1)
    n_symbols: int = Field(default=10, ge=2)
    first_length: int = Field(default=2, ge=1, description="of the longest when training begins")
    batch_size: int = Field(default=32, ge=1)
    n_test: int = Field(default=500, ge=1, description="fresh sequences of the greatest length")

    def size(self, task: str) -> TaskSize:
        """Return the size of a task."""
        longest = {
            "copy": self.copy_length,
            "recall": self.recall_pairs,
            "sort": self.sort_numbers,
        }
        return TaskSize(self.n_symbols, longest[task])


class MachineConfig(Section):
    """The network; see `dnc_cell.Dnc`."""

    hidden_size: int = Field(default=64, ge=1)
    n_slots: int = Field(default=24, ge=1)
    word_size: int = Field(default=12, ge=1)
    n_heads: int = Field(default=1, ge=1)
    lstm_size: int = Field(default=128, ge=1, description="of the LSTM beside it")


class OptimizationConfig(TrainingConfig):
    """Optimisation; see `asr.fit.fit`."""

    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=50, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_steps: int = Field(default=6000, ge=1)
    evaluate_every: int = Field(default=250, ge=1)


class DncConfig(Section):
    """The recipe's configuration."""

    seed: int = Field(default=0, ge=0)
    tasks: TaskConfig = TaskConfig()
    model: MachineConfig = MachineConfig()
    training: OptimizationConfig = OptimizationConfig()


class LstmBaseline(nn.Module):
    """The same task without a memory outside: y_t = V h_t.

    Args:
        n_tokens: of the input.
        n_answers: of the output.
        hidden_size: H.
    """

    def __init__(self, n_tokens: int, n_answers: int, hidden_size: int) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.stack = RecurrentStack(n_tokens, hidden_size, 1)
        self.readout = nn.Linear(hidden_size, n_answers)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (B, T, n_answers) for tokens (B, T)."""
        x = F.one_hot(tokens, self.n_tokens).float()
        logits: Tensor = self.readout(self.stack(x, torch.full((len(x),), x.shape[1])))
        return logits


class SequenceLoss(nn.Module):
    """A network with its loss, called as `module(batch)`: -log P of the answers, summed.

    While it trains it also decides how long the sequences are: they begin short, and grow by a
    quarter when the loss of an answer of the longest, averaged over the last ones, is below 0.15
    nats.  As batch normalisation does with its means, it keeps how far that is in buffers, so that
    a run that goes on goes on there.

    Args:
        network: tokens (B, T) to logits (B, T, n_answers).
        first_length: of the longest sequences in the beginning.
        last_length: in the end.
    """

    longest: Tensor
    recent: Tensor

    def __init__(self, network: nn.Module, first_length: int, last_length: int) -> None:
        super().__init__()
        self.network, self.last_length = network, last_length
        self.register_buffer("longest", torch.tensor(min(first_length, last_length)))
        self.register_buffer("recent", torch.tensor(1.0))

    def forward(self, batch: MemoryBatch) -> Tensor:
        """Return the loss in nats, ()."""
        logits = self.network(batch.tokens)
        loss = F.cross_entropy(
            logits.flatten(0, 1), batch.targets.flatten(), reduction="sum", ignore_index=IGNORED
        )
        if self.training and batch.length == self.longest:
            self._grow(loss.detach() / batch.weight)
        return loss

    def _grow(self, loss: Tensor) -> None:
        self.recent.lerp_(loss, 0.2)
        if self.recent < _LEARNED and self.longest < self.last_length:
            longer = int(self.longest) + max(1, int(self.longest) // 4)
            self.longest.fill_(min(self.last_length, longer))
            self.recent.fill_(1.0)


@torch.no_grad()
def measure(network: nn.Module, batch: MemoryBatch) -> dict[str, float]:
    """Return loss, the part of wrong answers and the part of sequences with a wrong answer."""
    logits = network(batch.tokens)
    asked = batch.targets != IGNORED
    loss = F.cross_entropy(logits[asked], batch.targets[asked])
    wrong = (logits.argmax(-1) != batch.targets) & asked
    return {
        "loss": float(loss),
        "error": float(wrong.sum() / asked.sum()),
        "sequence_error": float(wrong.any(dim=1).double().mean()),
    }


class MemoryTask:
    """What `fit` trains and measures."""

    def __init__(self, module: SequenceLoss, test: MemoryBatch) -> None:
        self.module, self.test = module, test

    def evaluate(self, world: World) -> dict[str, float]:
        """Measure on sequences of the last length."""
        found = measure(self.module.network, self.test.to(world.device))
        return {**found, "longest": float(self.module.longest)}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write weights and figures."""
        write_tensors(folder / "model.safetensors", self.module.network.state_dict())
        write_json(folder / "metrics.json", dict(metrics))


def make_network(config: DncConfig, task: str, model: str) -> nn.Module:
    """Return a new network of a kind."""
    size = config.tasks.size(task)
    torch.manual_seed(config.seed)
    machine = config.model
    if model == "lstm":
        return LstmBaseline(size.n_tokens, size.n_symbols, machine.lstm_size)
    return Dnc(
        size.n_tokens,
        size.n_symbols,
        machine.hidden_size,
        n_slots=machine.n_slots,
        word_size=machine.word_size,
        n_heads=machine.n_heads,
    )


def _test(config: DncConfig, task: str, seed: int) -> MemoryBatch:
    size = config.tasks.size(task)
    generator = np.random.default_rng((config.seed, seed))
    return make_batch(task, size, size.longest, config.tasks.n_test, generator)


def train(config: DncConfig, task: str, model: str, folder: Path) -> None:
    """Train one network on one task; the same call goes on after an interruption."""
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    # The weights of slots that nobody reads become numbers with which a CPU reckons slowly.
    torch.set_flush_denormal(True)
    world = start_world(settings.device)
    size = config.tasks.size(task)
    network = make_network(config, task, model)
    module = SequenceLoss(network, config.tasks.first_length, size.longest)
    batches = MemoryBatches(
        task,
        size,
        lambda: int(module.longest),
        batch_size=config.tasks.batch_size,
        per_epoch=settings.evaluate_every,
        seed=config.seed,
    )
    values = settings.model_dump(exclude={"device", "threads", "frozen", "epochs"})
    epochs = -(-settings.max_steps // settings.evaluate_every)
    # Of several answers all must be right.
    fitting = FitSettings(
        **values, epochs=epochs, seed=config.seed, minimise=("sequence_error", "loss")
    )
    trained = MemoryTask(module, _test(config, task, 1))
    folder.mkdir(parents=True, exist_ok=True)
    with timed(folder):
        result = fit(trained, batches, fitting, folder, world=world)
    print(
        f"{folder.name}: {result.best[0]:.2%} of the longest sequences wrong after update "
        f"{result.best_step}; {result.reason}",
        flush=True,
    )


def score(config: DncConfig, exp: Path) -> dict[str, Any]:
    """Measure the best networks on sequences that chose none of them."""
    runs = []
    for task in config.tasks.names:
        test = _test(config, task, 2)
        for model in config.tasks.models:
            folder = exp / f"{task}-{model}" / "best"
            network = make_network(config, task, model)
            network.load_state_dict(read_tensors(folder / "model.safetensors"))
            network.eval()
            run = {"task": task, "length": config.tasks.size(task).longest, "model": model}
            step = read_json(folder / "metrics.json")["step"]
            n_parameters = sum(p.numel() for p in network.parameters())
            run |= {"step": step, "parameters": n_parameters, **training_seconds(folder.parent)}
            runs.append({**run, **measure(network, test)})
            if isinstance(network, Dnc):
                _draw(network, test, exp / f"{task}.png")
    machine = describe_machine()
    limit = config.training.max_steps
    return {"max_steps": limit, "n_test": config.tasks.n_test, "runs": runs, "machine": machine}


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        f"At most {result['max_steps']} updates, {result['n_test']} fresh sequences of the length "
        f"named; on {result['machine']}.",
        "",
        "| task | length | model | parameters | best update | right answers | all right "
        "| CPU time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {run['task']} | {run['length']} | {run['model']} | {run['parameters']:,} "
        f"| {run['step']} | {1 - run['error']:.2%} | {1 - run['sequence_error']:.2%} "
        f"| {run['training_cpu_seconds']:,} s |"
        for run in result["runs"]
    ]
    return "\n".join(rows)


@torch.no_grad()
def _draw(network: Dnc, test: MemoryBatch, path: Path) -> None:
    """Draw where the first sequence was written and from where it was read."""
    from matplotlib.figure import Figure

    _, states = network.trace(test.tokens[:1])
    written = torch.stack([state.write_weights[0] for state in states])
    read = torch.stack([state.read_weights[0].sum(0) for state in states])
    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, weights, title in zip(axes, (written, read), ("written", "read"), strict=True):
        axis.imshow(weights.T, aspect="auto", cmap="Blues", vmin=0, vmax=1)
        axis.set(title=title, xlabel="step")
    axes[0].set_ylabel("slot")
    figure.savefig(path, dpi=80)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train the differentiable neural computer.")
    parser.add_argument("conf", type=Path, help="TOML file")
    parser.add_argument("exp", type=Path, help="folder to write to")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="A.B=C")
    parser.add_argument("--score", action="store_true", help="measure what was trained")
    parser.add_argument("--readme", type=Path, help="where --score also writes its table")
    arguments = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s")
    try:
        config = load_toml(DncConfig, arguments.conf, arguments.overrides)
        if arguments.score:
            result = score(config, arguments.exp)
            write_json(arguments.exp / "score.json", result)
            print(table(result))
            if arguments.readme:
                write_table(arguments.readme, table(result))
            return 0
        for task in config.tasks.names:
            for model in config.tasks.models:
                train(config, task, model, arguments.exp / f"{task}-{model}")
    except KeyboardInterrupt:
        print(f"dnc: interrupted; the same command goes on in {arguments.exp}", file=sys.stderr)
        return 130
    except AsrError as error:
        print(f"dnc: error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
