"""Interpolated modified Kneser-Ney estimates, entry for entry those of `lmplz`.

    P(w | h) = (a(h w) - D(a(h w))) / sum_v a(h v) + gamma(h) P(w | h without its first word)

a counts occurrences at the highest order and after <s>, else the different words that occur
before the n-gram; D takes one of three discounts off by a being 1, 2 or more; gamma(h) is
what the discounts and the pruned n-grams leave.  Below the unigrams stands the uniform
distribution over all words, </s> and <unk>.

Reference: Chen and Goodman 1998, An Empirical Study of Smoothing Techniques for Language
Modeling; Heafield et al. 2013, Scalable Modified Kneser-Ney Language Model Estimation.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.backoff import END, START, UNKNOWN, BackoffModel, Ints, Ngrams
from lm.corpus import Progress
from lm.counts import Counts, NgramCounts

__all__ = ["FALLBACK", "Discounts", "Smoothing", "estimate"]

logger = logging.getLogger(__name__)

# For n-grams counted once, twice and more often.
Discounts = tuple[float, float, float]

# What `lmplz --discount_fallback` takes when it is given no values.
FALLBACK: Discounts = (0.5, 1.0, 1.5)

_Mask = NDArray[np.bool_]
_Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """How counts become probabilities; the options of `lmplz` of the same names.

    Args:
        prune: n-grams that occur no more often than this are left out, one threshold for each
            order from 1, not decreasing; the last holds for the orders that follow
        discount_fallback: discounts for orders whose counts allow no estimate; None: an error
        interpolate_unigrams: False gives <unk> what the unigrams' discounts leave
    """

    prune: Sequence[int] = (0,)
    discount_fallback: Discounts | None = None
    interpolate_unigrams: bool = True

    def thresholds(self, order: int) -> list[int]:
        """The threshold of each order.

        Raises:
            LanguageModelError: they are negative, decrease or are more than the orders
        """
        given = list(self.prune) or [0]
        if min(given) < 0 or given != sorted(given) or len(given) > order:
            raise LanguageModelError(
                f"prune {' '.join(map(str, given))}: at most {order} thresholds of at least 0 are "
                "needed that do not decrease, one for each order"
            )
        return given + given[-1:] * (order - len(given))


def estimate(
    counts: Counts,
    smoothing: Smoothing = Smoothing(),
    *,
    vocabulary: Iterable[str] | None = None,
    keep_words: bool = False,
    on_progress: Progress | None = None,
) -> BackoffModel:
    """Estimate a model from n-gram counts.

    Args:
        counts: from `count_ngrams`
        smoothing: pruning and discounts
        vocabulary: n-grams with any other word are left out, as `lmplz --limit_vocab_file` does:
            their probability goes to the shorter contexts, little of it to <unk>
        keep_words: words stay, too, that do not occur in a text whose vocabulary was fixed before;
            they share with <unk> what the discounts leave
        on_progress: told the orders done

    Returns:
        The n-grams in `lmplz`'s sequence: by last word, then the one before, ...

    Raises:
        LanguageModelError: the counts allow no discounts (little or artificial text), or
            impossible thresholds
    """
    kept = _kept(counts, smoothing, vocabulary, keep_words)
    # Includes <unk>, and <s>, which is never predicted.
    lower = np.full(1, 1.0 / (np.count_nonzero(kept[0]) - 1))
    probs: list[_Doubles] = []
    backoffs: list[_Doubles] = []
    for n, level in enumerate(counts.orders, start=1):
        discounts = _discounts(_as_counted_by_lmplz(counts, n), n, smoothing)
        context = counts.contexts[n - 1]
        own, gamma = _discounted(level, context, kept[n - 1], discounts, len(lower))
        if n == 1 and not smoothing.interpolate_unigrams:
            own[UNKNOWN], gamma[0] = gamma[0], 0.0
        lower = own + gamma[context] * lower[level.suffixes]
        if n == 1:
            lower[START] = 1.0
        else:
            backoffs.append(gamma)
        probs.append(lower)
        if on_progress is not None:
            on_progress("estimating probabilities", n, len(counts.orders))
    backoffs.append(np.ones(len(lower)))
    return _model(counts, kept, probs, backoffs)


def _kept(
    counts: Counts, smoothing: Smoothing, vocabulary: Iterable[str] | None, keep_words: bool
) -> list[_Mask]:
    """Which n-grams of each order stay in the model."""
    allowed = np.ones(len(counts.vocabulary), np.bool_)
    if vocabulary is not None:
        listed = set(vocabulary)
        allowed = np.fromiter((word in listed for word in counts.vocabulary), np.bool_)
        allowed[[UNKNOWN, START, END]] = True
    thresholds = smoothing.thresholds(len(counts.orders))
    masks = [allowed & (keep_words | (counts.orders[0].occurrences > thresholds[0]))]
    masks[0][[UNKNOWN, START, END]] = True
    within = allowed
    for level, threshold in zip(counts.orders[1:], thresholds[1:], strict=True):
        within = within[level.suffixes] & allowed[level.first_words]
        masks.append(within & (level.occurrences > threshold))
    return masks


def _as_counted_by_lmplz(counts: Counts, n: int) -> NDArray[np.int64]:
    """The counts from which `lmplz` takes the discounts of an order.

    They are the continuations; but the very last n-gram of each order below the highest goes in
    with its occurrences, which shows in small texts.
    """
    adjusted = counts.orders[n - 1].continuations
    if n == len(counts.orders):
        return adjusted
    last = len(counts.orders[0]) - 1
    for level in counts.orders[1:n]:
        if not len(level) or level.suffixes[-1] != last:
            return adjusted
        last = len(level) - 1
    adjusted = adjusted.copy()
    adjusted[-1] = counts.orders[n - 1].occurrences[-1]
    return adjusted


def _discounts(adjusted: NDArray[np.int64], n: int, smoothing: Smoothing) -> Discounts:
    """Chen and Goodman's equation 26:  D_k = k - (k + 1) n_1 / (n_1 + 2 n_2) n_(k+1) / n_k."""
    n_1, n_2, n_3, n_4 = (np.count_nonzero(adjusted == k) for k in range(1, 5))
    if n_1 and n_2 and n_3:
        y = n_1 / (n_1 + 2 * n_2)
        found = (1 - 2 * y * n_2 / n_1, 2 - 3 * y * n_3 / n_2, 3 - 4 * y * n_4 / n_3)
        if all(0 <= discount <= k for k, discount in enumerate(found, start=1)):
            return found
    if smoothing.discount_fallback is None:
        raise LanguageModelError(
            f"{n}-grams: no Kneser-Ney discounts follow from {n_1}, {n_2}, {n_3} and {n_4} n-grams "
            "counted 1, 2, 3 and 4 times; more text with its repetitions taken out is needed, or "
            "--discount-fallback"
        )
    fallback = smoothing.discount_fallback
    logger.warning("%d-grams: the counts allow no discounts, %s are taken", n, fallback)
    return fallback


def _discounted(
    level: NgramCounts, context: Ints, kept: _Mask, discounts: Discounts, n_contexts: int
) -> tuple[_Doubles, _Doubles]:
    """Each n-gram's own share, and what is left for the order below in each context."""
    adjusted = level.continuations.astype(np.float64)
    discount = np.array((0.0, *discounts))[np.minimum(level.continuations, 3)]
    totals = np.bincount(context, adjusted, n_contexts)
    # A pruned n-gram leaves its whole count.
    left = np.bincount(context, np.where(kept, discount, adjusted), n_contexts)
    gamma = np.ones(n_contexts)
    np.divide(left, totals, out=gamma, where=totals > 0)
    return (adjusted - discount) / totals[context], gamma


def _model(
    counts: Counts, kept: list[_Mask], probs: list[_Doubles], backoffs: list[_Doubles]
) -> BackoffModel:
    ids = (np.cumsum(kept[0]) - 1).astype(np.int32)
    vocabulary = tuple(
        word for word, stays in zip(counts.vocabulary, kept[0], strict=True) if stays
    )
    orders = []
    for n, mask in enumerate(kept, start=1):
        words = counts.words(n) if mask.all() else counts.words(n)[mask]
        orders.append(
            Ngrams(
                ids[words],
                np.minimum(np.log(probs[n - 1][mask]), 0.0).astype(np.float32),
                # A discount may be 0 and leave nothing for the order below; ARPA writes -99 then.
                np.log(np.maximum(backoffs[n - 1][mask], 1e-99)).astype(np.float32),
            )
        )
    return BackoffModel(vocabulary, tuple(orders))
