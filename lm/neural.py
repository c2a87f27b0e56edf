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
from torch.nn import functional as F

from asr.errors import ConfigError
from asr.nn.cells import State
from asr.nn.recurrent import RecurrentStack
from asr.search import END, select_state

__all__ = ["END", "LstmLM", "NeuralNetwork", "Nplm", "OutputLayer", "join_states", "select_state"]


def join_states(states: Sequence[State]) -> State:
    """Return the states of several batches as that of one."""
    return tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True))


class NeuralNetwork(Protocol):
    """What `LstmLM` and `Nplm` have in common; both are also `nn.Module`s."""

    n_tokens: int
    output: "OutputLayer"

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

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence.

        Args:
            state: Before it.
            tokens: (B,) int64.

        Returns:
            Log-probabilities of the tokens that may follow, (B, V), and the state after.
        """


class OutputLayer(nn.Module):
    """From hidden vectors to the probabilities of all tokens, which sum to 1.

        P(w | x) = softmax(A x + b)_w

    Tied, A is the embedding's matrix behind a projection.  With cutoffs the softmax is adaptive:
    a tail of rare tokens has one entry among the frequent ones and a smaller softmax of its own.

    Args:
        input_size: Size of the hidden vectors, D.
        n_tokens: V.
        tied: The embedding whose matrix to use; None for a matrix of its own.
        cutoffs: Where tails begin, for tokens numbered by falling frequency; () for none.

    Raises:
        ConfigError: If cutoffs do not rise within 1 to V - 1, or are used with a tied matrix.

    Reference: Press and Wolf, "Using the output embedding to improve language models", EACL 2017;
    Grave et al., "Efficient softmax approximation for GPUs", ICML 2017.
    """

    def __init__(
        self,
        input_size: int,
        n_tokens: int,
        *,
        tied: nn.Embedding | None = None,
        cutoffs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self._tied: tuple[nn.Embedding, ...] = ()
        self.linear: nn.Module = nn.Identity()
        self.adaptive: nn.AdaptiveLogSoftmaxWithLoss | None = None
        if cutoffs:
            rising = list(cutoffs) == sorted(set(cutoffs)) and cutoffs[0] >= 1
            is_too_small = input_size < 4 ** len(cutoffs)  # each tail has a quarter of the size
            if tied is not None or not rising or cutoffs[-1] >= n_tokens or is_too_small:
                raise ConfigError(
                    f"cutoffs {list(cutoffs)} for {n_tokens} tokens: rising numbers below "
                    f"{n_tokens} are needed, no more than {input_size} hidden units can be "
                    "quartered for, and no tied embedding"
                )
            self.adaptive = nn.AdaptiveLogSoftmaxWithLoss(input_size, n_tokens, list(cutoffs))
        elif tied is not None:
            # In a tuple, so that the matrix is a parameter of the embedding alone.
            self._tied = (tied,)
            if input_size != tied.embedding_dim:
                self.linear = nn.Linear(input_size, tied.embedding_dim, bias=False)
            self.bias = nn.Parameter(torch.zeros(n_tokens))
        else:
            self.linear = nn.Linear(input_size, n_tokens)

    def forward(self, x: Tensor) -> Tensor:
        """Return log P(w | x) of all tokens, float32 (..., V), for x (..., D)."""
        if self.adaptive is not None:
            flat: Tensor = self.adaptive.log_prob(x.float().flatten(0, -2))
            return flat.view(*x.shape[:-1], -1)
        return self._logits(x).float().log_softmax(-1)

    def target_log_probs(self, x: Tensor, targets: Tensor) -> Tensor:
        """Return log P(target | x), float32 (...), for x (..., D) and targets (...)."""
        flat = x.flatten(0, -2)
        if self.adaptive is not None:
            with torch.autocast(x.device.type, enabled=False):
                log_probs = self.adaptive(flat.float(), targets.flatten()).output
        else:
            logits = self._logits(flat).float()
            log_probs = -F.cross_entropy(logits, targets.flatten(), reduction="none")
        by_target: Tensor = log_probs.view_as(targets)
        return by_target

    def _logits(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        return F.linear(y, self._tied[0].weight, self.bias) if self._tied else y


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
        self.dropout = nn.Dropout(dropout)
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

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns log-probabilities (B, V) and the state."""
        x, state = self.stack.step(self.dropout(self.embedding(tokens)), state)
        return self.output(self.dropout(x)), state


class Nplm(nn.Module):
    """The neural probabilistic language model: an n-gram model over token vectors.

        x = (C(w_{i-n+1}), ..., C(w_{i-1}));   P(w_i | context) = softmax(b + W x + U tanh(d + H x))

    W are the direct connections, which may be left out.  What would stand before a sentence's
    start reads as token 0.

    Args:
        n_tokens: V.
        order: n, so that n - 1 tokens are the context, n >= 2.
        embedding_size: Size of the token vectors.
        hidden_size: Units of the hidden layer.
        dropout: Of token vectors and hidden units, 0 to 1.
        direct: Whether there are direct connections.
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
        cutoffs: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if order < 2:
            raise ConfigError(f"order {order}: a context of one token at least, so 2, is needed")
        self.n_tokens = n_tokens
        self.order = order
        self.direct = direct
        self.embedding = _embedding(n_tokens, embedding_size)
        self.dropout = nn.Dropout(dropout)
        context_size = (order - 1) * embedding_size
        self.layer = nn.Linear(context_size, hidden_size)
        # W x + U h is one matrix times (x, h).
        self.output = OutputLayer(
            hidden_size + (context_size if direct else 0), n_tokens, cutoffs=cutoffs
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

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); returns log-probabilities (B, V) and the state."""
        x, state = self.hidden(tokens[:, None], state)
        return self.output(x[:, 0]), state


def _embedding(n_tokens: int, size: int) -> nn.Embedding:
    embedding = nn.Embedding(n_tokens, size)
    # Small enough that a tied output begins near the uniform distribution.
    nn.init.normal_(embedding.weight, std=0.1)
    return embedding


def _autocast(state: State) -> State:
    device = state[0].device.type
    if not torch.is_autocast_enabled(device):
        return state
    return tuple(part.to(torch.get_autocast_dtype(device)) for part in state)
