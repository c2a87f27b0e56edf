"""How long can a cell remember?  Steps to solve the adding problem and the copy task.

Trains every cell on every task at every delay until it solves it, or for so many updates, and
writes EXP/memory/TASK-CELL-DELAY.json; what is there already is not trained again.  Models that
solve the adding problem are kept beside it, for `gates.py` to draw.
"""

import math
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from basics_config import BasicsConfig, MemoryConfig
from torch import Tensor, nn
from torch.nn import functional as F

from asr.checkpoint import write_json, write_tensors
from asr.errors import ConfigError
from asr.nn.recurrent import RecurrentLayer
from asr.optimizers import eager

__all__ = [
    "Batch",
    "MemoryModel",
    "Outcome",
    "adding_batch",
    "chrono_initialize",
    "copy_batch",
    "lesson",
    "make_model",
    "solve",
]

N_KINDS = 8
BLANK, GO = 8, 9
# The adding problem counts as solved below this mean squared error; always answering 1 has 1/6.
SOLVED_ERROR = 0.01
SOLVED_ACCURACY = 0.99


@dataclass(frozen=True)
class Batch:
    """Sequences and what is to be said at their end.

    Attributes:
        inputs: (B, T, I) float32.
        targets: (B,) float32 sums, or (B, n) int64 symbols to say in the last n steps.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Outcome:
    """How training one cell on one task ended.

    Attributes:
        solved_at: the update after which the task was first measured as solved; None if it was
            not.
        steps: updates done.
        figure: the last mean squared error (adding) or fraction of right symbols (copy).
        seconds: CPU seconds.
    """

    task: str
    cell: str
    delay: int
    solved_at: int | None
    steps: int
    figure: float
    seconds: float


class MemoryModel(nn.Module):
    """One recurrent layer and a linear readout of the last n steps: y_t = V h_t + b.

    Args:
        input_size: I.
        hidden_size: H.
        output_size: O.
        cell: "rnn", "gru" or "lstm".
        n_outputs: how many of the last steps are read, n.
    """

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, *, cell: str, n_outputs: int
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.layer = RecurrentLayer(input_size, hidden_size, cell=cell)
        self.readout = nn.Linear(hidden_size, output_size)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (B, n, O) for inputs (B, T, I)."""
        h = self.layer(inputs, torch.full((len(inputs),), inputs.shape[1]))
        y: Tensor = self.readout(h[:, -self.n_outputs :])
        return y


def adding_batch(n_sequences: int, delay: int, generator: np.random.Generator) -> Batch:
    """Draw sequences of (number in 0 to 1, mark); the target is the sum of the two marked numbers.

    One mark is in the first tenth, one in the first half, so that at least half of the sequence
    lies between the numbers and the answer.

    Args:
        n_sequences: B.
        delay: length of the sequences, T.
        generator: the source of chance.

    Reference: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997,
    experiment 4.
    """
    numbers = generator.random((n_sequences, delay), np.float32)
    marks = np.zeros_like(numbers)
    rows = np.arange(n_sequences)
    border = max(1, delay // 10)
    first = generator.integers(0, border, n_sequences)
    second = generator.integers(border, max(border + 1, delay // 2), n_sequences)
    marks[rows, first] = marks[rows, second] = 1
    inputs = torch.from_numpy(np.stack([numbers, marks], axis=-1))
    return Batch(inputs, torch.from_numpy((numbers * marks).sum(axis=1)))


def copy_batch(
    n_sequences: int, delay: int, n_symbols: int, generator: np.random.Generator
) -> Batch:
    """Draw n symbols, `delay` blanks, and n times the sign to say them again in order.

    Args:
        n_sequences: B.
        delay: steps between the last symbol and the first answer.
        n_symbols: n.
        generator: the source of chance.

    Reference: Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks", ICML 2016.
    """
    symbols = torch.from_numpy(generator.integers(0, N_KINDS, (n_sequences, n_symbols)))
    blanks = torch.full((n_sequences, delay), BLANK)
    go = torch.full((n_sequences, n_symbols), GO)
    tokens = torch.cat([symbols, blanks, go], dim=1)
    return Batch(F.one_hot(tokens, GO + 1).float(), symbols)


def chrono_initialize(layer: RecurrentLayer, longest: int, generator: np.random.Generator) -> None:
    """Set an LSTM's gates to remember for 1 to `longest` steps, differently in each unit.

        b_f = log(uniform(1, longest - 1)),   b_i = -b_f

    A forget gate of f keeps a value for about 1 / (1 - f) = 1 + exp(b_f) steps.

    Reference: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
    """
    (weights,) = layer.weights()
    H = layer.hidden_size
    drawn = np.log(generator.uniform(1, max(2, longest - 1), H)).astype(np.float32)
    with torch.no_grad():
        weights.bias_ih[H : 2 * H] = torch.from_numpy(drawn)
        weights.bias_ih[:H] = -weights.bias_ih[H : 2 * H]


def make_model(config: MemoryConfig, task: str, cell: str, delay: int, seed: int) -> MemoryModel:
    """Return a new model for a task."""
    torch.manual_seed(seed)
    kind = cell.removesuffix("-chrono")
    if task == "adding":
        model = MemoryModel(2, config.hidden_size, 1, cell=kind, n_outputs=1)
    else:
        sizes = (GO + 1, config.hidden_size, N_KINDS)
        model = MemoryModel(*sizes, cell=kind, n_outputs=config.n_symbols)
    if kind != cell:
        chrono_initialize(model.layer, delay, np.random.default_rng(seed))
    return model


def _draw(config: MemoryConfig, task: str, delay: int, n_sequences: int, seed: object) -> Batch:
    generator = np.random.default_rng(seed)  # type: ignore[arg-type]
    if task == "adding":
        return adding_batch(n_sequences, delay, generator)
    return copy_batch(n_sequences, delay, config.n_symbols, generator)


def _loss(y: Tensor, targets: Tensor) -> Tensor:
    if targets.is_floating_point():
        return F.mse_loss(y[:, 0, 0], targets)
    return F.cross_entropy(y.flatten(0, 1), targets.flatten())


@torch.no_grad()
def _measure(model: MemoryModel, test: Batch) -> tuple[float, bool]:
    """Return the figure of the task, and whether that is good enough."""
    y = model(test.inputs)
    if test.targets.is_floating_point():
        error = float(F.mse_loss(y[:, 0, 0], test.targets))
        return error, error < SOLVED_ERROR
    accuracy = float((y.argmax(-1) == test.targets).double().mean())
    return accuracy, accuracy >= SOLVED_ACCURACY


def solve(
    config: MemoryConfig, task: str, cell: str, delay: int, *, max_steps: int, seed: int
) -> tuple[MemoryModel, Outcome]:
    """Train until the task is solved on fresh sequences, or for `max_steps` updates.

    Args:
        config: sizes and optimisation.
        task: "adding" or "copy".
        cell: "rnn", "gru", "lstm" or "lstm-chrono".
        delay: see `adding_batch` and `copy_batch`.
        max_steps: updates at most.
        seed: decides weights and sequences.
    """
    model = make_model(config, task, cell, delay, seed)
    optimizer = eager(torch.optim.Adam)(model.parameters(), lr=config.learning_rate)
    test = _draw(config, task, delay, config.n_test, (seed, 1))
    started = time.process_time()
    solved_at, figure, step = None, math.nan, 0
    while step < max_steps and solved_at is None:
        batch = _draw(config, task, delay, config.batch_size, (seed, 0, step))
        optimizer.zero_grad()
        _loss(model(batch.inputs), batch.targets).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        step += 1
        if step % config.evaluate_every == 0 or step == max_steps:
            figure, is_solved = _measure(model, test)
            solved_at = step if is_solved else None
    seconds = round(time.process_time() - started, 1)
    return model, Outcome(task, cell, delay, solved_at, step, figure, seconds)


def lesson(config: BasicsConfig, exp: Path) -> None:
    """Run the lesson.

    Raises:
        ConfigError: delays and limits of updates do not pair up.
    """
    memory = config.memory
    if len(memory.max_steps) != len(memory.delays):
        raise ConfigError(
            f"memory.max_steps has {len(memory.max_steps)} values, memory.delays "
            f"{len(memory.delays)}: one for each is needed"
        )
    folder = exp / "memory"
    folder.mkdir(exist_ok=True)
    # Over hundreds of steps gradients fall below 1e-38, where a CPU takes many times as long.
    torch.set_flush_denormal(True)
    for delay, max_steps in zip(memory.delays, memory.max_steps, strict=True):
        for task, cell in product(memory.tasks, memory.cells):
            path = folder / f"{task}-{cell}-{delay}.json"
            if path.exists():
                continue
            seed = config.seed
            model, outcome = solve(memory, task, cell, delay, max_steps=max_steps, seed=seed)
            if outcome.solved_at is not None:
                write_tensors(path.with_suffix(".safetensors"), model.state_dict())
            write_json(path, asdict(outcome))
            end = "solved after" if outcome.solved_at else "not solved in"
            print(
                f"{path.stem}: {end} {outcome.steps} updates ({outcome.figure:.4f}), "
                f"{outcome.seconds} s CPU",
                flush=True,
            )
