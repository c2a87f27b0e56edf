"""The CTC loss and its gradient on a CPU, compiled: several times as fast as torch's.

Logarithms of sums are vector instructions here, over all labels of a target at once, and weights
are taken relative to the largest of their frame, which keeps tens to hundreds of times more of
float32's precision over long utterances (`tools/bench_ctc.py`).
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from torch import Tensor

from asr.nn.lstm_steps import OPTIONS, exp

__all__ = ["losses_and_posteriors"]

_compiled = numba.njit(cache=True, **OPTIONS)
_inline = numba.njit(inline="always", **OPTIONS)

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
# The logarithm of nothing.  It is finite: the difference of two is 0.
_NOTHING = np.float32(-1e30)
_IMPOSSIBLE = np.float32(-1e20)


def losses_and_posteriors(
    log_probs: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Return -log P(tokens | features), (B,), and P(frame t emits v | tokens), (B, T, V).

    Where a target needs more frames than there are the loss is infinite and the posteriors are 0,
    as they are in the padding.

    Args:
        log_probs: (B, T, V) float32, finite, symbol 0 is the blank.
        lengths: frames (B,).
        tokens: targets (B, U), padded.
        token_lengths: target lengths (B,).
    """
    rows, targets = log_probs.detach().contiguous().numpy(), tokens.numpy()
    posteriors = np.zeros_like(rows)
    sizes = list(zip(lengths.tolist(), token_lengths.tolist(), strict=True))

    def run(index: int) -> float:
        n_frames, n_tokens = sizes[index]
        frames, target = rows[index, :n_frames], targets[index, :n_tokens]
        return float(_forward_backward(frames, target, posteriors[index, :n_frames]))

    with ThreadPoolExecutor(torch.get_num_threads(), "ctc") as executor:
        losses = list(executor.map(run, range(len(rows))))
    return torch.tensor(losses, dtype=torch.float32), torch.from_numpy(posteriors)


def _forward_backward(log_probs: np.ndarray, tokens: np.ndarray, posteriors: np.ndarray) -> float:
    """Fill the posteriors (T, V) of one utterance and return its loss.

    Weights are logarithms, `blank[u]` of the u first tokens said and then blank, `label[u]` of
    token u - 1 being said; label[0] is nothing.  Each frame's are taken relative to its largest.
    """
    n_frames, n = len(log_probs), len(tokens) + 1
    emitted = np.empty((n_frames, n), np.float32)
    for t in range(n_frames):
        row, frame = log_probs[t], emitted[t]
        frame[0] = _NOTHING
        for u in range(1, n):
            frame[u] = row[tokens[u - 1]]
    skipped = np.full(n, _NOTHING, np.float32)
    for u in range(2, n):
        if tokens[u - 1] != tokens[u - 2]:
            skipped[u] = _ZERO
    blanks = np.empty((n_frames + 1, n), np.float32)
    labels = np.empty((n_frames + 1, n), np.float32)
    blanks[0] = _NOTHING
    labels[0] = _NOTHING
    blanks[0, 0] = _ZERO
    scratch = np.empty(n, np.float32)
    log_scale = 0.0
    for t in range(n_frames):
        blank, label = blanks[t + 1], labels[t + 1]
        _add_logs(blanks[t], labels[t], blank)
        # What may come before label u: blank u - 1, or label u - 1 where the token is another.
        scratch[0] = _NOTHING
        for u in range(1, n):
            scratch[u] = labels[t, u - 1] + skipped[u]
        label[0] = _NOTHING
        _add_logs(blanks[t, :-1], scratch[1:], label[1:])
        for u in range(n):
            scratch[u] = label[u]
        _add_logs(scratch, labels[t], label)
        log_scale += _emit(blank, label, log_probs[t, 0], emitted[t])
    end_blank, end_label = blanks[n_frames, n - 1], labels[n_frames, n - 1]
    best = max(end_blank, end_label)
    if best < _IMPOSSIBLE:
        return math.inf
    log_scale += float(best) + math.log(
        math.exp(float(end_blank - best)) + math.exp(float(end_label - best))
    )

    blank = np.full(n, _NOTHING, np.float32)
    label = np.full(n, _NOTHING, np.float32)
    blank[n - 1] = _ZERO
    label[n - 1] = _ZERO
    label_before, blank_before = np.empty(n, np.float32), np.empty(n, np.float32)
    for t in range(n_frames - 1, -1, -1):
        _share(blanks[t + 1], labels[t + 1], blank, label, tokens, scratch, posteriors[t])
        _emit(blank, label, log_probs[t, 0], emitted[t])
        # After blank u: blank u or label u + 1; after label u, that and label u, but of the
        # labels u + 1 only one that is another.
        blank_before[n - 1] = blank[n - 1]
        _add_logs(blank[:-1], label[1:], blank_before[:-1])
        for u in range(n - 1):
            scratch[u] = label[u + 1] + skipped[u + 1]
        scratch[n - 1] = _NOTHING
        _add_logs(blank, scratch, label_before)
        for u in range(n):
            scratch[u] = label_before[u]
        _add_logs(scratch, label, label_before)
        label_before[0] = _NOTHING
        blank[:], label[:] = blank_before, label_before
    return -log_scale


def _add_logs(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """Set out to log(e^a + e^b)."""
    for u in range(len(out)):
        large, small = max(a[u], b[u]), min(a[u], b[u])
        out[u] = large + _log_1_plus(exp(small - large))


def _emit(blank: np.ndarray, label: np.ndarray, log_blank: float, emitted: np.ndarray) -> float:
    """Multiply by how likely the frame is each symbol, divide by the largest; return its log."""
    top = _NOTHING
    for u in range(len(blank)):
        blank[u] += log_blank
        top = max(top, blank[u])
    for u in range(len(label)):
        label[u] += emitted[u]
        top = max(top, label[u])
    if top < _IMPOSSIBLE:
        return 0.0
    for u in range(len(blank)):
        blank[u] = max(blank[u] - top, _NOTHING)
    for u in range(len(label)):
        label[u] = max(label[u] - top, _NOTHING)
    return float(top)


def _share(
    blank: np.ndarray,
    label: np.ndarray,
    blank_after: np.ndarray,
    label_after: np.ndarray,
    tokens: np.ndarray,
    scratch: np.ndarray,
    posteriors: np.ndarray,
) -> None:
    """Give each symbol its share of the paths' mass in a frame."""
    top = _NOTHING
    for u in range(len(blank)):
        top = max(top, blank[u] + blank_after[u])
    for u in range(len(label)):
        top = max(top, label[u] + label_after[u])
    total = _ZERO
    for u in range(len(blank)):
        scratch[u] = exp(blank[u] + blank_after[u] - top)
    for u in range(len(blank)):
        total += scratch[u]
    posteriors[0] = total
    for u in range(len(label)):
        scratch[u] = exp(label[u] + label_after[u] - top)
    for u in range(1, len(label)):
        posteriors[tokens[u - 1]] += scratch[u]
        total += scratch[u]
    for v in range(len(posteriors)):
        posteriors[v] /= total


@_inline
def _log_1_plus(x):  # type: ignore[no-untyped-def]
    """Return log(1 + x) for 0 <= x <= 1, to 1e-8: 2 artanh(x / (2 + x)) as a series."""
    z = x / (_TWO + x)
    s = z * z
    p = np.float32(1 / 13)
    p = p * s + np.float32(1 / 11)
    p = p * s + np.float32(1 / 9)
    p = p * s + np.float32(1 / 7)
    p = p * s + np.float32(1 / 5)
    p = p * s + np.float32(1 / 3)
    return _TWO * z * (p * s + _ONE)


_add_logs = _compiled(_add_logs)
_emit = _compiled(_emit)
_share = _compiled(_share)
_forward_backward = _compiled(_forward_backward)
