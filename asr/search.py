"""Decoding of autoregressive models: greedy, beam search, sampling; many sequences at once.

A model gives log P(y_i | y_0 ... y_{i-1}) step by step; y_0 and the end are token 0.  Whatever it
knows of its source is in the state it starts from.  A sequence gives the same result alone and
among others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from asr.errors import ConfigError
from asr.nn.cells import State

__all__ = [
    "END",
    "Autoregressive",
    "Generated",
    "Sampling",
    "beam_search",
    "greedy",
    "sample",
    "select_state",
]

END = 0


class Autoregressive(Protocol):
    """What is searched: a decoder, a language model."""

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence.

        Args:
            state: Before it, a tuple of tensors whose dimension 1 is the batch.
            tokens: (B,) int64.

        Returns:
            Log-probabilities of the tokens that may follow, (B, V), and the state after.
        """


@dataclass(frozen=True)
class Generated:
    """A sequence that a model gave.

    Attributes:
        tokens: Without the first token and the end.
        log_prob: Log P(tokens, end) under the model, natural logarithm.
        score: What it was ranked by: `log_prob`, or that over the length.
    """

    tokens: tuple[int, ...]
    log_prob: float
    score: float


@dataclass(frozen=True)
class Sampling:
    """How probabilities are sharpened before a token is drawn.

        P'(w) is proportional to P(w)^(1 / temperature) for w that stays, 0 else

    Attributes:
        temperature: > 0; below 1 likely tokens become likelier still.
        top_k: This many of the likeliest tokens stay; 0 for all.
        top_p: Of these the likeliest stay, as few as together have at least this part of the
            probability (the nucleus), 0 to 1, not 0.

    Raises:
        ConfigError: If a value is out of range.

    Reference: Holtzman et al., "The curious case of neural text degeneration", ICLR 2020.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"temperature {self.temperature}: a number above 0 is needed")
        if self.top_k < 0:
            raise ConfigError(f"top_k {self.top_k}: 0 for all tokens or a number above is needed")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p {self.top_p}: a number above 0 and up to 1 is needed")

    def probabilities(self, log_probs: Tensor) -> Tensor:
        """Return the probabilities to draw from, float64 (..., V), for log P (..., V)."""
        probs, order = (log_probs.double() / self.temperature).softmax(-1).sort(-1, descending=True)
        if self.top_k:
            probs[..., self.top_k :] = 0
        probs = probs / probs.sum(-1, keepdim=True)
        # A token stays when those before it do not suffice.
        probs[probs.cumsum(-1) - probs >= self.top_p] = 0
        probs = probs / probs.sum(-1, keepdim=True)
        return torch.zeros_like(probs).scatter(-1, order, probs)


def select_state(state: State, rows: Tensor) -> State:
    """Return the state of some sequences of a batch, in a given order; one may come twice.

    Args:
        state: Each (N, B, ...).
        rows: (K,) int64, 0 to B - 1.

    Returns:
        Each (N, K, ...).
    """
    return tuple(part.index_select(1, rows) for part in state)


def greedy(
    model: Autoregressive,
    state: State,
    max_lengths: Sequence[int],
    *,
    first: Sequence[int] | None = None,
    forbidden: Sequence[int] = (),
) -> list[Generated]:
    """Take the likeliest token at each step until it is the end.

    Args:
        model: In eval mode.
        state: Before the first step, of B sequences.
        max_lengths: (B,) tokens of each at most; then the end is taken.
        first: (B,) tokens that the first step reads; None for 0.
        forbidden: Tokens that are never taken.

    Returns:
        One result a sequence.
    """
    return _generate(model, state, max_lengths, None, first, forbidden)


def sample(
    model: Autoregressive,
    state: State,
    max_lengths: Sequence[int],
    *,
    generator: torch.Generator,
    sampling: Sampling | None = None,
    first: Sequence[int] | None = None,
    forbidden: Sequence[int] = (),
) -> list[Generated]:
    """Draw a token at each step until it is the end.

    Args:
        model: In eval mode.
        state: Before the first step, of B sequences.
        max_lengths: (B,) tokens of each at most; then the end is taken.
        generator: The source of chance, on the CPU: a seed draws alike on every device.
        sampling: How to sharpen the model's probabilities; None to draw from them as they are.
        first: (B,) tokens that the first step reads; None for 0.
        forbidden: Tokens that are never drawn.

    Returns:
        One result a sequence.
    """
    draw = _Draw(sampling or Sampling(), generator, len(max_lengths))
    return _generate(model, state, max_lengths, draw, first, forbidden)


class _Draw:
    """Draws tokens by the inverse of the cumulative distribution."""

    def __init__(self, sampling: Sampling, generator: torch.Generator, n_sequences: int) -> None:
        self.sampling, self.generator, self.n_sequences = sampling, generator, n_sequences

    def __call__(self, log_probs: Tensor, rows: Tensor) -> Tensor:
        # For all sequences, so that the chance of one does not hang on which others have ended.
        chance = torch.rand(self.n_sequences, generator=self.generator, dtype=torch.float64)
        sums = self.sampling.probabilities(log_probs).cumsum(-1)
        wanted = chance.to(rows.device)[rows, None] * sums[:, -1:]
        # Rounding may leave the product at the last sum, behind which there is no token.
        last = (sums < sums[:, -1:]).sum(-1)
        return torch.minimum((sums <= wanted).sum(-1), last)


@torch.inference_mode()
def _generate(
    model: Autoregressive,
    state: State,
    max_lengths: Sequence[int],
    draw: _Draw | None,
    first: Sequence[int] | None,
    forbidden: Sequence[int],
) -> list[Generated]:
    n_sequences, device = len(max_lengths), state[0].device
    written: list[list[int]] = [[] for _ in max_lengths]
    log_probs_of = torch.zeros(n_sequences, dtype=torch.float64, device=device)
    limits = torch.tensor(max_lengths, device=device)
    rows = torch.arange(n_sequences, device=device)  # those that have not ended
    tokens = torch.tensor(first or [END] * n_sequences, device=device)
    n_steps = 0
    while len(rows):
        log_probs, state = model.step(state, tokens)
        log_probs = _allowed(log_probs.double(), limits[rows] <= n_steps, forbidden)
        tokens = log_probs.argmax(-1) if draw is None else draw(log_probs, rows)
        log_probs_of[rows] += log_probs.gather(1, tokens[:, None])[:, 0]
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            if token != END:
                written[row].append(token)
        goes_on = (tokens != END).nonzero()[:, 0]
        if len(goes_on) < len(rows):
            rows, tokens, state = rows[goes_on], tokens[goes_on], select_state(state, goes_on)
        n_steps += 1
    totals = log_probs_of.tolist()
    return [Generated(tuple(w), p, p) for w, p in zip(written, totals, strict=True)]


@torch.inference_mode()
def beam_search(
    model: Autoregressive,
    state: State,
    max_lengths: Sequence[int],
    *,
    width: int,
    length_exponent: float = 0.0,
    first: Sequence[int] | None = None,
    forbidden: Sequence[int] = (),
) -> list[list[Generated]]:
    """Keep the likeliest beginnings at each step, and rank what has ended.

        score(y) = log P(y, end) / (|y| + 1)^length_exponent

    One that ends among the likeliest goes out of the beam and its place is not filled again, so
    that the search is over when `width` have ended; width 1 is `greedy`.

    Args:
        model: In eval mode.
        state: Before the first step, of B sequences.
        max_lengths: (B,) tokens of each at most; then the end is taken.
        width: Beginnings kept, K.
        length_exponent: 0 ranks by probability, which short sequences have more of; 1 by the
            mean over the tokens.
        first: (B,) tokens that the first step reads; None for 0.
        forbidden: Tokens that are never taken.

    Returns:
        For each sequence up to K results, the best first.

    Raises:
        ConfigError: If the width is below 1.

    Reference: Graves, "Sequence transduction with recurrent neural networks", 2012; Sutskever,
    Vinyals and Le, NIPS 2014 (the shrinking beam).
    """
    if width < 1:
        raise ConfigError(f"beam width {width}: 1 or more is needed")
    n_sequences, device = len(max_lengths), state[0].device
    ended: list[list[Generated]] = [[] for _ in max_lengths]
    limits = torch.tensor(max_lengths, device=device)
    beam = _Beam(
        owners=torch.arange(n_sequences, device=device),
        totals=torch.zeros(n_sequences, 1, dtype=torch.float64, device=device),
        tokens=torch.zeros(n_sequences, 1, 0, dtype=torch.int64, device=device),
    )
    tokens = torch.tensor(first or [END] * n_sequences, device=device)
    n_steps = 0
    while len(beam.owners):
        log_probs, state = model.step(state, tokens)
        n_kept = beam.totals.shape[1]
        is_full = (limits[beam.owners] <= n_steps).repeat_interleave(n_kept)
        log_probs = _allowed(log_probs.double(), is_full, forbidden)
        rooms = [width - len(ended[owner]) for owner in beam.owners.tolist()]
        beam, rows = beam.extended(log_probs, torch.tensor(rooms, device=device))
        divisor = (n_steps + 1) ** length_exponent
        for owner, found, total in beam.take_ended():
            ended[owner].append(Generated(found, total, total / divisor))
        beam, rows = beam.compacted(rows)
        tokens = beam.tokens[..., -1].flatten()
        state = select_state(state, rows)
        n_steps += 1
    return [sorted(found, key=lambda one: -one.score) for found in ended]


@dataclass
class _Beam:
    """The beginnings that are kept of B' sequences, K' each.

    Attributes:
        owners: (B',) which sequence they are of.
        totals: (B', K') log P of each; -inf where there is none.
        tokens: (B', K', U).
    """

    owners: Tensor
    totals: Tensor
    tokens: Tensor

    def extended(self, log_probs: Tensor, rooms: Tensor) -> tuple["_Beam", Tensor]:
        """Return the `rooms` likeliest extensions of each sequence by a token.

        Args:
            log_probs: (B' * K', V).
            rooms: (B',).

        Returns:
            The new beam, and which row of the step each place goes on from, (B', K'').
        """
        n_owners, n_kept = self.totals.shape
        n_tokens = log_probs.shape[1]
        totals = (self.totals.view(-1, 1) + log_probs).view(n_owners, -1)  # (B', K' V)
        totals, places = totals.topk(min(int(rooms.max()), totals.shape[1]))  # (B', K'')
        rank = torch.arange(totals.shape[1], device=totals.device)
        totals = totals.masked_fill(rank >= rooms[:, None], -torch.inf)
        sources, last = places // n_tokens, places % n_tokens
        history = self.tokens.gather(1, sources[..., None].expand(-1, -1, self.tokens.shape[2]))
        first_rows = n_kept * torch.arange(n_owners, device=totals.device)
        beam = _Beam(self.owners, totals, torch.cat([history, last[..., None]], dim=-1))
        return beam, first_rows[:, None] + sources

    def take_ended(self) -> list[tuple[int, tuple[int, ...], float]]:
        """Take out what ends: owner, tokens without the end, log P."""
        is_ended = (self.tokens[..., -1] == END) & self.totals.isfinite()
        owners, places = is_ended.nonzero(as_tuple=True)
        found = zip(
            self.owners[owners].tolist(),
            self.tokens[owners, places, :-1].tolist(),
            self.totals[owners, places].tolist(),
            strict=True,
        )
        self.totals = self.totals.masked_fill(is_ended, -torch.inf)
        return [(owner, tuple(tokens), total) for owner, tokens, total in found]

    def compacted(self, rows: Tensor) -> tuple["_Beam", Tensor]:
        """Return the beam without empty sequences and places, and its rows, flat."""
        n_alive = self.totals.isfinite().sum(1)
        (some,) = (n_alive > 0).nonzero(as_tuple=True)
        if not len(some):
            return _Beam(self.owners[:0], self.totals[:0], self.tokens[:0]), rows[:0].flatten()
        # What is alive comes first: totals of empty places are -inf.
        order = self.totals[some].sort(dim=1, descending=True, stable=True).indices
        order = order[:, : int(n_alive.max())]
        tokens = self.tokens[some].gather(1, order[..., None].expand(-1, -1, self.tokens.shape[2]))
        beam = _Beam(self.owners[some], self.totals[some].gather(1, order), tokens)
        return beam, rows[some].gather(1, order).flatten()


def _allowed(log_probs: Tensor, is_full: Tensor, forbidden: Sequence[int]) -> Tensor:
    """Set what may not follow to -inf: forbidden tokens, and after a full sequence all but 0."""
    if forbidden:
        log_probs = log_probs.index_fill(
            1, torch.tensor(forbidden, device=log_probs.device), -torch.inf
        )
    others = torch.arange(log_probs.shape[1], device=log_probs.device) != END
    return log_probs.masked_fill(is_full[:, None] & others, -torch.inf)
