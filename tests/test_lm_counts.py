"""N-gram counts against counting by hand, and relative frequencies."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from lm.corpus import corpus_from_sentences
from lm.counts import Counts, count_ngrams, maximum_likelihood
from lm.table import NgramTable
from tests.lm_models import backoff_log_prob, golden_lines, sums_to_one, texts

Gram = tuple[str, ...]


def _listed(counts: Counts, order: int) -> list[Gram]:
    return [tuple(counts.vocabulary[w] for w in words) for words in counts.words(order)]


def _by_hand(sentences: list[list[str]], order: int) -> tuple[Counter[Gram], Counter[Gram]]:
    """Occurrences, and different words before, of all n-grams of an order (> 1)."""
    occurrences: Counter[Gram] = Counter()
    longer: set[Gram] = set()
    for sentence in sentences:
        words = ["<s>", *sentence, "</s>"]
        spans = [tuple(words[i : i + order]) for i in range(len(words) - order + 1)]
        occurrences.update(spans)
        longer.update(tuple(words[i : i + order + 1]) for i in range(len(words) - order))
    before = Counter(gram[1:] for gram in longer)
    for gram in occurrences:
        if gram[0] == "<s>":
            before[gram] = occurrences[gram]
    return occurrences, before


@settings(max_examples=60)
@given(texts, st.integers(2, 5))
def test_counts_equal_counting_by_hand(sentences: list[list[str]], order: int) -> None:
    counts = count_ngrams(corpus_from_sentences(sentences), order)
    assert len(counts.orders) == order
    for n in range(2, order + 1):
        occurrences, before = _by_hand(sentences, n)
        level = counts.orders[n - 1]
        grams = _listed(counts, n)
        assert dict(zip(grams, level.occurrences.tolist(), strict=True)) == occurrences
        expected = occurrences if n == order else before
        found = dict(zip(grams, level.continuations.tolist(), strict=True))
        assert found == {gram: expected[gram] for gram in grams}
        lower = _listed(counts, n - 1)
        assert [lower[row] for row in level.suffixes] == [gram[1:] for gram in grams]
        assert [lower[row] for row in counts.contexts[n - 1]] == [gram[:-1] for gram in grams]


@settings(max_examples=60)
@given(texts, texts, st.integers(1, 4))
def test_occurrences_of_any_ngrams(
    sentences: list[list[str]], others: list[list[str]], order: int
) -> None:
    counts = count_ngrams(corpus_from_sentences([*sentences, list("ABCDE")]), 4)
    asked = sorted(_by_hand([*others, list("EDCBA")], order)[0])
    ids = np.array([[counts.vocabulary.index(w) for w in gram] for gram in asked], np.int32)
    occurrences, _ = _by_hand([*sentences, list("ABCDE")], order)
    if order == 1:
        del occurrences[("<s>",)]
    assert counts.occurrences_of(ids).tolist() == [occurrences[gram] for gram in asked]


def test_nothing_longer_than_a_text_occurs() -> None:
    counts = count_ngrams(corpus_from_sentences([[], []]), 4)
    assert counts.occurrences_of(np.array([[1, 2, 2, 2]], np.int32)).tolist() == [0]
    assert counts.occurrences_of(np.array([[1, 2]], np.int32)).tolist() == [2]


@settings(max_examples=30)
@given(texts, st.integers(1, 4))
def test_lower_orders_need_no_counting_anew(sentences: list[list[str]], order: int) -> None:
    corpus = corpus_from_sentences(sentences)
    cut, anew = count_ngrams(corpus, 4).up_to(order), count_ngrams(corpus, order)
    for found, expected in zip(cut.orders, anew.orders, strict=True):
        for name in ("suffixes", "first_words", "occurrences", "continuations"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_unigrams_stand_at_their_ids() -> None:
    counts = count_ngrams(corpus_from_sentences([["B", "A", "B"], []]), 2)
    assert counts.vocabulary == ("<unk>", "<s>", "</s>", "B", "A")
    assert counts.orders[0].occurrences.tolist() == [0, 0, 2, 2, 1]
    assert counts.orders[0].continuations.tolist() == [0, 0, 2, 2, 1]


def test_long_keys_are_packed_anew() -> None:
    # A vocabulary so large that five words do not fit into 64 bits.
    words = [f"W{index}" for index in range(9000)]
    sentences = [words[start : start + 30] for start in range(0, 9000, 7)]
    counts = count_ngrams(corpus_from_sentences(sentences), 6)
    for n in (4, 5, 6):
        occurrences, _ = _by_hand(sentences, n)
        found = dict(zip(_listed(counts, n), counts.orders[n - 1].occurrences, strict=True))
        assert found == occurrences


def test_sorted_by_last_word_first() -> None:
    counts = count_ngrams(corpus_from_sentences(golden_lines()), 3)
    rows = [tuple(words[::-1]) for words in counts.words(3).tolist()]
    assert all(a < b for a, b in pairwise(rows))


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(LanguageModelError, match="order 0"):
        count_ngrams(corpus_from_sentences([["A"]]), 0)


def test_relative_frequencies() -> None:
    corpus = corpus_from_sentences([["A", "B"], ["A", "A"], ["A", "C"]])
    model = maximum_likelihood(count_ngrams(corpus, 2))
    ids = {word: index for index, word in enumerate(model.vocabulary)}
    for context, word, expected in [
        ("<s>", "A", 3 / 3),
        ("A", "B", 1 / 4),
        ("A", "A", 1 / 4),
        ("A", "</s>", 1 / 4),
        ("B", "</s>", 1 / 1),
    ]:
        found = backoff_log_prob(model, [ids[context]], ids[word])
        assert np.exp(found) == pytest.approx(expected, rel=1e-6)
    # What never occurred has no chance, whatever the context.
    assert backoff_log_prob(model, [ids["B"]], ids["C"]) < -200
    assert backoff_log_prob(model, [], 0) < -200


@settings(max_examples=25)
@given(texts, st.integers(1, 4))
def test_relative_frequencies_sum_to_one(sentences: list[list[str]], order: int) -> None:
    counts = count_ngrams(corpus_from_sentences(sentences), order)
    sums_to_one(NgramTable.from_model(maximum_likelihood(counts)), 1e-5)


def test_limited_vocabulary_counts_the_rest_as_unknown() -> None:
    corpus = corpus_from_sentences([["A", "B"], ["A", "C"]]).limit(["A"])
    counts = count_ngrams(corpus, 2)
    found = dict(zip(_listed(counts, 2), counts.orders[1].occurrences.tolist(), strict=True))
    assert found == {("<s>", "A"): 2, ("A", "<unk>"): 2, ("<unk>", "</s>"): 2}
