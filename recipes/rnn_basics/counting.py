"""Counting the ones of a bit sequence: backpropagation through time, written by hand.

Trains on short sequences, counts long ones, and writes EXP/counting.json and EXP/counting.png.
Nothing here uses a deep-learning library; the test of this recipe compares the gradients with
torch's autograd.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from basics_config import BasicsConfig, CountingConfig
from numpy.typing import NDArray

from asr.checkpoint import write_json

__all__ = [
    "ACTIVATIONS",
    "Recurrence",
    "Rprop",
    "backward",
    "forward",
    "lesson",
    "make_sequences",
    "train",
]

Array = NDArray[np.float64]


def _sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


# f, and its derivative as a function of f's value.
ACTIVATIONS = {
    "identity": (lambda a: a, lambda s: np.ones_like(s)),
    "relu": (lambda a: np.maximum(a, 0), lambda s: (s > 0).astype(float)),
    "tanh": (np.tanh, lambda s: 1 - s**2),
    "sigmoid": (_sigmoid, lambda s: s * (1 - s)),
}


@dataclass
class Recurrence:
    """The weights of s_t = f(s_{t-1} W + x_t U), y_t = s_t V; gradients have the same shape.

    Attributes:
        W: (H, H), from state to state.
        U: (I, H), from input to state.
        V: (H, O), from state to output.
    """

    W: Array
    U: Array
    V: Array

    @classmethod
    def random(cls, sizes: tuple[int, int, int], generator: np.random.Generator) -> "Recurrence":
        """Draw small weights for sizes (I, H, O): the data, not chance, decide their signs."""
        n_inputs, H, n_outputs = sizes
        shapes = ((H, H), (n_inputs, H), (H, n_outputs))
        return cls(*(generator.normal(scale=0.1, size=shape) for shape in shapes))

    def arrays(self) -> tuple[Array, Array, Array]:
        """W, U and V."""
        return self.W, self.U, self.V


def make_sequences(
    n_sequences: int, length: int, generator: np.random.Generator
) -> tuple[Array, Array]:
    """Draw bits (B, T, 1), and count the ones up to each, (B, T, 1).

    How likely a one is differs from sequence to sequence, so that all counts come up.
    """
    density = generator.random((n_sequences, 1, 1))
    bits = (generator.random((n_sequences, length, 1)) < density).astype(float)
    return bits, bits.cumsum(axis=1)


def forward(weights: Recurrence, inputs: Array, activation: str) -> tuple[Array, Array]:
    """Run the recurrence from s_0 = 0.

        s_t = f(s_{t-1} W + x_t U),   y_t = s_t V

    Args:
        weights: W, U, V.
        inputs: (B, T, I).
        activation: name of f, a key of ACTIVATIONS.

    Returns:
        States s_0 to s_T, (B, T + 1, H), and outputs y_1 to y_T, (B, T, O).
    """
    f, _ = ACTIVATIONS[activation]
    B, T, _ = inputs.shape
    states = np.zeros((B, T + 1, len(weights.W)))
    for t in range(T):
        states[:, t + 1] = f(states[:, t] @ weights.W + inputs[:, t] @ weights.U)
    return states, states[:, 1:] @ weights.V


def backward(
    weights: Recurrence, inputs: Array, states: Array, output_gradient: Array, activation: str
) -> tuple[Recurrence, Array]:
    """Backpropagation through time: from dL/dy to the gradients of the weights.

    With a_t = s_{t-1} W + x_t U and the derivatives of L written d:

        ds_T = dy_T V';                 ds_t = dy_t V' + da_{t+1} W'
        da_t = ds_t * f'(a_t)
        dV = sum_t s_t' dy_t;   dW = sum_t s_{t-1}' da_t;   dU = sum_t x_t' da_t

    Args:
        weights: W, U, V.
        inputs: (B, T, I).
        states: (B, T + 1, H), of `forward`.
        output_gradient: dL/dy, (B, T, O).
        activation: name of f.

    Returns:
        dW, dU, dV, and ds_0 to ds_T, (B, T + 1, H).

    Reference: Werbos, "Backpropagation through time: what it does and how to do it", Proceedings
    of the IEEE 78, 1990.
    """
    _, derivative = ACTIVATIONS[activation]
    gradient = Recurrence(*(np.zeros_like(array) for array in weights.arrays()))
    state_gradients = np.zeros_like(states)
    from_later = np.zeros_like(states[:, 0])
    for t in reversed(range(inputs.shape[1])):
        ds = output_gradient[:, t] @ weights.V.T + from_later
        da = ds * derivative(states[:, t + 1])
        gradient.V += states[:, t + 1].T @ output_gradient[:, t]
        gradient.W += states[:, t].T @ da
        gradient.U += inputs[:, t].T @ da
        state_gradients[:, t + 1] = ds
        from_later = da @ weights.W.T
    state_gradients[:, 0] = from_later
    return gradient, state_gradients


class Rprop:
    """Steps that look at the gradient's sign alone, so that its size may explode or vanish.

    A weight's step grows by 1.2 while the sign of its gradient stays, and is halved when it
    turns.

    Args:
        weights: what is updated in place.
        step: the first step.

    Reference: Riedmiller and Braun, "A direct adaptive method for faster backpropagation
    learning: the RPROP algorithm", ICNN 1993; without going back: Igel and Hüsken, 2000 (iRprop-).
    """

    def __init__(self, weights: Recurrence, step: float = 1e-3) -> None:
        self.weights = weights
        self._steps = [np.full_like(array, step) for array in weights.arrays()]
        self._signs = [np.zeros_like(array) for array in weights.arrays()]

    def update(self, gradient: Recurrence) -> None:
        """Take one step against the gradient."""
        arrays = zip(
            self.weights.arrays(), gradient.arrays(), self._steps, self._signs, strict=True
        )
        for array, slope, step, last in arrays:
            sign = np.sign(slope)
            turned = sign * last < 0
            step *= np.where(turned, 0.5, np.where(sign * last > 0, 1.2, 1.0))
            np.clip(step, 1e-12, 1.0, out=step)
            last[:] = np.where(turned, 0, sign)
            array -= step * last


def train(config: CountingConfig, seed: int) -> tuple[Recurrence, list[dict[str, float]]]:
    """Learn to say the count after each bit: L = mean (y_t - count_t)^2.

    Returns:
        The weights, and for each update loss and norms.
    """
    generator = np.random.default_rng(seed)
    inputs, counts = make_sequences(config.n_train, config.train_length, generator)
    weights = Recurrence.random((1, config.hidden_size, 1), generator)
    optimizer = Rprop(weights)
    history = []
    for _ in range(config.steps):
        states, outputs = forward(weights, inputs, config.activation)
        error = outputs - counts
        output_gradient = 2 * error / error.size
        gradient, _ = backward(weights, inputs, states, output_gradient, config.activation)
        record = {"loss": float(np.mean(error**2))}
        for field, array, slope in zip(
            fields(weights), weights.arrays(), gradient.arrays(), strict=True
        ):
            record[field.name] = float(np.linalg.norm(array))
            record[f"d{field.name}"] = float(np.linalg.norm(slope))
        history.append(record)
        optimizer.update(gradient)
    return weights, history


def _draw(history: Sequence[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots(1, 3)
    titles = {"loss": ["loss"], "weights": ["W", "U", "V"], "gradients": ["dW", "dU", "dV"]}
    for axis, (title, names) in zip(axes, titles.items(), strict=True):
        for name in names:
            axis.plot([record[name] for record in history], label=name, linewidth=1)
        axis.set(title=title, xlabel="update")
        axis.legend()
        if title != "weights":
            axis.set_yscale("log")
    figure.savefig(path, dpi=80)


def lesson(config: BasicsConfig, exp: Path) -> None:
    """Run the lesson."""
    counting = config.counting
    weights, history = train(counting, config.seed)
    generator = np.random.default_rng((config.seed, 1))
    inputs, counts = make_sequences(counting.n_test, counting.test_length, generator)
    _, outputs = forward(weights, inputs, counting.activation)
    error = np.abs(outputs - counts)[:, -1]
    exact = float(np.mean(np.rint(outputs[:, -1]) == counts[:, -1]))
    result = {
        "train_length": counting.train_length,
        "test_length": counting.test_length,
        "n_test": counting.n_test,
        "updates": counting.steps,
        "loss": history[-1]["loss"],
        "exact": exact,
        "largest_error": float(error.max()),
        "W": weights.W.tolist(),
        "UV": (weights.U @ weights.V).tolist(),
    }
    write_json(exp / "counting.json", result)
    _draw(history, exp / "counting.png")
    print(
        f"counting: {exact:.2%} of {counting.n_test} sequences of {counting.test_length} bits "
        f"counted exactly after training on {counting.train_length}; largest error "
        f"{error.max():.2e}"
    )
