"""Gradients that vanish and explode: over time, and over the updates of a training.

Writes EXP/gradients.json, EXP/gradients_over_time.png and EXP/gradients_over_updates.png.
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from basics_config import BasicsConfig, GradientConfig
from torch import Tensor, nn

from asr.checkpoint import write_json
from asr.nn.cells import LSTMCell
from asr.optimizers import eager

__all__ = ["Counter", "Record", "gradient_norms", "lesson", "recurrent_matrix", "train"]

Record = dict[str, list[float]]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda a: a,
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def recurrent_matrix(size: int, radius: float, generator: torch.Generator) -> Tensor:
    """Draw an orthogonal matrix (H, H) times `radius`: all its singular values are that."""
    Q, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))
    return Q * radius


class Counter(nn.Module):
    """Reads bits and says their sum: s_t = f(s_{t-1} W + x_t U), y = s_T V; or an LSTM.

    Args:
        cell: a key of ACTIVATIONS, or "lstm".
        hidden_size: H.
        radius: singular values of W; an LSTM has weights of its own.
        seed: decides the weights.
    """

    def __init__(self, cell: str, hidden_size: int, radius: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        self.cell = cell
        self.lstm = LSTMCell(1, hidden_size) if cell == "lstm" else None
        if self.lstm is None:
            self.W = nn.Parameter(recurrent_matrix(hidden_size, radius, generator))
            self.U = nn.Parameter(torch.randn(1, hidden_size, generator=generator) * 0.5)
        scale = 1 / math.sqrt(hidden_size)
        self.V = nn.Parameter(torch.randn(hidden_size, 1, generator=generator) * scale)
        self.hidden_size = hidden_size

    def states(self, inputs: Tensor) -> list[Tensor]:
        """Return s_0 to s_T, each (B, H), for inputs (B, T, 1); for an LSTM its cell's c_t."""
        zeros = inputs.new_zeros(len(inputs), self.hidden_size).requires_grad_()
        states = [zeros]
        if self.lstm is not None:
            h, c = zeros.detach(), zeros
            for t in range(inputs.shape[1]):
                h, c = self.lstm(inputs[:, t], (h, c))
                states.append(c)
            return states
        f = ACTIVATIONS[self.cell]
        for t in range(inputs.shape[1]):
            states.append(f(states[-1] @ self.W + inputs[:, t] @ self.U))
        return states

    def forward(self, inputs: Tensor) -> Tensor:
        """Return y, (B,), for inputs (B, T, 1)."""
        y: Tensor = (self.states(inputs)[-1] @ self.V)[:, 0]
        return y


def gradient_norms(model: Counter, inputs: Tensor) -> list[float]:
    """Return |dy_T / ds_t| for t = 0 to T, relative to t = T: what T - t steps leave of it.

        dy_T / ds_t = V' prod over k from T down to t + 1 of (diag f'(a_k) W')

    Args:
        model: the recurrence.
        inputs: (B, T, 1).
    """
    states = model.states(inputs)
    for state in states:
        if not state.is_leaf:
            state.retain_grad()
    (states[-1] @ model.V).sum().backward()  # type: ignore[no-untyped-call]
    norms = [0.0 if s.grad is None else float(s.grad.double().norm()) for s in states]
    return [norm / norms[-1] for norm in norms]


def train(config: GradientConfig, model: Counter, *, clip: bool, seed: int) -> Record:
    """Train with plain gradient descent to say the fraction of ones; nothing stops a divergence.

    Args:
        config: task and optimisation.
        model: trained in place.
        clip: bring gradients longer than `config.clip_norm` to that length.
        seed: decides the bits.

    Returns:
        Loss, gradient norm before clipping and norm of the weights, at each update.

    Reference: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
    networks", ICML 2013.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = list(model.parameters())
    optimizer = eager(torch.optim.SGD)(parameters, lr=config.learning_rate)
    record: Record = {"loss": [], "gradient": [], "weights": []}
    for _ in range(config.steps):
        shape = (config.batch_size, config.task_length, 1)
        density = torch.rand(config.batch_size, 1, 1, generator=generator)
        bits = (torch.rand(shape, generator=generator) < density).float()
        optimizer.zero_grad()
        loss = ((model(bits) - bits.mean(dim=(1, 2))) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm if clip else math.inf)
        record["loss"].append(float(loss.detach()))
        record["gradient"].append(float(norm))
        record["weights"].append(math.sqrt(sum(float(p.detach().norm()) ** 2 for p in parameters)))
        if not math.isfinite(record["gradient"][-1]):
            break
        optimizer.step()
    return record


def _over_time(config: GradientConfig, seed: int) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(seed)
    bits = (torch.rand(8, config.length, 1, generator=generator) < 0.5).float()
    curves = {}
    for radius in config.radii:
        for cell in ACTIVATIONS:
            model = Counter(cell, config.hidden_size, radius, seed)
            curves[f"{cell} {radius}"] = gradient_norms(model, bits)
    lstm = Counter("lstm", config.hidden_size, 1.0, seed)
    curves["lstm, f from bias 1"] = gradient_norms(lstm, bits)
    assert lstm.lstm is not None
    with torch.no_grad():
        lstm.lstm.bias_ih[config.hidden_size : 2 * config.hidden_size] = 6
    curves["lstm, f from bias 6"] = gradient_norms(lstm, bits)
    return curves


def _over_updates(config: GradientConfig, seed: int) -> dict[str, Record]:
    radius = max(config.radii)
    runs = {}
    for cell in ACTIVATIONS:
        for clip in (False, True):
            model = Counter(cell, config.hidden_size, radius, seed)
            runs[f"{cell}, clipped" if clip else cell] = train(config, model, clip=clip, seed=seed)
    model = Counter("lstm", config.hidden_size, radius, seed)
    runs["lstm"] = train(config, model, clip=False, seed=seed)
    return runs


def _draw_over_time(curves: dict[str, list[float]], config: GradientConfig, path: Path) -> None:
    from matplotlib.figure import Figure

    panels = [f" {radius}" for radius in config.radii]
    figure = Figure(figsize=(3 * len(panels), 3), layout="constrained")
    for axis, radius in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, norms in curves.items():
            if name.endswith(radius) or name.startswith("lstm"):
                style = "--" if name.startswith("lstm") else "-"
                # Below what a float64 holds there is nothing to draw.
                back = np.maximum(norms[::-1], 1e-30)
                axis.plot(back, style, label=name.removesuffix(radius), linewidth=1)
        axis.set(title=f"singular values{radius}", xlabel="steps back", yscale="log")
        axis.set_ylim(1e-12, 1e12)
    figure.axes[0].set_ylabel("|dy / ds|")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


def _draw_over_updates(runs: dict[str, Record], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    for row, clipped in zip(axes, (False, True), strict=True):
        for axis, key in zip(row, ("loss", "gradient", "weights"), strict=True):
            for name, record in runs.items():
                if name.endswith("clipped") == clipped or name == "lstm":
                    values = np.clip(np.nan_to_num(record[key], nan=1e12), 1e-12, 1e12)
                    axis.plot(values, label=name, linewidth=1)
            axis.set(title=f"{key}{', clipped' if clipped else ''}", yscale="log", xlabel="update")
        row[0].legend(fontsize=7)
    figure.savefig(path, dpi=64)


def lesson(config: BasicsConfig, exp: Path) -> None:
    """Run the lesson."""
    settings = config.gradients
    curves = _over_time(settings, config.seed)
    runs = _over_updates(settings, config.seed)
    _draw_over_time(curves, settings, exp / "gradients_over_time.png")
    _draw_over_updates(runs, exp / "gradients_over_updates.png")
    result = {
        "length": settings.length,
        "over_time": {name: norms[0] for name, norms in curves.items()},
        "over_updates": {name: _summary(record) for name, record in runs.items()},
    }
    write_json(exp / "gradients.json", result)
    for name, norms in curves.items():
        print(f"gradients: {name}: {norms[0]:.1e} of it is left {settings.length} steps back")


def _summary(record: Record) -> dict[str, float | int | None]:
    finite = [norm for norm in record["gradient"] if math.isfinite(norm)]
    loss = record["loss"][-1]
    return {
        "updates": len(record["loss"]),
        "last_loss": loss if math.isfinite(loss) else None,
        "largest_gradient": max(finite, default=None),
    }
