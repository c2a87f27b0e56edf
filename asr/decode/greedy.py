"""Greedy CTC decoding: the best path, with word times and confidences."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from asr.decode.hypothesis import Hypothesis, Word
from asr.errors import AsrError
from asr.nn.masking import sequence_mask
from asr.text import PhoneTokenizer, Tokenizer

if TYPE_CHECKING:
    from asr.decode.nearest_words import NearestWords

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
    nearest: "NearestWords | None" = None,
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
        nearest: Of a tokenizer of phones, replaces words that its dictionary lacks, in text and
            words; tokens and score stay those of the path.

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
        word_end = tokenizer.word_end if isinstance(tokenizer, PhoneTokenizer) else None
        for row, length in enumerate(lengths.tolist()):
            path[row, :length], scores[row] = best_path(
                log_probs[row, :length], label_log_probs, word_end=word_end
            )
        path_log_probs = log_probs.gather(2, path.unsqueeze(2)).squeeze(2).double()
        path_log_probs = path_log_probs.masked_fill(~inside, 0)
    found = _find_runs(path.masked_fill(~inside, _BLANK), path_log_probs)
    limits = durations if durations is not None else [math.inf] * len(scores)
    hypotheses = []
    for row, (runs, score, limit) in enumerate(zip(found, scores, limits, strict=True)):
        tokens = tuple(run.token for run in runs)
        spans = _spans(tokenizer.split_words(tokens), runs)
        text = tokenizer.decode(tokens)
        if nearest is not None:
            frames = log_probs[row, : int(lengths[row])]
            spans = _with_nearest(spans, runs, frames, nearest)
            text = " ".join(span.word for span in spans)
        words = tuple(
            Word(
                text=span.word,
                start=span.first_frame * frame_seconds,
                end=min((span.last_frame + 1) * frame_seconds, limit),
                confidence=_confidence(runs[span.start : span.end]) * span.share,
            )
            for span in spans
        )
        hypotheses.append(Hypothesis(text, tokens, words, score))
    return hypotheses


class _Span(NamedTuple):
    """A word, the range of its runs, its frames, and how sure it is, given the runs."""

    word: str
    start: int
    end: int
    first_frame: int
    last_frame: int
    share: float = 1.0


def _spans(words: Sequence[tuple[str, int, int]], runs: Sequence[_Run]) -> list[_Span]:
    return [
        _Span(word, start, end, runs[start].first_frame, runs[end - 1].last_frame)
        for word, start, end in words
    ]


def _with_nearest(
    spans: Sequence[_Span], runs: Sequence[_Run], log_probs: Tensor, nearest: "NearestWords"
) -> list[_Span]:
    """Put words of the dictionary in the place of those that it lacks.

    These are looked for from behind the end of the word before to their own end, or to that of the
    recording.  The confidence is that of the phones heard, times the share of the probability of
    what may have been meant by them.
    """
    stretches = {}
    for span in spans:
        if not nearest.tokenizer.is_word([run.token for run in runs[span.start : span.end]]):
            first = runs[span.start - 1].last_frame + 1 if span.start else 0
            last = runs[span.end].last_frame if span.end < len(runs) else len(log_probs) - 1
            stretches[span] = (first, log_probs[first : last + 1])
    found = nearest.find([frames for _, frames in stretches.values()])
    words = {
        span: [
            span._replace(
                word=word.text,
                first_frame=first + round(word.start),
                last_frame=first + round(word.end) - 1,
                share=word.confidence,
            )
            for word in words
        ]
        for (span, (first, _)), words in zip(stretches.items(), found, strict=True)
    }
    return [each for span in spans for each in (words.get(span) or [span])]


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
