"""Word confidences: a word's share of the probability mass of the n-best."""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.decode.word_keys import Keys
from lm.automaton import compiled

__all__ = ["LEAST_MASS", "posteriors", "word_confidences"]

# Hypotheses with less of the mass than that change no confidence that is worth a look.
LEAST_MASS = 1e-4

_PRIME = np.int64((1 << 61) - 1)


def posteriors(scores: Sequence[float] | NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """P(y | x) of an n-best, proportional to exp(scale * score(y)), (N,)."""
    scaled = scale * np.asarray(scores, np.float64)
    mass = np.exp(scaled - scaled.max(initial=-np.inf))
    return np.asarray(mass / mass.sum())


def word_confidences(
    hypotheses: Sequence[Keys], masses: Sequence[float], n_wanted: int
) -> list[list[float]]:
    """Confidences of the words of the first hypotheses.

        confidence(word) = sum of P(y | x) over the y that have the same word at the same place

    Places come from an alignment of each hypothesis with the first, with the fewest insertions,
    deletions and substitutions.

    Args:
        hypotheses: Numbers that stand for the words of N hypotheses, the best first.
        masses: (N,) their shares of the probability mass.
        n_wanted: How many hypotheses' confidences to return.

    Returns:
        One number from 0 to 1 for each word.

    Reference: Mangu, Brill and Stolcke 2000, Finding consensus in speech recognition; Wessel et
    al. 2001, Confidence measures for large vocabulary continuous speech recognition.
    """
    if not hypotheses:
        return []
    kept = [i for i, mass in enumerate(masses) if i < n_wanted or mass >= LEAST_MASS]
    lengths = [len(hypotheses[index]) for index in kept]
    starts = np.cumsum([0, *lengths])
    words = np.concatenate([hypotheses[index] for index in kept])
    # The same word at the same place has the same sum, and next to nothing else has.
    _, groups = np.unique(words + _PRIME * _places(words, starts), return_inverse=True)
    mass_of_groups = np.bincount(groups, np.repeat([masses[index] for index in kept], lengths))
    values = np.minimum(1.0, mass_of_groups[groups]).tolist()
    ends = starts[: n_wanted + 1].tolist()
    return [values[first:end] for first, end in itertools.pairwise(ends)]


@compiled
def _places(words: Keys, starts: Keys) -> Keys:
    """A number for the place of each word beside the first hypothesis.

    That is the position there that it matches or replaces; or, for an inserted word, the position
    that it is inserted behind and the number of inserted words there up to it.

    Args:
        words: (N,) the words of all hypotheses, one after the other
        starts: (H + 1,) where each hypothesis begins
    """
    # Plain loops: what numpy offers takes seconds to compile.
    n_best, n_most = starts[1], 0
    for index in range(len(starts) - 1):
        n_most = max(n_most, starts[index + 1] - starts[index])
    # costs[i, j] of aligning the first i words of the first with the first j of another.
    costs = np.empty((n_best + 1, n_most + 1), np.int32)
    for i in range(n_best + 1):
        costs[i, 0] = i
    for j in range(n_most + 1):
        costs[0, j] = j
    stride = n_most + 1
    places = np.empty(len(words), np.int64)
    for index in range(len(starts) - 1):
        own = words[starts[index] : starts[index + 1]]
        for i in range(1, n_best + 1):
            for j in range(1, len(own) + 1):
                other = costs[i - 1, j - 1] + (words[i - 1] != own[j - 1])
                costs[i, j] = min(other, min(costs[i - 1, j], costs[i, j - 1]) + 1)
        placed = places[starts[index] : starts[index + 1]]
        i, j = n_best, len(own)
        while j > 0:
            if i and costs[i, j] == costs[i - 1, j - 1] + (words[i - 1] != own[j - 1]):
                i, j = i - 1, j - 1
                placed[j] = (i + 1) * stride
            elif i and costs[i, j] == costs[i - 1, j] + 1:
                i -= 1
            else:
                j -= 1
                placed[j] = i * stride + 1
        for j in range(1, len(own)):
            # Behind another inserted word.
            if placed[j] % stride and placed[j] // stride == placed[j - 1] // stride:
                placed[j] = max(placed[j], placed[j - 1] + 1)
    return places
