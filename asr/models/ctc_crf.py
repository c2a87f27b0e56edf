"""CTC-CRF: the CTC topology trained to tell the right labels from all other label sequences.

CTC judges each frame as if it did not depend on the others.  Here the whole label sequence l is
one decision: with a label trigram p(l),

    P(l | x) = p(l) sum over paths pi of l of prod_t y_t(pi_t)  /  Z(x)

where Z(x) sums the numerator over all label sequences.  The trigram stands for what the model
need not learn from the audio, so its output is evidence to be combined with a language model.

References:
    Xiang and Ou 2019, CRF-based single-stage acoustic modeling with CTC topology, eq. 3.
    Povey et al. 2016, Purely sequence-trained neural networks for ASR based on lattice-free MMI.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asr.nn.masking import sequence_mask

__all__ = ["LabelTrigram", "log_partition"]

# What is no label stands for the sentence's edges: before it as history, after it as outcome.
_EDGE = 0


@dataclass(frozen=True)
class LabelTrigram:
    """P(label | the two labels before), as a table that has every trigram.

    Args:
        probabilities: (V, V, V): [a, b, c] is P(c | a b).  Symbol 0, the blank, is no label: as
            a or b it is the beginning of the utterance, as c its end.
    """

    probabilities: Tensor

    @classmethod
    def estimate(
        cls,
        sentences: Iterable[Sequence[int]],
        n_symbols: int,
        device: torch.device | None = None,
    ) -> "LabelTrigram":
        """Count the labels of a training text; each order is smoothed by the one below it.

        Args:
            sentences: labels of each utterance, 1 to V - 1.
            n_symbols: symbols with the blank, V.
            device: where the table is needed.

        Reference:
            Witten and Bell 1991, The zero-frequency problem, method C.
        """
        counts = np.zeros((n_symbols,) * 3)
        for sentence in sentences:
            padded = np.array([_EDGE, _EDGE, *sentence, _EDGE])
            np.add.at(counts, (padded[:-2], padded[1:-1], padded[2:]), 1.0)
        probabilities = np.full(n_symbols, 1.0 / n_symbols)
        for seen in (counts.sum(axis=(0, 1)), counts.sum(axis=0), counts):
            different = np.maximum((seen > 0).sum(axis=-1, keepdims=True), 1)
            total = seen.sum(axis=-1, keepdims=True)
            probabilities = (seen + different * probabilities) / (total + different)
        return cls(torch.from_numpy(probabilities).float().to(device))

    def log_prob(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the log-probability of each label sequence, (B,).

        Args:
            tokens: (B, U), padded.
            lengths: (B,).
        """
        lengths = lengths.to(tokens.device)
        edge = tokens.new_full((len(tokens), 1), _EDGE)
        kept = sequence_mask(lengths, tokens.shape[1])
        padded = torch.cat([edge, edge, tokens.where(kept, _EDGE), edge], dim=1)
        log_probs = self.probabilities[padded[:, :-2], padded[:, 1:-1], padded[:, 2:]].log()
        steps = sequence_mask(lengths + 1, log_probs.shape[1])
        return log_probs.where(steps, 0.0).sum(dim=1)


def log_partition(log_probs: Tensor, lengths: Tensor, trigram: LabelTrigram) -> Tensor:
    """Return log Z(x) of each utterance, (B,), by the forward-backward algorithm.

    Args:
        log_probs: log y, (B, T, V), symbol 0 is the blank.
        lengths: frames, from 1, (B,).
        trigram: p(l), over the same symbols.
    """
    with torch.autocast(log_probs.device.type, enabled=False):
        result: Tensor = _LogPartition.apply(  # type: ignore[no-untyped-call]
            log_probs.float(), lengths.to(log_probs.device), trigram.probabilities
        )
    return result


class _Arcs:
    """The denominator's arcs, by what a frame emits.

    A state is (the last two labels a b, whether this frame emits the blank or b).  Its weights
    are arrays [b, n, a] for utterance n, so that a step is one product for each b.  A label that
    repeats the one before must be parted from it by a blank.
    """

    def __init__(self, probabilities: Tensor) -> None:
        n = len(probabilities)
        by_last = probabilities.transpose(0, 1).clone()  # [b, a, c]
        self.end = by_last[:, :, _EDGE].unsqueeze(1).clone()  # [b, 1, a]
        by_last[:, :, _EDGE] = 0.0
        every = torch.arange(n, device=probabilities.device)
        self.repeat = by_last[every, :, every].clone()  # [b, a]
        by_last[every, :, every] = 0.0
        self.change = by_last  # [b, a, c]
        self.change_back = by_last.transpose(1, 2).contiguous()  # [b, c, a]

    def follow(self, blank: Tensor, label: Tensor) -> Tensor:
        """Add up the weights that enter each state by a new label, (V, B, V)."""
        entered = torch.bmm(blank + label, self.change).permute(2, 1, 0).contiguous()
        entered.diagonal(dim1=0, dim2=2).add_(torch.einsum("bna,ba->nb", blank, self.repeat))
        return entered

    def follow_back(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the new labels that can follow a state: after a blank, after its label."""
        changed = torch.bmm(label.permute(2, 1, 0), self.change_back)
        repeated = label.diagonal(dim1=0, dim2=2).t().unsqueeze(2) * self.repeat.unsqueeze(1)
        return changed + repeated, changed


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, probabilities: Tensor) -> Tensor:
        arcs = _Arcs(probabilities)
        # Each frame is scaled by its likeliest symbol, each step by its sum: all stays in range.
        top = log_probs.amax(dim=2)
        emitted = (log_probs - top.unsqueeze(2)).exp().permute(1, 2, 0).unsqueeze(3)  # t v n 1
        blanks, labels, scales = _forward(emitted, arcs)
        frames = sequence_mask(lengths, log_probs.shape[1])
        last, every = lengths - 1, torch.arange(len(lengths), device=lengths.device)
        ends = (blanks[last, :, every] + labels[last, :, every]).mul_(arcs.end.squeeze(1))
        log_scales = (scales.log().t() + top).where(frames, 0.0).sum(dim=1)
        log_z: Tensor = ends.sum(dim=(1, 2)).log() + log_scales
        if log_probs.requires_grad:
            posteriors = _posteriors(emitted, arcs, blanks, labels, lengths)
            ctx.save_for_backward(posteriors.where(frames.unsqueeze(2), 0.0))
        return log_z

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (posteriors,) = ctx.saved_tensors
        return posteriors * gradient.view(-1, 1, 1), None, None


def _forward(emitted: Tensor, arcs: _Arcs) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scaled forward weights, twice (T, V, B, V), and their scales (T, B)."""
    n_frames, n_symbols, n, _ = emitted.shape
    blanks = emitted.new_empty(n_frames, n_symbols, n, n_symbols)
    labels = torch.empty_like(blanks)
    scales = emitted.new_empty(n_frames, n)
    blank = emitted.new_zeros(n_symbols, n, n_symbols)
    blank[_EDGE, :, _EDGE] = 1.0
    label = torch.zeros_like(blank)
    for t in range(n_frames):
        entered = arcs.follow(blank, label).add_(label).mul_(emitted[t])
        blank = (blank + label).mul_(emitted[t, 0])
        scales[t] = blank.sum(dim=(0, 2)) + entered.sum(dim=(0, 2))
        scale = scales[t].reciprocal().view(1, n, 1)
        torch.mul(blank, scale, out=blanks[t])
        torch.mul(entered, scale, out=labels[t])
        blank, label = blanks[t], labels[t]
    return blanks, labels, scales


def _posteriors(
    emitted: Tensor, arcs: _Arcs, blanks: Tensor, labels: Tensor, lengths: Tensor
) -> Tensor:
    """Return P(frame t emits symbol v | x), (B, T, V); overwrites the forward weights."""
    n_frames, n_symbols, n, _ = emitted.shape
    posteriors = emitted.new_zeros(n_frames, n, n_symbols)
    end = arcs.end.expand(-1, n, -1)
    blank = label = end
    for t in reversed(range(n_frames)):
        if t + 1 < n_frames:
            stay = emitted[t + 1] * label
            after_blank, after_label = arcs.follow_back(stay)
            silent = emitted[t + 1, 0] * blank
            is_last = (lengths == t + 1).view(1, n, 1)
            blank = torch.where(is_last, end, after_blank.add_(silent))
            label = torch.where(is_last, end, after_label.add(silent).add_(stay))
            scale = (blank.sum(dim=(0, 2)) + label.sum(dim=(0, 2))).reciprocal().view(1, n, 1)
            blank, label = blank * scale, label * scale
        posteriors[t] = labels[t].mul_(label).sum(dim=2).t()
        posteriors[t, :, _EDGE] = blanks[t].mul_(blank).sum(dim=(0, 2))
    posteriors /= posteriors.sum(dim=2, keepdim=True)
    return posteriors.transpose(0, 1)
