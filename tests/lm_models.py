"""What the tests of language models share: the golden files, small models, slow definitions."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from lm.backoff import BackoffModel
from lm.corpus import corpus_from_sentences, read_corpus, read_words
from lm.counts import count_ngrams
from lm.kneser_ney import FALLBACK, Smoothing, estimate
from lm.table import NgramTable

# Text, word list and models that lmplz 0.3.0 made of them; see tools/make_lm_golden.py.
GOLDEN = Path(__file__).parent / "golden" / "lm"
CASES: dict[str, list[str]] = json.loads((GOLDEN / "cases.json").read_text())

LN10 = math.log(10.0)

_words = st.sampled_from(["A", "B", "C", "D", "E"])
texts = st.lists(st.lists(_words, max_size=6), min_size=1, max_size=12)


def golden_lines() -> list[list[str]]:
    """The words of each line of the golden text."""
    return [line.split() for line in (GOLDEN / "text.txt").read_text().splitlines()]


def estimate_like(options: Sequence[str], text: Path, vocabulary: Path) -> BackoffModel:
    """Our model of a text for options of lmplz."""
    fields = list(options)
    prune = [0]
    if "--prune" in fields:
        at = fields.index("--prune") + 1
        prune = []
        while at < len(fields) and fields[at].isdigit():
            prune.append(int(fields[at]))
            at += 1
    smoothing = Smoothing(
        prune,
        FALLBACK if "--discount_fallback" in fields else None,
        interpolate_unigrams="--interpolate_unigrams" not in fields,
    )
    counts = count_ngrams(read_corpus([text]), int(fields[fields.index("-o") + 1]))
    words = read_words(vocabulary) if "--limit_vocab_file" in fields else None
    return estimate(counts, smoothing, vocabulary=words)


def small_model(
    sentences: Sequence[Sequence[str]], order: int, prune: Sequence[int] = (0,)
) -> BackoffModel:
    """A Kneser-Ney model of a few sentences."""
    smoothing = Smoothing(prune, FALLBACK)
    return estimate(count_ngrams(corpus_from_sentences(sentences), order), smoothing)


def backoff_log_prob(model: BackoffModel, context: Sequence[int], word: int) -> float:
    """P(word | context) straight from the definition of back-off, with dictionaries."""
    listed = {
        tuple(words): (float(log_prob), float(log_backoff))
        for ngrams in model.orders
        for words, log_prob, log_backoff in zip(
            ngrams.words.tolist(), ngrams.log_probs, ngrams.log_backoffs, strict=True
        )
    }
    context = tuple(context)[max(0, len(context) - model.order + 1) :]
    log_prob = 0.0
    while (*context, word) not in listed:
        log_prob += listed.get(context, (0.0, 0.0))[1]
        context = context[1:]
    return log_prob + listed[(*context, word)][0]


def assert_same_model(ours: BackoffModel, theirs: BackoffModel, tolerance: float) -> None:
    """Every n-gram of one is in the other, log10 values within a tolerance."""
    assert ours.vocabulary == theirs.vocabulary
    assert ours.order == theirs.order
    for own, other in zip(ours.orders, theirs.orders, strict=True):
        own = own.select(np.lexsort(own.words.T))
        other = other.select(np.lexsort(other.words.T))
        np.testing.assert_array_equal(own.words, other.words)
        for values, expected in (
            (own.log_probs, other.log_probs),
            (own.log_backoffs, other.log_backoffs),
        ):
            np.testing.assert_allclose(values / LN10, expected / LN10, rtol=0, atol=tolerance)


def sums_to_one(table: NgramTable, tolerance: float) -> None:
    """In every state the probabilities of all words sum to 1."""
    for state in range(len(table.automaton.backoff_states)):
        total = float(np.exp(table.distribution(state)).sum())
        assert abs(total - 1.0) < tolerance, (state, total)
