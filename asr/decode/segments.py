"""Long recordings as segments that are decoded apart, parted where nobody speaks."""

from dataclasses import replace
from heapq import nlargest

import numpy as np
from torch import Tensor

from asr.decode.beam import BeamHypothesis
from asr.decode.hypothesis import Word

__all__ = ["join_n_best", "part_at_pauses"]

_BLANK = 0


def part_at_pauses(log_probs: Tensor, max_frames: int) -> list[tuple[int, int]]:
    """Cut a recording into segments of at most `max_frames`, each cut in the surest pause.

    A pause is a run of frames whose best symbol is the blank.  The cut lies in the middle of the
    longest run of the second half of what a segment may hold; without any, where the blank is
    most probable.

    Args:
        log_probs: (T, V), natural logarithms; symbol 0 is the blank.
        max_frames: at least 2.

    Returns:
        (first frame, one behind the last) of each segment, in order, without gaps; one segment for
        a short recording, none for an empty one.
    """
    n_frames = len(log_probs)
    blank = log_probs[:, _BLANK].numpy()
    silent = (log_probs.argmax(dim=1) == _BLANK).numpy()
    segments = []
    start = 0
    while n_frames - start > max_frames:
        low, high = start + max_frames // 2, start + max_frames
        cut = _middle_of_longest_run(silent[low:high])
        cut = low + (int(blank[low:high].argmax()) if cut is None else cut)
        segments.append((start, cut))
        start = cut
    if start < n_frames:
        segments.append((start, n_frames))
    return segments


def _middle_of_longest_run(inside: np.ndarray) -> int | None:
    edges = np.diff(np.concatenate([[0], inside.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return None
    longest = int((ends - starts).argmax())
    return int(starts[longest] + ends[longest]) // 2


def join_n_best(
    segments: list[list[BeamHypothesis]], offsets: list[float], n_best: int
) -> list[BeamHypothesis]:
    """Return the best hypotheses of a whole recording from those of its segments.

    Segments are independent, so that a whole hypothesis is one of each, and its score their sum.

    Args:
        segments: hypotheses of each segment, best first.
        offsets: where each segment starts, in seconds.
        n_best: hypotheses wanted.
    """
    joined = [BeamHypothesis("", (), (), 0.0, 0.0, 0.0, 0.0, 0.0)]
    for hypotheses, offset in zip(segments, offsets, strict=True):
        moved = [_moved(hypothesis, offset) for hypothesis in hypotheses]
        pairs = nlargest(
            n_best,
            ((before, after) for before in joined for after in moved),
            key=lambda pair: pair[0].score + pair[1].score,
        )
        joined = [_joined(before, after) for before, after in pairs]
    return joined


def _moved(hypothesis: BeamHypothesis, offset: float) -> BeamHypothesis:
    words = tuple(
        Word(word.text, word.start + offset, word.end + offset, word.confidence)
        for word in hypothesis.words
    )
    return replace(hypothesis, words=words)


def _joined(before: BeamHypothesis, after: BeamHypothesis) -> BeamHypothesis:
    return BeamHypothesis(
        text=" ".join(filter(None, (before.text, after.text))),
        tokens=before.tokens + after.tokens,
        words=before.words + after.words,
        score=before.score + after.score,
        acoustic=before.acoustic + after.acoustic,
        ngram=before.ngram + after.ngram,
        neural=before.neural + after.neural,
        bonus=before.bonus + after.bonus,
    )
