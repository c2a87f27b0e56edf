"""Perplexity by hand and against KenLM; sampling."""

import math

import kenlm
import numpy as np
import pytest

from asr.errors import LanguageModelError
from lm.arpa import read_arpa
from lm.corpus import corpus_from_sentences, split_characters
from lm.counts import count_ngrams, maximum_likelihood
from lm.perplexity import Perplexity, measure_perplexity
from lm.sampling import join_units, sample_sentence
from lm.table import NgramTable
from tests.lm_models import GOLDEN, golden_lines, small_model


def test_the_usual_ways_by_hand() -> None:
    measured = Perplexity(
        n_sentences=2, n_words=6, n_unknown=2,
        known_log_prob=-8.0, unknown_log_prob=-20.0, end_log_prob=-4.0,
    )  # fmt: skip
    assert measured.unknown_rate == pytest.approx(1 / 3)
    assert measured.perplexity() == pytest.approx(math.exp(32 / 8))
    assert measured.perplexity(unknown=False) == pytest.approx(math.exp(12 / 6))
    assert measured.perplexity(ends=False) == pytest.approx(math.exp(28 / 6))
    assert measured.perplexity(ends=False, unknown=False) == pytest.approx(math.exp(8 / 4))


def test_nothing_to_count() -> None:
    assert math.isnan(Perplexity(1, 0, 0, 0.0, 0.0, -1.0).perplexity(ends=False))
    assert Perplexity(1, 0, 0, 0.0, 0.0, -1.0).unknown_rate == 0.0
    assert Perplexity(1, 1, 0, -1e6, 0.0, -1.0).perplexity() == math.inf
    with pytest.raises(LanguageModelError, match="at least one sentence"):
        measure_perplexity(NgramTable.from_model(small_model([["A"]], 1)), [])


def test_equal_to_kenlm() -> None:
    table = NgramTable.from_model(read_arpa(GOLDEN / "pruned.arpa.gz"))
    theirs = kenlm.Model(str(GOLDEN / "pruned.binary"))
    sentences = [*golden_lines(), ["UNHEARD", "OF"]]
    scores = [s for words in sentences for s in theirs.full_scores(" ".join(words))]
    measured = measure_perplexity(table, sentences)
    assert measured.n_unknown == sum(unknown for _, _, unknown in scores) == 2
    assert measured.n_sentences + measured.n_words == len(scores)
    for unknown in (True, False):
        counted = [log10 for log10, _, oov in scores if unknown or not oov]
        expected = 10 ** -(sum(counted) / len(counted))
        assert measured.perplexity(unknown=unknown) == pytest.approx(expected, rel=1e-5)


def test_samples_are_as_frequent_as_the_model_says() -> None:
    table = NgramTable.from_model(small_model([["A"], ["A"], ["B", "A"], ["A", "B"]], 2))
    generator = np.random.default_rng(1)
    samples = [sample_sentence(table, generator) for _ in range(4000)]
    for words in ([], ["A"], ["B"], ["A", "B"]):
        expected = math.exp(table.score(words))
        # <unk> is never drawn, so that everything else is a little more frequent.
        found = samples.count(words) / len(samples)
        assert expected - 0.03 < found < expected * 1.5 + 0.03


def test_sampling_options() -> None:
    table = NgramTable.from_model(read_arpa(GOLDEN / "order-3.arpa.gz"))
    generator = np.random.default_rng(0)
    prefix = golden_lines()[0][:2]
    words = sample_sentence(table, generator, prefix=prefix, max_words=5)
    assert words[:2] == prefix
    assert len(words) <= 5
    cold = [sample_sentence(table, generator, temperature=1e-3) for _ in range(3)]
    assert cold[0] == cold[1] == cold[2]
    with pytest.raises(LanguageModelError, match="temperature 0"):
        sample_sentence(table, generator, temperature=0)


def test_characters_come_out_as_text() -> None:
    sentences = [split_characters("so it is")]
    model = maximum_likelihood(count_ngrams(corpus_from_sentences(sentences), 8))
    words = sample_sentence(NgramTable.from_model(model), np.random.default_rng(0))
    assert join_units(words, characters=True) == "so it is"
    assert join_units(["A", "B"], characters=False) == "A B"
