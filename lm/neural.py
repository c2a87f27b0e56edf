"""Neural language models: recurrent, and the feed-forward one of Bengio et al.

Token 0 is the end of a sentence, and what stands before its first token:

    P(w_1 ... w_U) = product over i from 1 to U + 1 of P(w_i | w_0 ... w_{i-1}),  w_0 = w_{U+1} = 0

A state is what a model keeps of the tokens before: a tuple of tensors whose dimension 1 is the
batch, so that the hypotheses of a beam are picked with `select_state`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.nn.cells import State
from asr.nn.dropout import Dropout
from asr.nn.recurrent import RecurrentStack
from asr.search import END, select_state
from lm.softmax import OutputLayer

__all__ = [
    "END",
    "START_SCALE",
    "LstmLM",
    "NeuralNetwork",
    "Nplm",
    "OutputLayer",
    "join_states",
    "select_state",
]

# Of the entries of new token vectors: small enough that a tied output begins near the
# distribution of its biases.
START_SCALE = 0.1


def join_states(states: Sequence[State]) -> State:
    """Return the states of several batches as that of one."""
    return tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


class NeuralNetwork(Protocol):
    """What `LstmLM` and `Nplm` have in common; both are also `nn.Module`s."""

    n_tokens: int
    output: OutputLayer

    def start(self, n_sequences: int) -> State:
        """Return the state before the first token, which is `END`."""

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read tokens.

        Args:
            tokens: (B, T) int64; the first of a sentence is `END`.
            state: Before them.

        Returns:
            (B, T, D), what `output` turns into P(. | tokens up to each), and the state after.
        """

    def advance(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence.

        Args:
            state: Before it.
            tokens: (B,) int64.

        Returns:
            (B, D), what `output` turns into P(. | tokens so far), and the state after.
        """

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence; returns log-probabilities (B, V) and the state."""


class LstmLM(nn.Module):
    """A recurrent language model.

        h_i, state_i = stack(embedding(w_i), state_{i-1});   P(. | w_0 ... w_i) = output(h_i)

    Args:
        n_tokens: V.
        embedding_size: Size of the token vectors, E.
        hidden_size: Units of a layer, H.
        n_layers: Recurrent layers.
        cell: "lstm", "gru" or "rnn".
        dropout: Of token vectors, between layers, and before the output, 0 to 1.
        layer_norm: Normalise the layers' outputs.
        tied: Use the embedding's matrix for the output, too.
        cutoffs: Of an adaptive softmax; see `OutputLayer`.
        engine: See `RecurrentStack`.

    Reference: Mikolov et al., "Recurrent neural network based language model", Interspeech 2010;
    Sundermeyer et al., "LSTM neural networks for language modeling", Interspeech 2012.
    """

    def __init__(
        self,
        n_tokens: int,
        *,
        embedding_size: int = 256,
        hidden_size: int = 512,
        n_layers: int = 2,
        cell: str = "lstm",
        dropout: float = 0.1,
        layer_norm: bool = False,
        tied: bool = True,
        cutoffs: Sequence[int] = (),
        engine: str = "torch",
    ) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.embedding = _embedding(n_tokens, embedding_size)
        self.stack = RecurrentStack(
            embedding_size,
            hidden_size,
            n_layers,
            cell=cell,
            dropout=dropout,
            layer_norm=layer_norm,
            engine=engine,
        )
        self.dropout = Dropout(dropout)
        self.output = OutputLayer(
            self.stack.output_size,
            n_tokens,
            tied=self.embedding if tied else None,
            cutoffs=cutoffs,
        )

    def start(self, n_sequences: int) -> State:
        """Return the state before the first token: zeros, each (N, B, H)."""
        return self.stack.initial_state(n_sequences)

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read tokens (B, T); returns (B, T, H) and the state after them."""
        x = self.dropout(self.embedding(tokens))
        lengths = torch.full((len(tokens),), tokens.shape[1])
        x, state = self.stack.forward_with_state(x, lengths, _autocast(state))
        return self.dropout(x), state

    def advance(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns (B, H) and the state after."""
        x, state = self.stack.step(self.dropout(self.embedding(tokens)), state)
        return self.dropout(x), state

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns log-probabilities (B, V) and the state."""
        x, state = self.advance(state, tokens)
        return self.output(x), state


class Nplm(nn.Module):
    """The neural probabilistic language model: an n-gram model over token vectors.

        x = (C(w_{i-n+1}), ..., C(w_{i-1}));   P(w_i | context) = softmax(b + W x + U tanh(d + H x))

    W are the direct connections, which may be left out.  Tied, (W, U) is C times a matrix of the
    size of a token vector.  What would stand before a sentence's start reads as token 0.

    Args:
        n_tokens: V.
        order: n, so that n - 1 tokens are the context, n >= 2.
        embedding_size: Size of the token vectors.
        hidden_size: Units of the hidden layer.
        dropout: Of token vectors and hidden units, 0 to 1.
        direct: Whether there are direct connections.
        tied: Use the embedding's matrix for the output, too.
        cutoffs: Of an adaptive softmax; see `OutputLayer`.

    Raises:
        ConfigError: If the order is less than 2.

    Reference: Bengio et al., "A neural probabilistic language model", JMLR 3, 2003.
    """

    def __init__(
        self,
        n_tokens: int,
        *,
        order: int = 5,
        embedding_size: int = 100,
        hidden_size: int = 200,
        dropout: float = 0.0,
        direct: bool = True,
        tied: bool = False,
        cutoffs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if order < 2:
            raise ConfigError(f"order {order}: a context of one token at least, so 2, is needed")
        self.n_tokens = n_tokens
        self.order = order
        self.direct = direct
        self.embedding = _embedding(n_tokens, embedding_size)
        self.dropout = Dropout(dropout)
        context_size = (order - 1) * embedding_size
        self.layer = nn.Linear(context_size, hidden_size)
        # W x + U h is one matrix times (x, h).
        self.output = OutputLayer(
            hidden_size + (context_size if direct else 0),
            n_tokens,
            tied=self.embedding if tied else None,
            cutoffs=cutoffs,
        )

    def start(self, n_sequences: int) -> State:
        """Return the tokens before the first one, all 0: one tensor, (1, B, n - 2)."""
        device = self.embedding.weight.device
        return (
            torch.full((1, n_sequences, self.order - 2), END, dtype=torch.int64, device=device),
        )

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read tokens (B, T); returns (B, T, D) and the n - 2 last tokens."""
        history = torch.cat([state[0][0], tokens], dim=1)
        windows = history.unfold(1, self.order - 1, 1)
        is_end = windows == END
        # How many sentences end behind a place: from there on back it is another sentence.
        n_ends = is_end.flip(-1).cumsum(-1).flip(-1) - is_end.long()
        windows = windows.masked_fill(n_ends > 0, END)
        x = self.dropout(self.embedding(windows)).flatten(2)
        h = self.dropout(torch.tanh(self.layer(x)))
        y = torch.cat([x, h], dim=-1) if self.direct else h
        return y, (history[None, :, history.shape[1] - (self.order - 2) :],)

    def advance(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns (B, D) and the state after."""
        x, state = self.hidden(tokens[:, None], state)
        return x[:, 0], state

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns log-probabilities (B, V) and the state."""
        x, state = self.advance(state, tokens)
        return self.output(x), state


def _embedding(n_tokens: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(n_tokens, size)
    nn.init.normal_(embedding.weight, std=START_SCALE)
    return embedding


def _autocast(state: State) -> State:
    device = state[0].device.type
    if not torch.is_autocast_enabled(device):
        return state
    return tuple(part.to(torch.get_autocast_dtype(device)) for part in state)
