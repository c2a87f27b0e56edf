"""Stacks of recurrent layers over padded batches, on torch's kernels or on the reference cells."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from asr.errors import ConfigError
from asr.nn.cells import CELLS, CellWeights, State, initialize, unroll
from asr.nn.dropout import Dropout, dropout
from asr.nn.lstm_training import train_lstm, trains_faster
from asr.nn.masking import mask_padding, reverse_padded

__all__ = ["RecurrentLayer", "RecurrentStack"]

ENGINES = ("torch", "reference")
_MODULES: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
_SEQUENCE_KERNELS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn": torch.rnn_tanh,
}
_STEP_KERNELS: dict[str, Callable[..., Any]] = {
    "lstm": torch.lstm_cell,
    "gru": torch.gru_cell,
    "rnn": torch.rnn_tanh_cell,
}


class RecurrentLayer(nn.Module):
    """One recurrent layer, in one or both directions, with optional projection and normalisation.

        y = LayerNorm(W [h_forward; h_backward] + b),   0 in the padding

    The projection is a linear layer after the recurrence: unlike in Sak et al.'s LSTMP, what is
    fed back is the unprojected h, so that torch's fast kernels apply.  A sequence gives the same
    output alone and in any batch.

    The weights lie in a torch module `rnn` of one layer, whichever engine runs.

    Args:
        input_size: Features of a frame, I.
        hidden_size: Units per direction, H.
        cell: "lstm", "gru" or "rnn" (see asr.nn.cells).
        bidirectional: Read the sequence backwards, too; the outputs are concatenated.
        projection_size: Size of the projected output, 0 for no projection.
        layer_norm: Normalise the output.
        weight_drop: In training, probability that a weight from h_{t-1} is dropped, drawn anew for
            each batch and the same in all its frames, 0 to 1.
        engine: "torch" runs torch's kernels, "reference" the cells written from the equations.

    Raises:
        ConfigError: If cell or engine is unknown, or weight_drop is not in its range.

    Reference: Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Trans. Signal
    Processing 45, 1997; Ba, Kiros and Hinton, "Layer normalization", arXiv 1607.06450; Merity,
    Keskar and Socher, "Regularizing and optimizing LSTM language models", ICLR 2018 (weight drop).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: str = "lstm",
        bidirectional: bool = False,
        projection_size: int = 0,
        layer_norm: bool = False,
        weight_drop: float = 0.0,
        engine: str = "torch",
    ) -> None:
        super().__init__()
        if not 0 <= weight_drop < 1:
            raise ConfigError(f"weight_drop {weight_drop}: needs a probability, 0 to below 1")
        self.weight_drop = weight_drop
        if cell not in CELLS:
            raise ConfigError(f"recurrent cell {cell!r}: use one of {', '.join(CELLS)}")
        if engine not in ENGINES:
            raise ConfigError(f"recurrent engine {engine!r}: use one of {', '.join(ENGINES)}")
        self.cell = cell
        self.engine = engine
        self.hidden_size = hidden_size
        self.n_directions = 2 if bidirectional else 1
        self.rnn = _MODULES[cell](
            input_size, hidden_size, batch_first=True, bidirectional=bidirectional
        )
        for weights in self.weights():
            initialize(weights)
        recurrent_size = self.n_directions * hidden_size
        self.output_size = projection_size or recurrent_size
        self.projection = (
            nn.Linear(recurrent_size, projection_size) if projection_size else nn.Identity()
        )
        self.norm = nn.LayerNorm(self.output_size) if layer_norm else nn.Identity()

    def weights(self) -> list[CellWeights]:
        """Return the cell weights of the forward and, if there is one, the backward direction."""
        names = [f"{name}_l0" for name in CellWeights._fields]
        suffixes = ("", "_reverse")[: self.n_directions]
        return [
            CellWeights(*(cast(Tensor, getattr(self.rnn, name + suffix)) for name in names))
            for suffix in suffixes
        ]

    def _drawn_weights(self) -> list[CellWeights]:
        """Return `weights`, in training with some of those from h_{t-1} dropped."""
        if not self._drops_weights():
            return self.weights()
        return [
            weights._replace(weight_hh=dropout(weights.weight_hh, self.weight_drop))
            for weights in self.weights()
        ]

    def _drops_weights(self) -> bool:
        return self.training and self.weight_drop > 0

    def initial_state(self, n_sequences: int) -> State:
        """Return the state before the first frame: zeros, each (directions, B, H)."""
        zeros = self.weights()[0].weight_hh.new_zeros(
            self.n_directions, n_sequences, self.hidden_size
        )
        return (zeros,) * CELLS[self.cell].n_states

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the layer over padded sequences from the zero state.

        Args:
            x: (B, T, I), T >= 1, finite in the padding, too.
            lengths: (B,) int64, frames, 0 to T; kept on the CPU they spare CUDA a wait.

        Returns:
            (B, T, output_size), zero in the padding.
        """
        x = _autocast(x)
        state = self._zero_state_like(x)
        if self.engine == "reference":
            h, _ = self._unroll(x, lengths, state)
        elif self._drops_weights() or self._has_faster_training(x):
            h, _ = self._run_each_direction(x, lengths, state)
        elif bool((lengths == x.shape[1]).all()):
            h, _ = self._run_whole(x, lengths, state)
        elif x.device.type == "cpu":
            h, _ = self._run_each_direction(x, lengths, state)
        else:
            h, _ = self._run_packed(x, lengths, state)
        return self._finish(h, lengths)

    def forward_with_state(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the layer over padded sequences from a given state.

        Sequences of different lengths take a slower way here than in `forward`: on a CPU, and step
        by step where weights are dropped.

        Args:
            x: (B, T, I), T >= 1, finite in the padding, too.
            lengths: (B,) int64, frames, 0 to T.
            state: Each (directions, B, H), before the first frame.

        Returns:
            (B, T, output_size), zero in the padding, and the state after each sequence's last
            step, each (directions, B, H).
        """
        x = _autocast(x)
        is_even = bool((lengths == x.shape[1]).all())
        if self.engine == "reference" or (self._drops_weights() and not is_even):
            h, state = self._unroll(x, lengths, state)
        elif is_even:
            is_training = self._drops_weights() or self._has_faster_training(x)
            run = self._run_each_direction if is_training else self._run_whole
            h, state = run(x, lengths, state)
        else:
            h, state = self._run_packed(x, lengths, state)
        return self._finish(h, lengths), state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the layer, which must have one direction, over one frame.

        Args:
            x: (B, I), the frame.
            state: Each (1, B, H), before it.

        Returns:
            (B, output_size) and the state after the frame, each (1, B, H).
        """
        if self.n_directions != 1:
            raise ValueError("a bidirectional layer has no step: it reads whole sequences")
        (weights,) = self.weights()
        before = tuple(part[0] for part in state)
        if self.engine == "reference":
            after = CELLS[self.cell].step(x, before, weights)
        else:
            after = _as_state(_STEP_KERNELS[self.cell](x, _as_torch(before), *weights))
        y: Tensor = self.norm(self.projection(after[0]))
        return y, tuple(part[None] for part in after)

    def _zero_state_like(self, x: Tensor) -> State:
        zeros = x.new_zeros(self.n_directions, x.shape[0], self.hidden_size)
        return (zeros,) * CELLS[self.cell].n_states

    def _finish(self, h: Tensor, lengths: Tensor) -> Tensor:
        return mask_padding(self.norm(self.projection(h)), lengths)

    def _unroll(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, states = [], []
        for direction, weights in enumerate(self._drawn_weights()):
            output, final = unroll(
                partial(CELLS[self.cell].step, weights=weights),
                x,
                lengths,
                tuple(part[direction] for part in state),
                reverse=direction == 1,
            )
            outputs.append(output)
            states.append(final)
        return torch.cat(outputs, -1), tuple(map(torch.stack, zip(*states, strict=True)))

    def _run_whole(self, x: Tensor, _: Tensor, state: State) -> tuple[Tensor, State]:
        y, final = self.rnn(x, _as_torch(state))
        return y, _as_state(final)

    def _has_faster_training(self, x: Tensor) -> bool:
        return self.cell == "lstm" and trains_faster(x, self.weights())

    def _run_packed(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        # A packed sequence has at least one frame: those of an empty one are undone here.
        packed = pack_padded_sequence(
            x, lengths.cpu().clamp(min=1), batch_first=True, enforce_sorted=False
        )
        output, final = self.rnn(packed, _as_torch(state))
        h, _ = pad_packed_sequence(
            cast(PackedSequence, output), batch_first=True, total_length=x.shape[1]
        )
        is_empty = (lengths == 0).to(x.device)[:, None]
        after = _as_state(final)
        return h, tuple(old.where(is_empty, new) for old, new in zip(state, after, strict=True))

    def _run_each_direction(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Return outputs and states after the last step, as if the padding were read, too."""
        # On a CPU torch runs a packed sequence without oneDNN, 3 to 4 times slower than a padded
        # one.  Read forwards, padding comes too late to matter; so the backward direction reads
        # each sequence reversed on its own.
        outputs, states = [], []
        for direction, weights in enumerate(self._drawn_weights()):
            source = reverse_padded(x, lengths) if direction == 1 else x
            before = tuple(part[direction] for part in state)
            y, after = self._run_direction(source, before, weights)
            outputs.append(reverse_padded(y, lengths) if direction == 1 else y)
            states.append(after)
        return torch.cat(outputs, -1), tuple(map(torch.stack, zip(*states, strict=True)))

    def _run_direction(self, x: Tensor, state: State, weights: CellWeights) -> tuple[Tensor, State]:
        """Read whole sequences, (B, T, I), from a state, each part (B, H)."""
        if self._has_faster_training(x):
            h, c = state
            steps, last = train_lstm(x.transpose(0, 1).contiguous(), h, c, weights)
            return steps.transpose(0, 1), (steps[-1], last.to(x.dtype))
        before = _as_torch(tuple(part[None] for part in state))
        kernel = _SEQUENCE_KERNELS[self.cell]
        y, *after = kernel(x, before, weights, True, 1, 0.0, self.training, False, True)
        return y, tuple(part[0] for part in after)


class RecurrentStack(nn.Module):
    """Recurrent layers, each reading the output of the one below.

    `layers` may be called one by one for intermediate outputs; dropout is the stack's.

    Args:
        input_size: Features of a frame, I.
        hidden_size: Units per layer and direction, H.
        n_layers: Layers, N >= 1.
        cell: "lstm", "gru" or "rnn" (see asr.nn.cells).
        bidirectional: Read the sequences backwards, too.
        projection_size: Size of each layer's projected output, 0 for no projection.
        dropout: Probability of dropping an input of the second and further layers, 0 to 1.
        layer_norm: Normalise each layer's output.
        weight_drop: See `RecurrentLayer`.
        engine: "torch" runs torch's kernels, "reference" the cells written from the equations;
            parameters and their names are the same.

    Raises:
        ConfigError: If cell or engine is unknown or there is no layer.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        n_layers: int,
        *,
        cell: str = "lstm",
        bidirectional: bool = False,
        projection_size: int = 0,
        dropout: float = 0.0,
        layer_norm: bool = False,
        weight_drop: float = 0.0,
        engine: str = "torch",
    ) -> None:
        super().__init__()
        if n_layers < 1:
            raise ConfigError(f"{n_layers} recurrent layers: use at least 1")
        self.layers = nn.ModuleList()
        self.output_size = input_size
        for _ in range(n_layers):
            layer = RecurrentLayer(
                self.output_size,
                hidden_size,
                cell=cell,
                bidirectional=bidirectional,
                projection_size=projection_size,
                layer_norm=layer_norm,
                weight_drop=weight_drop,
                engine=engine,
            )
            self.layers.append(layer)
            self.output_size = layer.output_size
        self.dropout = Dropout(dropout)

    def initial_state(self, n_sequences: int) -> State:
        """Return the state before the first frame: zeros, each (N * directions, B, H)."""
        states = [layer.initial_state(n_sequences) for layer in self._typed_layers()]
        return _concatenate(states)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Run the stack over padded sequences from the zero state.

        Args:
            x: (B, T, I), T >= 1, finite in the padding, too.
            lengths: (B,) int64, frames, 0 to T.

        Returns:
            (B, T, output_size), zero in the padding.
        """
        for number, layer in enumerate(self.layers):
            x = layer(self.dropout(x) if number else x, lengths)
        return x

    def forward_with_state(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the stack over padded sequences from a given state.

        Args:
            x: (B, T, I), T >= 1, finite in the padding, too.
            lengths: (B,) int64, frames, 0 to T.
            state: Each (N * directions, B, H), ordered as torch orders it: layer by layer,
                forward before backward.

        Returns:
            (B, T, output_size), zero in the padding, and the state after each sequence's last
            step, each (N * directions, B, H).
        """
        after = []
        for number, (layer, before) in enumerate(self._with_states(state)):
            x, final = layer.forward_with_state(self.dropout(x) if number else x, lengths, before)
            after.append(final)
        return x, _concatenate(after)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Run the stack, which must have one direction, over one frame.

        The same weights give the same outputs as `forward_with_state` on the whole sequence.

        Args:
            x: (B, I), the frame.
            state: Each (N, B, H), before it; the hypotheses of a beam are picked by indexing
                dimension 1.

        Returns:
            (B, output_size) and the state after the frame, each (N, B, H).
        """
        after = []
        for number, (layer, before) in enumerate(self._with_states(state)):
            x, final = layer.step(self.dropout(x) if number else x, before)
            after.append(final)
        return x, _concatenate(after)

    def _typed_layers(self) -> list[RecurrentLayer]:
        return [cast(RecurrentLayer, layer) for layer in self.layers]

    def _with_states(self, state: State) -> list[tuple[RecurrentLayer, State]]:
        layers = self._typed_layers()
        parts = [part.chunk(len(layers)) for part in state]
        return list(zip(layers, zip(*parts, strict=True), strict=True))


def _autocast(x: Tensor) -> Tensor:
    """Return x in the type that autocast, if it is on, runs the kernels in.

    Left to itself autocast picks oneDNN's LSTM by the type before the cast, which on a CPU without
    bfloat16 instructions then fails.
    """
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def _as_torch(state: State) -> Tensor | State:
    """Return a state as torch's kernels take it: a bare tensor where it has one part."""
    return state[0] if len(state) == 1 else state


def _as_state(final: Tensor | State) -> State:
    """Return what torch's kernels give as a State."""
    return (final,) if isinstance(final, Tensor) else tuple(final)


def _concatenate(states: list[State]) -> State:
    return tuple(map(torch.cat, zip(*states, strict=True)))
