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

# Utterances whose sums a CPU makes at once.
_N_TOGETHER = 24


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
    are arrays [b, a, n] for utterance n, so that a step is one product for each b, and all else
    reads memory as it lies.  A label that repeats the one before must be parted from it by a
    blank.
    """

    def __init__(self, probabilities: Tensor) -> None:
        n = len(probabilities)
        by_last = probabilities.transpose(0, 1).clone()  # [b, a, c]
        self.end = by_last[:, :, _EDGE].unsqueeze(2).clone()  # [b, a, 1]
        by_last[:, :, _EDGE] = 0.0
        every = torch.arange(n, device=probabilities.device)
        self.repeat = by_last[every, :, every].unsqueeze(2).clone()  # [b, a, 1]
        by_last[every, :, every] = 0.0
        self.change = by_last  # [b, a, c]
        self.change_back = by_last.transpose(1, 2).contiguous()  # [b, c, a]

    def follow(self, blank: Tensor, either: Tensor, out: Tensor) -> Tensor:
        """Add up the weights that enter each state by a new label, (V, V, B), in `out`."""
        entered = torch.bmm(self.change_back, either, out=out)  # [b, c, n]
        repeated = torch.bmm(self.repeat.transpose(1, 2), blank).squeeze(1)  # [b, n]
        entered.diagonal(dim1=0, dim2=1).add_(repeated.t())
        return entered.transpose(0, 1)

    def follow_back(self, label: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the new labels that can follow a state: any other, in `out`, and its own."""
        changed = torch.bmm(self.change, label.transpose(0, 1), out=out)
        return changed, label.diagonal(dim1=0, dim2=1).t().unsqueeze(1)  # [b, a, n], [b, 1, n]


class _LogPartition(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, lengths: Tensor, probabilities: Tensor) -> Tensor:
        arcs = _Arcs(probabilities)
        n, n_frames, n_symbols = log_probs.shape
        # On a CPU the states of more utterances would leave the cache, and the forward weights
        # of all frames be new memory each time.
        n_together = _N_TOGETHER if log_probs.device.type == "cpu" else n
        memory = log_probs.new_empty(2, n_frames, n_symbols, n_symbols, min(n, n_together))
        log_z = log_probs.new_empty(n)
        posteriors = torch.zeros_like(log_probs) if log_probs.requires_grad else None
        for first in range(0, n, n_together):
            part = slice(first, min(first + n_together, n))
            longest = int(lengths[part].max())
            chosen = log_probs[part, :longest]
            # Each frame is scaled by its likeliest symbol.
            top = chosen.amax(dim=2)
            emitted = (chosen - top.unsqueeze(2)).exp().permute(1, 2, 0).contiguous()  # [t, v, n]
            states = memory.flatten()[: 2 * longest * n_symbols**2 * len(chosen)]
            blanks, labels = states.view(2, longest, n_symbols, n_symbols, len(chosen))
            frames = sequence_mask(lengths[part], longest)
            log_z[part] = _forward(emitted, arcs, lengths[part], blanks, labels)
            log_z[part] += top.where(frames, 0.0).sum(dim=1)
            if posteriors is not None:
                found = _posteriors(emitted, arcs, lengths[part], blanks, labels)
                posteriors[part, :longest] = found.where(frames.unsqueeze(2), 0.0)
        if posteriors is not None:
            ctx.save_for_backward(posteriors)
        return log_z

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (posteriors,) = ctx.saved_tensors
        return posteriors * gradient.view(-1, 1, 1), None, None


def _forward(
    emitted: Tensor, arcs: _Arcs, lengths: Tensor, blanks: Tensor, labels: Tensor
) -> Tensor:
    """Fill the forward weights of all frames, twice (T, V, V, B), and return log Z, (B,).

    Each step is scaled by the sum of the one before.
    """
    n_frames, n_symbols, n = emitted.shape
    either = emitted.new_zeros(n_symbols, n_symbols, n)
    either[_EDGE, _EDGE] = 1.0
    blank, label = either, torch.zeros_like(either)
    space = torch.empty_like(either)
    totals = emitted.new_ones(n_frames + 1, n)
    for t in range(n_frames):
        scaled = emitted[t] / totals[t]
        entered = arcs.follow(blank, either, out=space)
        label = torch.add(entered, label, out=labels[t]).mul_(scaled.unsqueeze(1))
        blank = torch.mul(either, scaled[_EDGE], out=blanks[t])
        torch.sum(torch.add(blank, label, out=either), dim=(0, 1), out=totals[t + 1])
    last, every = lengths - 1, torch.arange(n, device=lengths.device)
    ends = (blanks[last, :, :, every] + labels[last, :, :, every]) * arcs.end.squeeze(2)
    scaled_before = sequence_mask(lengths, n_frames)
    log_scales = totals[:-1].log().t().where(scaled_before, 0.0).sum(dim=1)
    log_z: Tensor = ends.sum(dim=(1, 2)).log() + log_scales
    return log_z


def _posteriors(
    emitted: Tensor, arcs: _Arcs, lengths: Tensor, blanks: Tensor, labels: Tensor
) -> Tensor:
    """Return P(frame t emits symbol v | x), (B, T, V); overwrites the forward weights."""
    n_frames, n_symbols, n = emitted.shape
    posteriors = emitted.new_empty(n_frames, n_symbols, n)
    ending: list[list[int]] = [[] for _ in range(n_frames + 1)]
    for index, length in enumerate(lengths.tolist()):
        ending[length].append(index)
    blank = arcs.end.repeat(1, 1, n)
    label, space = blank.clone(), torch.empty_like(blank)
    total = emitted.new_ones(n)
    for t in reversed(range(n_frames)):
        if t + 1 < n_frames:
            scaled = emitted[t + 1] / total
            label.mul_(scaled.unsqueeze(1))
            changed, repeated = arcs.follow_back(label, out=space)
            changed.addcmul_(blank, scaled[_EDGE])
            torch.addcmul(changed, arcs.repeat, repeated, out=blank)
            label.add_(changed)
            if ending[t + 1]:
                blank[:, :, ending[t + 1]] = label[:, :, ending[t + 1]] = arcs.end
            total = torch.add(blank, label, out=space).sum(dim=(0, 1))
        torch.sum(labels[t].mul_(label), dim=1, out=posteriors[t])
        posteriors[t, _EDGE] = blanks[t].mul_(blank).sum(dim=(0, 1))
    posteriors /= posteriors.sum(dim=1, keepdim=True)
    return posteriors.permute(2, 0, 1)
