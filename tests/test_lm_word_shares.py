"""What a neural model of words says of a larger lexicon: probabilities that sum to one."""

import numpy as np
import pytest
import torch

from asr.errors import LanguageModelError
from asr.text import CharTokenizer
from lm.neural import END
from lm.units import TokenizerUnits, WordUnits
from lm.word_shares import WordShares
from lm.word_vectors import cooccurrence_vectors
from tests.neural_models import neural_model

MODEL = neural_model(WordUnits(["A", "CAB", "AB"]))
LEXICON = ["A", "BA", "AB", "CAB", "C"]


@pytest.mark.parametrize("weighed", [True, False])
def test_the_lexicon_an_unknown_word_and_the_end_sum_to_one(weighed: bool) -> None:
    log_probs = np.log([0.3, 0.1, 0.2, 0.1, 0.2]) if weighed else None
    shares = WordShares(MODEL, LEXICON, log_probs, np.log(0.1) if weighed else 0.0)
    after, _ = MODEL.step(MODEL.start(1), torch.tensor([END]))
    values = [shares.find(word) for word in [*LEXICON, "no word of it"]]
    total = sum(np.exp(float(after[0, token]) + share) for token, share in values)
    assert total + np.exp(float(after[0, END])) == pytest.approx(1, abs=1e-6)
    # <unk> is shared out among BA, C and the unknown word.
    expected = np.array([0.1, 0.2, 0.1]) / 0.4 if weighed else np.full(3, 1 / 3)
    assert np.exp([values[1][1], values[4][1], values[5][1]]) == pytest.approx(expected)


def test_without_a_lexicon_each_unknown_word_has_all_of_unk() -> None:
    shares = WordShares(MODEL)
    assert shares.encode(["CAB", "ZZ", "A"]) == ([3, 1, 2], 0.0)


def test_a_word_outside_the_lexicon_is_unknown_though_the_model_has_it() -> None:
    shares = WordShares(MODEL, ["A", "B"])
    assert shares.find("CAB") == shares.find("ZZ") == (1, pytest.approx(np.log(1 / 2)))


def test_a_model_of_other_units_is_refused() -> None:
    with pytest.raises(LanguageModelError, match="not one of words"):
        WordShares(neural_model(TokenizerUnits(CharTokenizer(" AB"))))


def test_words_in_the_same_company_have_vectors_alike() -> None:
    # 1 and 2 stand between 5 and 6, 3 and 4 between 7 and 8; nothing stands near 9.
    generator = np.random.default_rng(0)
    text = np.concatenate(
        [
            [[5, generator.integers(1, 3), 6], [7, generator.integers(3, 5), 8]][pick]
            for pick in generator.integers(2, size=2000)
        ]
    )
    vectors = cooccurrence_vectors(text.astype(np.int32), 10, 4, seed=0)
    assert vectors.shape == (10, 4)
    np.testing.assert_allclose((vectors[1:9] ** 2).mean(axis=1), 1, rtol=1e-4)
    assert not vectors[9].any()
    assert vectors[1] @ vectors[2] > 3.5
    assert vectors[3] @ vectors[4] > 3.5
    assert vectors[1] @ vectors[3] < 2
    assert cooccurrence_vectors(text.astype(np.int32), 10, 16).shape == (10, 16)
