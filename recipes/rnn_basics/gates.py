"""An LSTM that keeps the value 4.2 with gates set by hand, and the gates of one that learned.

Writes EXP/gates.json, EXP/gates_by_hand.png and, where `memory_tasks.py` left an LSTM that solved
the adding problem in EXP/memory, EXP/gates_learned.png.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from basics_config import BasicsConfig
from memory_tasks import adding_batch, make_model
from torch import Tensor
from torch.nn import functional as F

from asr.checkpoint import read_tensors, write_json
from asr.nn.cells import CellWeights, LSTMCell

__all__ = ["SCALE", "Trace", "keeper", "lesson", "run"]

VALUE = 4.2
# Small enough that tanh is straight where the value lies: its error is (4.2 SCALE)^3 / 3.
SCALE = 1e-3
# sigmoid(-OPEN) is 4e-18, so that 1 - it is 1 in double precision.
OPEN = 40.0


@dataclass(frozen=True)
class Trace:
    """What an LSTM did at each step.

    Attributes:
        input_gate, forget_gate, output_gate: 0 to 1, (T, H).
        cell: c_t, (T, H).
        output: h_t, (T, H).
    """

    input_gate: Tensor
    forget_gate: Tensor
    output_gate: Tensor
    cell: Tensor
    output: Tensor


def keeper() -> LSTMCell:
    """Return an LSTM of one unit that keeps a value until it is told to take another.

    It reads (value, write, read), the last two 0 or 1:

        i = sigmoid(OPEN (2 write - 1))     open while writing
        f = sigmoid(OPEN (1 - 2 write))     closed while writing, else what is there stays
        g = tanh(SCALE value)               nearly SCALE value
        o = sigmoid(OPEN (2 read - 1))      open while reading

    so that h / SCALE is the value while reading, and 0 else.
    """
    cell = LSTMCell(3, 1).double()
    with torch.no_grad():
        cell.weight_hh.zero_()
        cell.bias_hh.zero_()
        rows = [[0, 2 * OPEN, 0], [0, -2 * OPEN, 0], [SCALE, 0, 0], [0, 0, 2 * OPEN]]
        cell.weight_ih.copy_(torch.tensor(rows, dtype=torch.float64))
        cell.bias_ih.copy_(torch.tensor([-OPEN, OPEN, 0, -OPEN], dtype=torch.float64))
    return cell


@torch.no_grad()
def run(weights: CellWeights, inputs: Tensor) -> Trace:
    """Run an LSTM over one sequence (T, I) from the zero state and note what its gates did."""
    H = weights.weight_hh.shape[1]
    h = c = inputs.new_zeros(1, H)
    columns: list[tuple[Tensor, ...]] = []
    for x in inputs:
        from_input = F.linear(x[None], weights.weight_ih, weights.bias_ih)
        i, f, _, o = (from_input + F.linear(h, weights.weight_hh, weights.bias_hh)).chunk(4, -1)
        h, c = LSTMCell.step(x[None], (h, c), weights)
        columns.append((i.sigmoid(), f.sigmoid(), o.sigmoid(), c, h))
    return Trace(*(torch.cat(column) for column in zip(*columns, strict=True)))


def _by_hand(exp: Path, seed: int) -> dict[str, float | int]:
    n_steps = 1000
    random = np.random.default_rng(seed)
    inputs = np.zeros((n_steps, 3))
    inputs[:, 0] = random.normal(0, 3, n_steps)  # nobody asked for these
    inputs[5, :2] = VALUE, 1
    inputs[[50, 200, n_steps - 1], 2] = 1
    trace = run(keeper().weights, torch.from_numpy(inputs))
    shown = 60
    _draw_by_hand(inputs[:shown], trace, exp / "gates_by_hand.png")
    kept = float(trace.output[-1, 0]) / SCALE
    return {"value": VALUE, "kept": kept, "steps": n_steps - 6, "error": abs(kept - VALUE)}


def _draw_by_hand(inputs: np.ndarray, trace: Trace, path: Path) -> None:
    from matplotlib.figure import Figure

    n = len(inputs)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    axes[0].plot(inputs[:, 0], ".-", linewidth=0.7, label="value at the input")
    axes[0].axhline(VALUE, color="grey", linewidth=0.5)
    for gate, style in (("input_gate", "-"), ("forget_gate", "--"), ("output_gate", ":")):
        axes[1].plot(getattr(trace, gate)[:n, 0], style, label=gate.replace("_", " "))
    axes[2].plot(trace.cell[:n, 0] / SCALE, label="cell / scale")
    axes[2].plot(trace.output[:n, 0] / SCALE, ".", label="output / scale")
    for axis in axes:
        axis.legend(fontsize=7, loc="center right")
    axes[2].set_xlabel("step")
    figure.savefig(path, dpi=80)


def _draw_learned(config: BasicsConfig, exp: Path) -> int | None:
    """Draw the gates of the LSTM that solved the longest adding problem; returns its delay."""
    paths = {}
    for path in (exp / "memory").glob("adding-lstm-*.safetensors"):
        if found := re.fullmatch(r"adding-lstm-(\d+)", path.stem):
            paths[int(found[1])] = path
    if not paths:
        return None
    delay = max(paths)
    model = make_model(config.memory, "adding", "lstm", delay, config.seed)
    model.load_state_dict(read_tensors(paths[delay]))
    batch = adding_batch(1, delay, np.random.default_rng(config.seed))
    (weights,) = model.layer.weights()
    trace = run(weights, batch.inputs[0])
    # The units whose cells know most of the answer come first.
    order = trace.cell[-1].abs().argsort(descending=True)[:24]

    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    gates = (trace.input_gate, trace.forget_gate, trace.cell)
    for axis, values, name in zip(axes, gates, ("input gate", "forget gate", "cell"), strict=True):
        limit = 1.0 if name != "cell" else math.ceil(float(trace.cell.abs().max()))
        low = 0.0 if name != "cell" else -limit
        image = axis.imshow(values[:, order].T, aspect="auto", cmap="viridis", vmin=low, vmax=limit)
        for mark in batch.inputs[0, :, 1].nonzero()[:, 0].tolist():
            axis.axvline(mark, color="red", linewidth=0.8)
        axis.set_ylabel(f"{name}\nunit")
        figure.colorbar(image, ax=axis)
    axes[-1].set_xlabel("step (red: the two numbers to add)")
    figure.savefig(exp / "gates_learned.png", dpi=80)
    return delay


def lesson(config: BasicsConfig, exp: Path) -> None:
    """Run the lesson; after `memory_tasks`, whose models it draws."""
    result = _by_hand(exp, config.seed)
    write_json(exp / "gates.json", {**result, "learned_delay": _draw_learned(config, exp)})
    print(f"gates: {VALUE} is {result['kept']:.9f} after {result['steps']} steps")
