"""Encoder and decoder: from one sequence to another of a different length.

    P(y | x) = product over i from 1 to U + 1 of P(y_i | y_0 ... y_{i-1}, x),   y_0 = y_{U+1} = 0

A state is what a decoder keeps of source and target so far: a tuple of tensors whose dimension 1
is the batch, as those of recurrent layers are, so that the hypotheses of a search are picked by
indexing dimension 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.nn.attention import AdditiveAttention, Memory
from asr.nn.cells import CELLS, State
from asr.nn.dropout import Dropout
from asr.nn.masking import sequence_mask
from asr.nn.recurrent import RecurrentStack

__all__ = ["Decoder", "EncoderDecoder", "RecurrentEncoder", "sequence_loss", "teacher_forced"]


class RecurrentEncoder(nn.Module):
    """Tokens to vectors that know what stands before and behind, by a bidirectional stack.

    Args:
        n_tokens: Tokens of the source, V; each has a vector of its own.
        embedding_size: Size of the token vectors.
        hidden_size: Units per layer and direction, H.
        n_layers: Recurrent layers.
        cell: "lstm", "gru" or "rnn".
        dropout: Of token vectors, between layers, and of the output, 0 to 1.
    """

    def __init__(
        self,
        n_tokens: int,
        *,
        embedding_size: int,
        hidden_size: int,
        n_layers: int = 1,
        cell: str = "lstm",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, embedding_size)
        self.stack = RecurrentStack(
            embedding_size, hidden_size, n_layers, cell=cell, bidirectional=True, dropout=dropout
        )
        self.dropout = Dropout(dropout)
        self.output_size = self.stack.output_size

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode padded sequences.

        Args:
            tokens: (B, T) int64, T >= 1; any token in the padding.
            lengths: (B,) int64, 0 to T.

        Returns:
            (B, T, 2 H), zero in the padding; and the last output of each direction, (B, 2 H).
        """
        x = self.dropout(self.embedding(tokens))  # (B, T, E)
        y = self.stack(x, lengths)  # (B, T, 2 H)
        hidden_size = self.output_size // 2
        last = (lengths.to(y.device) - 1).clamp(min=0)
        forwards = y[torch.arange(len(y), device=y.device), last, :hidden_size]
        summary = torch.cat([forwards, y[:, 0, hidden_size:]], dim=-1)
        return self.dropout(y), self.dropout(summary)


class Decoder(nn.Module):
    """A recurrent network that writes a sequence of tokens, and may look back at the source.

        s_0 = tanh(A summary + a)
        c_i = attention(s_{i-1}, h_1 ... h_T)
        s_i = stack([E y_{i-1}; c_i], s_{i-1})
        P(. | y_0 ... y_{i-1}, x) = softmax(V tanh(W [s_i; E y_{i-1}; c_i] + w) + v)

    s is the output of the top layer where it is a query.  Without attention there is no c, and all
    that the decoder knows of the source went into s_0.  Tied, V is E, the table of token vectors:
    half the parameters, and with E < H half the time or less where there are many tokens.

    Args:
        n_tokens: Tokens of the target with the end, which is 0, V.
        memory_size: Size of the encoded source's vectors, M.
        summary_size: Size of the vector that the first state is made from.
        embedding_size: Size of the token vectors, E.
        hidden_size: Units of a layer, H.
        n_layers: Recurrent layers, N.
        cell: "lstm", "gru" or "rnn".
        attention_size: Size of the space that queries and keys are added in; 0 for no attention.
        dropout: Of token vectors, between layers, and before the output, 0 to 1.
        tie_embeddings: Whether the output layer is the table of token vectors.

    Reference: Sutskever, Vinyals and Le, "Sequence to sequence learning with neural networks",
    NIPS 2014; Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align
    and translate", ICLR 2015; Press and Wolf, "Using the output embedding to improve language
    models", EACL 2017.
    """

    def __init__(
        self,
        n_tokens: int,
        *,
        memory_size: int,
        summary_size: int,
        embedding_size: int,
        hidden_size: int,
        n_layers: int = 1,
        cell: str = "lstm",
        attention_size: int = 0,
        dropout: float = 0.0,
        tie_embeddings: bool = False,
    ) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ConfigError(f"recurrent cell {cell!r}: use one of {', '.join(CELLS)}")
        self.n_tokens = n_tokens
        self.n_layers = n_layers
        self.hidden_size = hidden_size
        self.n_states = CELLS[cell].n_states
        self.attention = (
            AdditiveAttention(hidden_size, memory_size, attention_size) if attention_size else None
        )
        context_size = memory_size if attention_size else 0
        self.embedding = nn.Embedding(n_tokens, embedding_size)
        self.first_state = nn.Linear(summary_size, self.n_states * n_layers * hidden_size)
        self.stack = RecurrentStack(
            embedding_size + context_size, hidden_size, n_layers, cell=cell, dropout=dropout
        )
        output_size = embedding_size if tie_embeddings else hidden_size
        self.hidden = nn.Linear(hidden_size + embedding_size + context_size, output_size)
        self.output = nn.Linear(output_size, n_tokens)
        self.embedding_scale = 1.0
        if tie_embeddings:
            # As an output the table's rows are of length 1, as an input of unit variance.
            nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
            self.embedding_scale = embedding_size**0.5
            self.output.weight = self.embedding.weight
        self.dropout = Dropout(dropout)

    def start(self, values: Tensor, lengths: Tensor, summary: Tensor) -> State:
        """Return the state before the first step, whose token is 0.

        Args:
            values: (B, T, M), the encoded source.
            lengths: (B,) int64, 0 to T.
            summary: (B, summary_size).

        Returns:
            Each (N, B, H), and with attention the memory, each (1, B, T, ...).
        """
        first = torch.tanh(self.first_state(summary))  # (B, S N H)
        first = first.view(len(first), self.n_states, self.n_layers, -1).permute(1, 2, 0, 3)
        recurrent = tuple(part.contiguous() for part in first)  # each (N, B, H)
        if self.attention is None:
            return recurrent
        return (*recurrent, *(part[None] for part in self.attention.remember(values, lengths)))

    def forward(self, state: State, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Read given tokens (teacher forcing).

        Args:
            state: Of `start`.
            tokens: (B, U) int64, the first 0; what follows a sequence's end changes nothing.
            lengths: (B,) int64, with the end; where they are given, the padding, of N places in
                all inside, gets no softmax, which takes most of the time.

        Returns:
            log P(. | tokens up to each, source), float32 (B, U, V), or of the places inside (N, V).
        """
        features, _ = self._read(state, tokens)
        if lengths is not None:
            features = features[sequence_mask(lengths.to(tokens.device), tokens.shape[1])]
        return self._log_probs(features)

    def align(self, state: State, tokens: Tensor) -> Tensor:
        """Return the attention weights with which `forward` reads each token, (B, U, T).

        Raises:
            ConfigError: If the decoder has no attention.
        """
        if self.attention is None:
            raise ConfigError("a decoder without attention has no alignment")
        return self._read(state, tokens)[1]

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence.

        Args:
            state: Before it.
            tokens: (B,) int64.

        Returns:
            Log-probabilities of the tokens that may follow, float32 (B, V), and the state after.
        """
        x = self._embedded(tokens)  # (B, E)
        recurrent, memory = self._parts(state)
        features, _, recurrent = self._step(x, recurrent, memory)
        return self._log_probs(features), (*recurrent, *state[self.n_states :])

    def _embedded(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.dropout(self.embedding(tokens) * self.embedding_scale)
        return x

    def _parts(self, state: State) -> tuple[State, Memory | None]:
        memory = Memory(*(part[0] for part in state[self.n_states :])) if self.attention else None
        return state[: self.n_states], memory

    def _step(
        self, x: Tensor, recurrent: State, memory: Memory | None
    ) -> tuple[Tensor, Tensor, State]:
        """Return [s_i; E y_{i-1}; c_i] (B, H + E + M), the weights (B, T or 0), and the state."""
        weights = x[:, :0]
        if self.attention is not None and memory is not None:
            context, weights = self.attention(recurrent[0][-1], memory)
            x = torch.cat([x, context], dim=-1)  # (B, E + M)
        s, recurrent = self.stack.step(x, recurrent)
        return torch.cat([s, x], dim=-1), weights, recurrent

    def _read(self, state: State, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return [s_i; E y_{i-1}; c_i], (B, U, H + E + M), and the weights, (B, U, T or 0)."""
        x = self._embedded(tokens)  # (B, U, E)
        recurrent, memory = self._parts(state)
        if memory is None:
            # No step waits for the output of the last: one call of the whole sequence.
            lengths = torch.full((len(tokens),), tokens.shape[1])
            s, _ = self.stack.forward_with_state(x, lengths, recurrent)
            return torch.cat([s, x], dim=-1), x[..., :0]
        steps = []
        for x_i in x.unbind(1):
            features, weights, recurrent = self._step(x_i, recurrent, memory)
            steps.append((features, weights))
        features, weights = (torch.stack(part, dim=1) for part in zip(*steps, strict=True))
        return features, weights

    def _log_probs(self, features: Tensor) -> Tensor:
        y = self.dropout(torch.tanh(self.hidden(features)))
        logits: Tensor = self.output(y)
        return logits.float().log_softmax(-1)


class EncoderDecoder(nn.Module):
    """A recurrent encoder and a decoder over tokens.

    Args:
        n_source_tokens: Tokens of the source.
        n_target_tokens: Tokens of the target with the end, which is 0, V.
        embedding_size: Size of the token vectors of both.
        hidden_size: Units of a layer and direction of the encoder, H; a layer of the decoder has
            as many as both directions, 2 H.
        n_layers: Recurrent layers of both, N.
        cell: "lstm", "gru" or "rnn".
        attention: Whether the decoder looks back at the source.
        dropout: See `Decoder`.
        tie_embeddings: See `Decoder`.
    """

    def __init__(
        self,
        n_source_tokens: int,
        n_target_tokens: int,
        *,
        embedding_size: int,
        hidden_size: int,
        n_layers: int = 1,
        cell: str = "lstm",
        attention: bool = True,
        dropout: float = 0.0,
        tie_embeddings: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = RecurrentEncoder(
            n_source_tokens,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            n_layers=n_layers,
            cell=cell,
            dropout=dropout,
        )
        self.decoder = Decoder(
            n_target_tokens,
            memory_size=self.encoder.output_size,
            summary_size=self.encoder.output_size,
            embedding_size=embedding_size,
            hidden_size=2 * hidden_size,
            n_layers=n_layers,
            cell=cell,
            attention_size=hidden_size if attention else 0,
            dropout=dropout,
            tie_embeddings=tie_embeddings,
        )

    def start(self, source: Tensor, lengths: Tensor) -> State:
        """Read the source.

        Args:
            source: (B, T) int64, T >= 1; any token in the padding.
            lengths: (B,) int64, 0 to T.

        Returns:
            The decoder's state before the first token, which is 0.
        """
        values, summary = self.encoder(source, lengths)
        return self.decoder.start(values, lengths, summary)

    def forward(
        self,
        source: Tensor,
        lengths: Tensor,
        tokens: Tensor,
        token_lengths: Tensor | None = None,
    ) -> Tensor:
        """Return log P(. | tokens up to each, source); see `start` and `Decoder.forward`."""
        log_probs: Tensor = self.decoder(self.start(source, lengths), tokens, token_lengths)
        return log_probs

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence, (B,); see `Decoder.step`."""
        return self.decoder.step(state, tokens)


def teacher_forced(targets: Tensor) -> Tensor:
    """Return what a decoder reads as it learns to write targets (B, U): 0 and all but the last."""
    return torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], dim=1)


def sequence_loss(
    log_probs: Tensor, targets: Tensor, lengths: Tensor, label_smoothing: float = 0.0
) -> Tensor:
    """Sum the loss of target sequences over their tokens.

        loss = sum over sequences and i of  (1 - s) (-log P(y_i)) + s mean over w of (-log P(w))

    Args:
        log_probs: log P(. | tokens before), (B, U, V), or of the places inside alone, (N, V).
        targets: (B, U) int64, each ended by token 0.
        lengths: (B,) int64, with the end.
        label_smoothing: s, 0 to 1.

    Returns:
        In nats, ().

    Reference: Szegedy et al., "Rethinking the inception architecture for computer vision", CVPR
    2016, section 7.
    """
    mask = sequence_mask(lengths.to(targets.device), targets.shape[1])
    log_probs = log_probs[mask] if log_probs.dim() == 3 else log_probs  # (N, V)
    loss = (1 - label_smoothing) * F.nll_loss(log_probs, targets[mask], reduction="sum")
    return loss - label_smoothing * log_probs.mean(-1).sum() if label_smoothing else loss
