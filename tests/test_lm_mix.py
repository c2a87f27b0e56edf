"""Mixtures of n-gram models: the probabilities, the weights, the command."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from lm.backoff import START, UNKNOWN, BackoffModel
from lm.mix import best_weights, mix_models, mixed_perplexity
from lm.sampling import sample_sentence
from lm.table import NgramTable
from tests.lm_models import assert_same_model, backoff_log_prob, small_model, sums_to_one, texts

BOOKS = [list("ABACA"), list("BACAB"), list("ABBA"), list("CAB")]
MAILS = [list("XAB"), list("AXB"), list("BXA"), list("AX")]


def _mixed_log_prob(models: list[BackoffModel], weights: list[float], words: list[str]) -> float:
    """log sum of lambda P(last word | words before it), word by word."""
    total = 0.0
    for model, weight in zip(models, weights, strict=True):
        ids = [model.vocabulary.index(w) if w in model.vocabulary else -1 for w in words]
        if ids[-1] >= 0:
            context = [max(each, UNKNOWN) for each in ids[:-1]]
            total += weight * exp(backoff_log_prob(model, context, ids[-1]))
    return log(total)


@settings(deadline=None, max_examples=25)
@given(texts, texts, st.integers(1, 4), st.integers(1, 4), st.floats(0.05, 0.95))
def test_every_listed_ngram_has_the_mixed_probability(
    one: list[list[str]], other: list[list[str]], order: int, other_order: int, weight: float
) -> None:
    # Some words are in one of the models only.
    other = [[word.replace("E", "F") for word in sentence] for sentence in other]
    models = [small_model(one, order), small_model(other, other_order)]
    weights = [weight, 1 - weight]
    mixed = mix_models([NgramTable.from_model(model) for model in models], weights)
    listed = [
        {tuple(model.text(words).split()) for ngrams in model.orders for words in ngrams.words}
        for model in (*models, mixed)
    ]
    assert listed[2] == listed[0] | listed[1]
    for ngrams in mixed.orders:
        for words, log_prob in zip(ngrams.words.tolist(), ngrams.log_probs, strict=True):
            if words != [START]:
                expected = _mixed_log_prob(models, weights, mixed.text(words).split())
                assert float(log_prob) == pytest.approx(expected, abs=1e-4)
    sums_to_one(NgramTable.from_model(mixed), 1e-4)


def test_a_model_mixed_with_itself_is_itself() -> None:
    model = small_model(BOOKS, 3)
    table = NgramTable.from_model(model)
    mixed = NgramTable.from_model(mix_models([table, table], [0.3, 0.7])).to_model()
    assert_same_model(mixed, table.to_model(), 1e-5)


def test_a_text_takes_the_weight_of_its_own_model() -> None:
    tables = [NgramTable.from_model(small_model(sentences, 2)) for sentences in (BOOKS, MAILS)]
    generator = np.random.default_rng(0)
    drawn = [
        [sample_sentence(table, generator, max_words=20) for _ in range(n)]
        for table, n in zip(tables, (300, 100), strict=True)
    ]
    weights, perplexity = best_weights(tables, drawn[0])
    assert weights[0] > 0.9
    both = [sentence for part in drawn for sentence in part]
    weights, perplexity = best_weights(tables, both)
    assert 0.5 < weights[0] < 0.9
    assert sum(weights) == pytest.approx(1)
    assert perplexity == pytest.approx(mixed_perplexity(tables, both, weights))
    for shift in (-0.05, 0.05):
        other = [weights[0] + shift, weights[1] - shift]
        assert perplexity < mixed_perplexity(tables, both, other)


def test_what_cannot_be_mixed() -> None:
    table = NgramTable.from_model(small_model(BOOKS, 2))
    with pytest.raises(LanguageModelError, match="1 model; two or more"):
        mix_models([table], [1.0])
    for weights in ([0.5], [0.5, 0.6], [1.0, 0.0], [1.5, -0.5]):
        with pytest.raises(LanguageModelError, match="2 numbers above 0"):
            mix_models([table, table], weights)
    tables = [table] * 2
    for sentences in ([], [["never", "heard"]], [[]]):
        with pytest.raises(LanguageModelError, match="know no word"):
            best_weights(tables, sentences)
