"""The best path of a model trained with CTC-CRF, to whose score its label trigram belongs.

CTC takes the likeliest symbol of each frame.  CTC-CRF leaves to a label trigram which labels
follow which (`asr.models.ctc_crf`), and so its best path is one of the whole utterance:

    argmax over paths pi:  sum over t of log y_t(pi_t)  +  s log p(labels of pi)  -  w |words|

The search is Viterbi's, over (the last two labels, whether the frame is blank).
"""

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["best_path"]

_BLANK = 0  # among labels: what is before the first two, and after the last

# Of sums over paths s = 1 would be right; of single paths, whose score is less than that of all
# paths of the labels, it is too much (recipes/librispeech/README.md has what it is worth).
_TRIGRAM_SCALE = 0.5

# So does a best path end too many words, where a label ends them (w).
_WORD_END_SCORE = -1.5

# A long recording is searched in blocks.  What is decided of each is so far from its end that what
# comes behind has no say in it.
_BLOCK_FRAMES = 1500
_LAG_FRAMES = 250

# What is so much worse than the best of its frame, in nats, does not win any more: 30, half as
# fast, finds the same paths of 500 utterances.
_THRESHOLD = np.float32(15)
_NOTHING = np.float32(-1e30)
_STAYED = 255

_Floats = NDArray[np.float32]


def best_path(
    log_probs: Tensor, label_log_probs: Tensor, *, word_end: int | None = None
) -> tuple[Tensor, float]:
    """Return the symbol of each frame on the best path, (T,) int64, and its score.

    Args:
        log_probs: log y, (T, V), finite, symbol 0 is the blank; V is at most 255.
        label_log_probs: log p(c | a b) at [a, b, c], (V, V, V); see `LabelTrigram`.
        word_end: the label that ends each word, if there is one.
    """
    log_probs = log_probs.detach().cpu()
    label_scores = _TRIGRAM_SCALE * label_log_probs.detach().float().cpu()
    if word_end is not None:
        label_scores[:, :, word_end] += _WORD_END_SCORE
    rows = log_probs.float().contiguous().numpy()
    weights = label_scores.numpy()
    every = np.arange(rows.shape[1])
    end, repeat = weights[:, :, _BLANK].copy(), weights[:, every, every].copy()
    change = weights.copy()
    change[:, :, _BLANK] = change[:, every, every] = repeat[:, _BLANK] = _NOTHING
    symbols = np.empty(len(rows), np.int64)
    state, done = (_BLANK, _BLANK, False), 0
    while done < len(rows):
        block = rows[done : done + _BLOCK_FRAMES]
        is_last = done + len(block) == len(rows)
        n_kept = len(block) if is_last else len(block) - _LAG_FRAMES
        found, state = _search(block, change, repeat, end, state, n_kept, is_last)
        symbols[done : done + n_kept] = found[:n_kept]
        done += n_kept
    path = torch.from_numpy(symbols)
    return path, _score(path, log_probs, label_scores)


def _score(path: Tensor, log_probs: Tensor, label_scores: Tensor) -> float:
    symbols = torch.unique_consecutive(path)
    edge = symbols.new_full((2,), _BLANK)
    labels = torch.cat([edge, symbols[symbols != _BLANK], edge[:1]])
    of_labels = label_scores[labels[:-2], labels[1:-1], labels[2:]].double().sum()
    of_frames = log_probs.gather(1, path.unsqueeze(1)).double().sum()
    return float(of_frames + of_labels)


@numba.njit(cache=True, nogil=True)
def _search(
    log_probs: _Floats,
    change: _Floats,
    repeat: _Floats,
    end: _Floats,
    state: tuple[int, int, bool],
    n_kept: int,
    is_last: bool,
) -> tuple[NDArray[np.int64], tuple[int, int, bool]]:
    """Return the best path from a state on, (T,), and its state after `n_kept` frames."""
    n_frames, n = log_probs.shape
    blank, label = np.full((n, n), _NOTHING), np.full((n, n), _NOTHING)
    new_blank, new_label = np.empty_like(blank), np.empty_like(label)
    first, second, said = state
    (label if said else blank)[first, second] = np.float32(0)
    # Of a state (a b): was its label said in the frame before (else the blank)?  Of a label: what
    # was before the one that it follows, or that it stayed.
    was_said = np.zeros((n_frames, n, n), np.bool_)
    history = np.zeros((n_frames, n, n), np.uint8)
    best = np.float32(0)
    for t in range(n_frames):
        emitted, came = log_probs[t], history[t]
        new_blank[:] = _NOTHING
        new_label[:] = _NOTHING
        for a in range(n):
            for b in range(n):
                either = max(blank[a, b], label[a, b])
                if either < best - _THRESHOLD:
                    continue
                either -= best
                new_blank[a, b] = either + emitted[0]
                was_said[t, a, b] = label[a, b] > blank[a, b]
                if label[a, b] - best > new_label[a, b]:
                    new_label[a, b] = label[a, b] - best
                    came[a, b] = _STAYED
                row, following = new_label[b], change[a, b]
                for c in range(1, n):
                    if either + following[c] > row[c]:
                        row[c] = either + following[c]
                        came[b, c] = a
                again = blank[a, b] - best + repeat[a, b]
                if again > row[b]:
                    row[b] = again
                    came[b, b] = a
        best = _NOTHING
        for a in range(n):
            for b in range(1, n):
                new_label[a, b] += emitted[b]
                best = max(best, new_label[a, b], new_blank[a, b])
            best = max(best, new_blank[a, 0])
        blank, new_blank = new_blank, blank
        label, new_label = new_label, label
    first, second, said = 0, 0, False
    top = np.float32(2) * _NOTHING
    for a in range(n):
        for b in range(n):
            score = max(blank[a, b], label[a, b])
            if is_last:
                score += end[a, b]
            if score > top:
                top, first, second, said = score, a, b, label[a, b] > blank[a, b]
    path = np.zeros(n_frames, np.int64)
    kept = (first, second, said)
    for t in range(n_frames - 1, -1, -1):
        if t == n_kept - 1:
            kept = (first, second, said)
        if not said:
            said = was_said[t, first, second]
            continue
        path[t] = second
        before = history[t, first, second]
        if before != _STAYED:
            repeats = first == second
            first, second = before, first
            said = False if repeats else was_said[t, first, second]
    return path, kept
