"""Greedy CTC decoding: the best path, with word times and confidences."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.decode.hypothesis import Hypothesis, Word
from asr.errors import AsrError
from asr.nn.masking import sequence_mask
from asr.text import Tokenizer

__all__ = ["greedy"]

_BLANK = 0


class _Run(NamedTuple):
    """Adjacent frames of a best path with the same symbol, not the blank: one token."""

    token: int
    first_frame: int
    last_frame: int
    log_confidence: float


def greedy(
    log_probs: Tensor,
    lengths: Tensor,
    tokenizer: Tokenizer,
    frame_seconds: float,
    *,
    durations: Sequence[float] | None = None,
    label_log_probs: Tensor | None = None,
) -> list[Hypothesis]:
    """Decode a batch along the best path: collapse repeats, then drop blanks.

        path[t] = argmax_k log P(k | x, t)

    or, of a model trained with CTC-CRF, the path that is best together with the trigram of its
    labels (`asr.decode.best_path`).  The score is the path's log-probability, the sum over t of
    log P(path[t] | x, t), with the trigram's part where there is one.  A token's
    confidence is the geometric mean of P(path[t] | x, t) over its frames, a word's the geometric
    mean over its tokens: 0 to 1, and a long word is not less sure for being long.

    Args:
        log_probs: (B, T, V), natural logarithms; symbol 0 is the blank.
        lengths: (B,) int64, frames; 0 gives an empty hypothesis.
        tokenizer: Turns tokens into text and words.
        frame_seconds: Seconds from one frame to the next: hop times subsampling factor.
        durations: Seconds of each utterance; word times stop there.  Without it they stop at the
            end of the last frame, which can lie some hops behind the end of the audio.
        label_log_probs: (V, V, V), the label trigram that belongs to the model, if one does.

    Returns:
        B hypotheses, in the batch's order.

    Raises:
        AsrError: If the log-probabilities of a valid frame are NaN.

    Reference: Graves et al., "Connectionist temporal classification", ICML 2006, section 3.2.
    """
    path_log_probs, path = (part.cpu() for part in log_probs.detach().max(dim=-1))
    inside = sequence_mask(lengths.cpu(), path.shape[1])
    path_log_probs = path_log_probs.double().masked_fill(~inside, 0)
    scores = path_log_probs.sum(dim=1).tolist()
    for row, score in enumerate(scores):
        if math.isnan(score):
            raise AsrError(
                f"the model's output for utterance {row} of the batch is NaN: its weights are "
                "damaged or the precision too low; check the model, or use float32"
            )
    if label_log_probs is not None:
        # Here, because Numba takes a while to import.
        from asr.decode.best_path import best_path

        log_probs = log_probs.detach().cpu()
        for row, length in enumerate(lengths.tolist()):
            path[row, :length], scores[row] = best_path(log_probs[row, :length], label_log_probs)
        path_log_probs = log_probs.gather(2, path.unsqueeze(2)).squeeze(2).double()
        path_log_probs = path_log_probs.masked_fill(~inside, 0)
    found = _find_runs(path.masked_fill(~inside, _BLANK), path_log_probs)
    limits = durations if durations is not None else [math.inf] * len(scores)
    hypotheses = []
    for runs, score, limit in zip(found, scores, limits, strict=True):
        tokens = tuple(run.token for run in runs)
        words = tuple(
            Word(
                text=word,
                start=runs[start].first_frame * frame_seconds,
                end=min((runs[end - 1].last_frame + 1) * frame_seconds, limit),
                confidence=_confidence(runs[start:end]),
            )
            for word, start, end in tokenizer.split_words(tokens)
        )
        hypotheses.append(Hypothesis(tokenizer.decode(tokens), tokens, words, score))
    return hypotheses


def _confidence(runs: Sequence[_Run]) -> float:
    # Log-probabilities that rounding lifted above 0 must not give more than certainty.
    return min(1.0, math.exp(sum(run.log_confidence for run in runs) / len(runs)))


def _find_runs(path: Tensor, path_log_probs: Tensor) -> list[list[_Run]]:
    """Find the tokens of each path (B, T)."""
    is_token = path != _BLANK
    around = F.pad(path, (1, 1), value=_BLANK)
    starts = (is_token & (path != around[:, :-2])).nonzero()
    ends = (is_token & (path != around[:, 2:])).nonzero()
    # nonzero goes row by row, so that the n-th start and the n-th end belong to one run.
    (rows, first), last = starts.unbind(1), ends[:, 1]
    sums = F.pad(path_log_probs.cumsum(dim=1), (1, 0))
    means = (sums[rows, last + 1] - sums[rows, first]) / (last + 1 - first)
    tokens = path[rows, first]
    runs: list[list[_Run]] = [[] for _ in path]
    table = torch.stack([rows, tokens, first, last]).T.tolist()
    for (row, token, first_frame, last_frame), mean in zip(table, means.tolist(), strict=True):
        runs[row].append(_Run(token, first_frame, last_frame, mean))
    return runs
