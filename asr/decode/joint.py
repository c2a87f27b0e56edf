"""CTC asked as an autoregressive model, and decoded together with one that attends.

Both speak the protocol of `asr.search`, so that its greedy search and its beam decode them.
"""

import torch
from torch import Tensor

from asr.nn.cells import State
from asr.nn.masking import sequence_mask
from asr.search import END, Autoregressive

__all__ = ["CtcPrefixModel", "JointModel"]

_BLANK = 0


class CtcPrefixModel:
    """A CTC model as what gives the next token: sums over all alignments, exactly.

    With P(g, ...) the probability of all texts that begin with g,

        P(c | g) = P(gc, ...) / P(g, ...),      P(end | g) = P(g) / P(g, ...)

    so that the probabilities of what may follow sum to 1, and those of a text's tokens and its end
    multiply to P(text), whose logarithm is the negative CTC loss.

    A state has four parts, whose dimension 1 is the batch: which sequence each row reads, the
    prefix's last token, its forward probabilities after each frame (1, B, T + 1, 2), ending in a
    token and in a blank, and log P(prefix, ...).

    Args:
        log_probs: (B, T, V), natural logarithms; symbol 0 is the blank, and stands for the end in
            what `step` reads and returns.
        lengths: (B,) int64, frames.

    Reference: Graves, "Supervised sequence labelling with recurrent neural networks", 2008,
    section 7.5 (prefix probabilities); Watanabe et al., "Hybrid CTC/attention architecture for
    end-to-end speech recognition", IEEE J. Sel. Topics Signal Processing 11, 2017, algorithm 2.
    """

    N_STATES = 4

    def __init__(self, log_probs: Tensor, lengths: Tensor) -> None:
        inside = sequence_mask(lengths.to(log_probs.device), log_probs.shape[1])
        # Frames behind the end say blank for sure, and change nothing.
        log_probs = log_probs.double().masked_fill(~inside[..., None], -torch.inf)
        log_probs[..., _BLANK] = log_probs[..., _BLANK].masked_fill(~inside, 0.0)
        self.log_probs = log_probs

    def start(self) -> State:
        """Return the state before the first token, which is 0."""
        n_sequences, n_frames, _ = self.log_probs.shape
        blanks = self.log_probs[..., _BLANK].cumsum(1)  # (B, T)
        forward = self.log_probs.new_full((n_sequences, n_frames + 1, 2), -torch.inf)
        forward[:, 0, 1] = 0.0
        forward[:, 1:, 1] = blanks
        owners = torch.arange(n_sequences, device=blanks.device)
        nothing = torch.full_like(owners, END)
        return owners[None], nothing[None], forward[None], forward[None, :, 0, 1]

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence; 0, before all others, changes nothing.

        Args:
            state: Before it.
            tokens: (B,) int64.

        Returns:
            log P(. | prefix), float64 (B, V), at 0 that of the end; and the state after.
        """
        owners, last, forward, prefix = (part[0] for part in state)
        log_probs = self.log_probs[owners]  # (B, T, V)
        if bool((tokens != END).any()):
            is_read = tokens != END
            extended, total = _extend(log_probs, forward, tokens, last)
            forward = torch.where(is_read[:, None, None], extended, forward)
            prefix = torch.where(is_read, total, prefix)
            last = torch.where(is_read, tokens, last)
        before = forward[:, :-1].logsumexp(-1)  # (B, T), all that a new token may follow
        starts = before[..., None].expand_as(log_probs).clone()  # (B, T, V)
        # The last token again is a new one behind a blank only.
        starts.scatter_(2, _at(last, starts), forward[:, :-1, 1:])
        following = (starts + log_probs).logsumexp(1)  # (B, V)
        following[:, END] = forward[:, -1].logsumexp(-1)
        possible = following - prefix[:, None]
        possible = possible.masked_fill(prefix[:, None] == -torch.inf, -torch.inf)
        return possible, (owners[None], last[None], forward[None], prefix[None])


def _at(tokens: Tensor, values: Tensor) -> Tensor:
    """Return tokens (B,) as an index (B, T, 1) into the last dimension of values (B, T, V)."""
    return tokens[:, None, None].expand(-1, values.shape[1], 1)


def _extend(
    log_probs: Tensor, forward: Tensor, tokens: Tensor, last: Tensor
) -> tuple[Tensor, Tensor]:
    """Return forward probabilities (B, T + 1, 2) and log P (B,) of prefixes with one token more.

    start_t = b_{t-1}(g) + n_{t-1}(g), without n where the token is g's last
    n_t(gc) = (n_{t-1}(gc) + start_t) y_t(c);     b_t(gc) = (b_{t-1}(gc) + n_{t-1}(gc)) y_t(blank)
    P(gc, ...) = sum over t of start_t y_t(c)
    """
    is_again = (tokens == last)[:, None]
    n, b = forward[:, :-1].unbind(-1)
    starts = torch.logaddexp(b, n.masked_fill(is_again, -torch.inf))  # (B, T)
    y = log_probs.gather(2, _at(tokens, log_probs))[..., 0]  # (B, T)
    blank = log_probs[..., _BLANK]
    n = b = torch.full_like(starts[:, 0], -torch.inf)
    after = [torch.stack([n, b], dim=-1)]
    for t in range(y.shape[1]):
        n, b = torch.logaddexp(n, starts[:, t]) + y[:, t], torch.logaddexp(b, n) + blank[:, t]
        after.append(torch.stack([n, b], dim=-1))
    return torch.stack(after, dim=1), (starts + y).logsumexp(1)


class JointModel:
    """A CTC model and a decoder that find a text together.

        log P(c | g, x) = w log P_ctc(c | g, x) + (1 - w) log P_attention(c | g, x)

    for each token c and the end: not normalised, but what is searched is the likeliest text.

    Args:
        ctc: Of the batch.
        decoder: What attends.
        ctc_weight: w, 0 to 1; what has no weight is not asked.

    Reference: Watanabe et al., "Hybrid CTC/attention architecture for end-to-end speech
    recognition", 2017, section III (one-pass decoding).
    """

    def __init__(self, ctc: CtcPrefixModel, decoder: Autoregressive, ctc_weight: float) -> None:
        self.ctc, self.decoder, self.ctc_weight = ctc, decoder, ctc_weight

    def start(self, decoder_state: State) -> State:
        """Return the state before the first token, which is 0, given that of the decoder."""
        return (*self.ctc.start(), *decoder_state)

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence; see `asr.search.Autoregressive`."""
        ctc_state, decoder_state = state[: self.ctc.N_STATES], state[self.ctc.N_STATES :]
        parts = []
        if self.ctc_weight > 0:
            log_probs, ctc_state = self.ctc.step(ctc_state, tokens)
            parts.append(self.ctc_weight * log_probs)
        if self.ctc_weight < 1:
            log_probs, decoder_state = self.decoder.step(decoder_state, tokens)
            parts.append((1 - self.ctc_weight) * log_probs.double())
        return torch.stack(parts).sum(0), (*ctc_state, *decoder_state)
