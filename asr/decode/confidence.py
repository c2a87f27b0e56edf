"""Word confidences: a word's share of the probability mass of the n-best."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lm.automaton import compiled
from lm.backoff import Ints

__all__ = ["LEAST_MASS", "posteriors", "word_confidences"]

# Hypotheses with less of the mass than that change no confidence that is worth a look.
LEAST_MASS = 1e-4


def posteriors(scores: Sequence[float] | NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """P(y | x) of an n-best, proportional to exp(scale * score(y)), (N,)."""
    scaled = scale * np.asarray(scores, np.float64)
    mass = np.exp(scaled - scaled.max(initial=-np.inf))
    return np.asarray(mass / mass.sum())


def word_confidences(
    hypotheses: Sequence[Sequence[str]], masses: Sequence[float], n_wanted: int
) -> list[list[float]]:
    """Confidences of the words of the first hypotheses.

        confidence(word) = sum of P(y | x) over the y that have the same word at the same place

    Places come from an alignment of each hypothesis with the first, with the fewest insertions,
    deletions and substitutions.

    Args:
        hypotheses: The words of N hypotheses, the best first.
        masses: (N,) their shares of the probability mass.
        n_wanted: How many hypotheses' confidences to return.

    Returns:
        One number from 0 to 1 for each word.

    Reference: Mangu, Brill and Stolcke 2000, Finding consensus in speech recognition; Wessel et
    al. 2001, Confidence measures for large vocabulary continuous speech recognition.
    """
    ids: dict[str, int] = {}
    shares: defaultdict[tuple[int, int, int], float] = defaultdict(float)
    wanted: list[list[tuple[int, int, int]]] = []
    best = _word_ids(hypotheses[0], ids) if hypotheses else np.zeros(0, np.int32)
    for index, (words, mass) in enumerate(zip(hypotheses, masses, strict=True)):
        if index >= n_wanted and mass < LEAST_MASS:
            continue
        own = _word_ids(words, ids)
        positions, insertions = _places(best, own)
        placed = list(zip(positions.tolist(), insertions.tolist(), own.tolist(), strict=True))
        for key in placed:
            shares[key] += mass
        if index < n_wanted:
            wanted.append(placed)
    return [[min(1.0, shares[key]) for key in placed] for placed in wanted]


def _word_ids(words: Sequence[str], ids: dict[str, int]) -> Ints:
    return np.array([ids.setdefault(word, len(ids)) for word in words], np.int32)


@compiled
def _places(best: Ints, words: Ints) -> tuple[Ints, Ints]:
    """The place of each word.

    Returns:
        The position in the best hypothesis that each word matches or replaces, or behind which it
        is inserted; the number of inserted words there up to it, 0 for a word not inserted.
    """
    n_best, n_words = len(best), len(words)
    # costs[i, j] of aligning the first i of `best` with the first j words.
    costs = np.empty((n_best + 1, n_words + 1), np.int32)
    costs[0] = np.arange(n_words + 1)
    for i in range(1, n_best + 1):
        costs[i, 0] = i
        for j in range(1, n_words + 1):
            other = costs[i - 1, j - 1] + (best[i - 1] != words[j - 1])
            costs[i, j] = min(other, costs[i - 1, j] + 1, costs[i, j - 1] + 1)
    positions = np.empty(n_words, np.int32)
    insertions = np.zeros(n_words, np.int32)
    i, j = n_best, n_words
    while j > 0:
        if i and costs[i, j] == costs[i - 1, j - 1] + (best[i - 1] != words[j - 1]):
            i, j = i - 1, j - 1
            positions[j] = i
        elif i and costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
            positions[j] = i - 1
            insertions[j] = 1
    for j in range(1, n_words):
        if insertions[j] and positions[j] == positions[j - 1]:
            insertions[j] = insertions[j - 1] + 1
    return positions, insertions
