"""N-gram counts of every order, and maximum-likelihood estimates from them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.backoff import END, START, BackoffModel, Ints, Ngrams
from lm.corpus import Corpus

__all__ = ["Counts", "NgramCounts", "count_ngrams", "maximum_likelihood"]

# ARPA files cannot hold log 0; -99 in log10 is what SRILM writes for it.
_LOG_ZERO = -99.0 * float(np.log(10.0))


@dataclass(frozen=True)
class NgramCounts:
    """The n-grams of one order that occur, sorted by last word, then the one before, ...

    Args:
        suffixes: (N,) index, in the order below, of the n-gram without its first word
        first_words: (N,) the first word
        occurrences: (N,) how often the n-gram occurs
        continuations: (N,) how many different words occur before it; `occurrences` where
            none can (at <s>) or none was counted (at the highest order)
    """

    suffixes: Ints
    first_words: Ints
    occurrences: NDArray[np.int64]
    continuations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first_words)


@dataclass(frozen=True)
class Counts:
    """N-gram counts of the orders 1, 2, ... of a text.

    Unigrams stand at their word's id; <s> occurs as a context only and counts 0.
    """

    vocabulary: tuple[str, ...]
    orders: tuple[NgramCounts, ...]

    @cached_property
    def contexts(self) -> list[Ints]:
        """For each order, each n-gram's context: an index into the order below."""
        found: list[Ints] = [np.zeros(len(self.orders[0]), np.int32)]
        n_words = len(self.vocabulary)
        for lower, counts in zip(self.orders, self.orders[1:], strict=False):
            if len(found) == 1:
                found.append(counts.first_words)
                continue
            keys = _pack(lower.suffixes, lower.first_words, n_words)
            wanted = _pack(found[-1][counts.suffixes], counts.first_words, n_words)
            found.append(_find_sorted(keys, wanted))
        return found

    def words(self, order: int) -> Ints:
        """The word ids of all n-grams of an order, (N, order)."""
        counts = self.orders[order - 1]
        columns = np.empty((len(counts), order), np.int32)
        rows: Ints = np.arange(len(counts), dtype=np.int32)
        for column in range(order):
            level = self.orders[order - 1 - column]
            columns[:, column] = level.first_words[rows]
            rows = level.suffixes[rows]
        return columns

    def up_to(self, order: int) -> "Counts":
        """What `count_ngrams` gives for a lower order."""
        highest = self.orders[order - 1]
        highest = replace(highest, continuations=highest.occurrences)
        return Counts(self.vocabulary, (*self.orders[: order - 1], highest))

    def occurrences_of(self, ngrams: Ints) -> NDArray[np.int64]:
        """How often each n-gram (N, n) of word ids occurs; 0 where it does not."""
        rows, found = ngrams[:, -1], np.ones(len(ngrams), np.bool_)
        n_words = len(self.vocabulary)
        for column, level in zip(range(ngrams.shape[1] - 2, -1, -1), self.orders[1:], strict=False):
            if not len(level):
                return np.zeros(len(ngrams), np.int64)
            keys = _pack(level.suffixes, level.first_words, n_words)
            wanted = _pack(rows, ngrams[:, column], n_words)
            rows = np.minimum(_find_sorted(keys, wanted), len(keys) - 1)
            found &= keys[rows] == wanted
        occurrences = self.orders[ngrams.shape[1] - 1].occurrences[rows]
        return np.where(found, occurrences, 0)


def _pack(high: Ints, low: Ints, n_low: int) -> NDArray[np.int64]:
    return high.astype(np.int64) * n_low + low


def _find_sorted(keys: NDArray[np.int64], wanted: NDArray[np.int64]) -> Ints:
    """Where each wanted key stands in sorted keys; looked up in order, which spares the cache."""
    order = np.argsort(wanted)
    found = np.empty(len(wanted), np.int32)
    found[order] = np.searchsorted(keys, wanted[order])
    return found


def count_ngrams(corpus: Corpus, order: int) -> Counts:
    """Count the n-grams of the orders 1 to `order`, sentence ends included.

    The n-grams of the highest order, one at each token, are sorted by last word first; those of
    the lower orders are then runs of neighbours.  Memory peaks, with `estimate`, at some 60 bytes
    a token at order 3 and 130 at order 5.

    Raises:
        LanguageModelError: order < 1
    """
    if order < 1:
        raise LanguageModelError(f"order {order}: an n-gram model needs an order of at least 1")
    columns, counts = _highest_order(corpus.tokens, len(corpus.vocabulary), order)
    n_words = len(corpus.vocabulary)
    edges = _edges(columns[0])
    levels: list[NgramCounts] = []
    ranks: Ints = columns[0]
    for n in range(1, order + 1):
        starts = np.flatnonzero(edges)
        first_words = columns[n - 1][starts]
        # Beyond <s> the columns only repeat it: no n-gram.
        valid = columns[n - 2][starts] != START if n > 1 else np.ones(len(starts), np.bool_)
        occurrences = np.add.reduceat(counts, starts)
        continuations = occurrences
        if n < order:
            edges = edges | _edges(columns[n])
            continuations = np.add.reduceat(edges, starts, dtype=np.int64)
            continuations = np.where(first_words == START, occurrences, continuations)
        suffixes = ranks[starts] if n > 1 else np.zeros(len(starts), np.int32)
        fields = (suffixes, first_words, occurrences, continuations)
        level = NgramCounts(*(field[valid] for field in fields))
        levels.append(_dense(level, n_words) if n == 1 else level)
        if 1 < n < order:
            marks = np.zeros(len(counts), np.int32)
            marks[starts[valid]] = 1
            ranks = np.cumsum(marks, dtype=np.int32) - np.int32(1)
    return Counts(corpus.vocabulary, tuple(levels))


def _edges(column: Ints) -> NDArray[np.bool_]:
    """Where a column's entry differs from the one above."""
    return np.concatenate([np.ones(1, np.bool_), column[1:] != column[:-1]])


def _dense(unigrams: NgramCounts, n_words: int) -> NgramCounts:
    """Unigrams with one row per word id."""
    words = unigrams.first_words
    occurrences = np.zeros(n_words, np.int64)
    continuations = np.zeros(n_words, np.int64)
    occurrences[words] = unigrams.occurrences
    continuations[words] = unigrams.continuations
    every = np.arange(n_words, dtype=np.int32)
    return NgramCounts(np.zeros(n_words, np.int32), every, occurrences, continuations)


def _highest_order(tokens: Ints, n_words: int, order: int) -> tuple[list[Ints], NDArray[np.int64]]:
    """The different n-grams at all tokens, <s> before the sentence's start, and their counts.

    Returns:
        Columns of words, the last word first, sorted; the count of each row.
    """
    position = np.arange(len(tokens), dtype=np.int32)
    starts = np.zeros(len(tokens), np.int32)
    starts[1:] = np.where(tokens[:-1] == END, position[1:], 0)
    position -= np.maximum.accumulate(starts)
    del starts
    keys = tokens.astype(np.int64)
    n_keys = n_words
    packed: list[tuple[NDArray[np.int64] | None, int]] = [(None, 0)]
    for back in range(1, order):
        if n_keys * n_words >= 1 << 63:
            unique, keys = np.unique(keys, return_inverse=True)
            packed.append((unique, 0))
            n_keys = len(unique)
        before = np.full(len(tokens), START, np.int32)
        before[back:] = np.where(position[back:] >= back, tokens[:-back], START)
        keys *= n_words
        keys += before
        n_keys *= n_words
        packed[-1] = (packed[-1][0], packed[-1][1] + 1)
    unique, counts = _unique_counts(keys)
    columns: list[Ints] = []
    for table, n_packed in reversed(packed):
        for _ in range(n_packed):
            columns.append((unique % n_words).astype(np.int32))
            unique //= n_words
        if table is not None:
            unique = table[unique]
    columns.append(unique.astype(np.int32))
    return columns[::-1], counts


def _unique_counts(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys.sort()
    edges = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), edges])
    return keys[starts], np.diff(starts, append=len(keys))


def maximum_likelihood(counts: Counts) -> BackoffModel:
    """Relative frequencies, with nothing left for what did not occur.

        P(w | h) = c(h w) / sum_v c(h v)

    A context that occurred has the back-off weight 1e-99, the zero of ARPA files; unknown words
    and others that did not occur (<unk>, <s>) have that probability too.
    """
    orders: list[Ngrams] = []
    contexts = counts.contexts
    for n, level in enumerate(counts.orders, start=1):
        weights = level.occurrences.astype(np.float64)
        totals = np.bincount(contexts[n - 1], weights)
        ratios = weights / totals[contexts[n - 1]]
        log_probs = np.full(len(level), _LOG_ZERO)
        np.log(ratios, out=log_probs, where=ratios > 0)
        backoffs = np.zeros(len(level))
        if n < len(counts.orders):
            backoffs[contexts[n]] = _LOG_ZERO
        orders.append(
            Ngrams(counts.words(n), log_probs.astype(np.float32), backoffs.astype(np.float32))
        )
    orders[0].log_probs[START] = 0.0
    return BackoffModel(counts.vocabulary, tuple(orders))
