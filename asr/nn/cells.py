"""RNN, LSTM and GRU from their equations: the definition that the fast engine is tested against.

Weights have torch's layout: the rows of `weight_ih` (G * H, I), `weight_hh` (G * H, H),
`bias_ih` and `bias_hh` (G * H,) are G gates of H units, one after another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.nn.masking import sequence_mask

__all__ = [
    "CELLS",
    "Cell",
    "CellWeights",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "State",
    "initialize",
    "unroll",
]

State = tuple[Tensor, ...]
"""What a cell carries from frame to frame: (h, c) for an LSTM, (h,) else; h is its output."""


class CellWeights(NamedTuple):
    """The weights of one cell: (G * H, I), (G * H, H), (G * H,), (G * H,)."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor
    bias_hh: Tensor


class Cell(nn.Module, ABC):
    """One step of a recurrent network: (x_t, state_{t-1}) -> state_t.

    Args:
        input_size: Features of a frame, I.
        hidden_size: Units, H.
    """

    n_gates: ClassVar[int]
    n_states: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        n_rows = self.n_gates * hidden_size
        self.weight_ih = nn.Parameter(torch.empty(n_rows, input_size))
        self.weight_hh = nn.Parameter(torch.empty(n_rows, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(n_rows))
        self.bias_hh = nn.Parameter(torch.empty(n_rows))
        initialize(self.weights)

    @property
    def weights(self) -> CellWeights:
        """The cell's own weights."""
        return CellWeights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)

    @staticmethod
    @abstractmethod
    def step(x: Tensor, state: State, weights: CellWeights) -> State:
        """Return the state after one frame.

        Args:
            x: (B, I), the frame.
            state: Each (B, H), the state before it.
            weights: Those of this kind of cell.

        Returns:
            Each (B, H); the first is the cell's output.
        """

    def forward(self, x: Tensor, state: State) -> State:
        """Return the state after frame x (B, I), each (B, H), with the cell's own weights."""
        return self.step(x, state, self.weights)

    def initial_state(self, n_sequences: int) -> State:
        """Return the state before the first frame: zeros, each (B, H)."""
        shape = (n_sequences, self.hidden_size)
        return tuple(self.weight_ih.new_zeros(shape) for _ in range(self.n_states))


class RNNCell(Cell):
    """The simple recurrent network.

        h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)

    Reference: Elman, "Finding structure in time", Cognitive Science 14, 1990.
    """

    n_gates = 1
    n_states = 1

    @staticmethod
    def step(x: Tensor, state: State, weights: CellWeights) -> State:
        (h,) = state
        from_input = F.linear(x, weights.weight_ih, weights.bias_ih)
        return (torch.tanh(from_input + F.linear(h, weights.weight_hh, weights.bias_hh)),)


class LSTMCell(Cell):
    """Long short-term memory with a forget gate, without peepholes.

        i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)        input gate
        f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)        forget gate
        g_t = tanh   (W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)        candidate
        o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)        output gate
        c_t = f_t * c_{t-1} + i_t * g_t
        h_t = o_t * tanh(c_t)

    The rows of the weights are i, f, g, o.

    Reference: Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9, 1997;
    forget gate: Gers, Schmidhuber and Cummins, "Learning to forget", Neural Computation 12, 2000.
    """

    n_gates = 4
    n_states = 2

    @staticmethod
    def step(x: Tensor, state: State, weights: CellWeights) -> State:
        h, c = state
        from_input = F.linear(x, weights.weight_ih, weights.bias_ih)
        gates = from_input + F.linear(h, weights.weight_hh, weights.bias_hh)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class GRUCell(Cell):
    """Gated recurrent unit, in the variant of torch and cuDNN.

        r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)        reset gate
        z_t = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)        update gate
        n_t = tanh(W_in x_t + b_in + r_t * (W_hn h_{t-1} + b_hn))   candidate
        h_t = (1 - z_t) * n_t + z_t * h_{t-1}

    The rows of the weights are r, z, n.  The paper resets h before the product,
    W_hn (r_t * h_{t-1}), and not after it; the variant needs one matrix product per step.

    Reference: Cho et al., "Learning phrase representations using RNN encoder-decoder for
    statistical machine translation", EMNLP 2014.
    """

    n_gates = 3
    n_states = 1

    @staticmethod
    def step(x: Tensor, state: State, weights: CellWeights) -> State:
        (h,) = state
        r_input, z_input, n_input = F.linear(x, weights.weight_ih, weights.bias_ih).chunk(3, -1)
        r_hidden, z_hidden, n_hidden = F.linear(h, weights.weight_hh, weights.bias_hh).chunk(3, -1)
        r = torch.sigmoid(r_input + r_hidden)
        z = torch.sigmoid(z_input + z_hidden)
        n = torch.tanh(n_input + r * n_hidden)
        return ((1 - z) * n + z * h,)


CELLS: dict[str, type[Cell]] = {"lstm": LSTMCell, "gru": GRUCell, "rnn": RNNCell}


def initialize(weights: CellWeights) -> None:
    """Draw a cell's weights in place.

    Per gate, W_ih is uniform with Glorot's bound and W_hh orthogonal, so that a signal keeps its
    size over depth and over time.  Biases are 0, but the LSTM's forget gate starts at 1: it
    remembers until it learns to forget.

    Reference: Glorot and Bengio, AISTATS 2010; Saxe, McClelland and Ganguli, ICLR 2014;
    Jozefowicz, Zaremba and Sutskever, ICML 2015 (the forget gate).
    """
    n_rows, hidden_size = weights.weight_hh.shape
    n_gates = n_rows // hidden_size
    with torch.no_grad():
        for gate in weights.weight_ih.chunk(n_gates):
            nn.init.xavier_uniform_(gate)
        for gate in weights.weight_hh.chunk(n_gates):
            nn.init.orthogonal_(gate)
        weights.bias_ih.zero_()
        weights.bias_hh.zero_()
        if n_gates == LSTMCell.n_gates:
            # One of the two biases: they are added.
            weights.bias_ih[hidden_size : 2 * hidden_size] = 1


def unroll(
    cell: Callable[[Tensor, State], State],
    x: Tensor,
    lengths: Tensor,
    state: State,
    *,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """Run a cell over padded sequences, frame by frame.

        state_t = cell(x_t, state_{t-1})   for t < L_b, else state_{t-1}

    Args:
        cell: A Cell, or its step with weights bound.
        x: (B, T, I), T >= 1, finite in the padding, too.
        lengths: (B,) int64, frames.
        state: Each (B, H), before the first frame.
        reverse: Run from each sequence's last frame to its first.

    Returns:
        Outputs (B, T, H), zero in the padding, and the state after each sequence's own last
        step, each (B, H).
    """
    inside = sequence_mask(lengths.to(x.device), x.shape[1])[..., None]
    outputs = [state[0]] * x.shape[1]
    frames = range(x.shape[1])
    for t in reversed(frames) if reverse else frames:
        after = cell(x[:, t], state)
        outputs[t] = after[0].where(inside[:, t], 0)
        state = tuple(new.where(inside[:, t], old) for new, old in zip(after, state, strict=True))
    return torch.stack(outputs, dim=1), state
