"""Word confidences from the mass of the n-best."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.confidence import posteriors, word_confidences
from asr.decode.spelling import Spelling
from asr.decode.word_keys import Keys, WordKeys


def keys(words: Sequence[str]) -> Keys:
    return np.array([ord(word) for word in words], np.int64)


def test_posteriors_are_a_softmax_of_scaled_scores() -> None:
    scores = [-1000.0, -1001.0, -np.inf]
    np.testing.assert_allclose(posteriors(scores, 1.0), [0.7310586, 0.2689414, 0], atol=1e-6)
    np.testing.assert_allclose(posteriors(scores, 0.5), [0.6224593, 0.3775407, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("hypotheses", "masses", "expected"),
    [
        (["A B C"], [1.0], [[1.0, 1.0, 1.0]]),
        (["A B C", "A X C"], [0.7, 0.3], [[1.0, 0.7, 1.0], [1.0, 0.3, 1.0]]),
        (["A B C", "A C"], [0.6, 0.4], [[1.0, 0.6, 1.0], [1.0, 1.0]]),
        (["A C", "A B C", "A B D"], [0.5, 0.3, 0.2], [[1.0, 0.8], [1.0, 0.5, 0.8]]),
        (["A", "X Y A", "X A"], [0.5, 0.3, 0.2], [[1.0], [0.3 + 0.2, 0.3, 1.0]]),
        (["", "A"], [0.9, 0.1], [[], [0.1]]),
    ],
)
def test_by_hand(hypotheses: list[str], masses: list[float], expected: list[list[float]]) -> None:
    found = word_confidences([keys(text.split()) for text in hypotheses], masses, len(expected))
    assert found == [pytest.approx(values) for values in expected]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from("ABC"), max_size=6), min_size=1, max_size=6))
def test_a_word_has_at_least_its_own_share_and_at_most_all(hypotheses: list[list[str]]) -> None:
    masses = posteriors(list(range(len(hypotheses), 0, -1)), 1.0).tolist()
    found = word_confidences([keys(words) for words in hypotheses], masses, len(hypotheses))
    for words, mass, values in zip(hypotheses, masses, found, strict=True):
        assert len(words) == len(values)
        assert all(mass - 1e-12 <= value <= 1.0 for value in values)


def test_words_have_one_key_however_they_are_spelled() -> None:
    spelling = Spelling(("", "", "A", "B", "AB", "A"), (False, True, False, False, False, True))
    sequences = [[2, 3, 1, 2], [4, 5], [1, 4, 1, 1, 2, 1], [], [1], [3, 2], [2, 5]]
    starts = np.cumsum([0, *map(len, sequences)], dtype=np.int32)
    tokens = np.array([token for tokens in sequences for token in tokens], np.int32)
    found = [words.tolist() for words in WordKeys(spelling)(tokens, starts)]
    ab, a = found[0]
    assert ab != a
    assert found[1:5] == [[ab, a], [ab, a], [], []]
    assert len(found[5]) == 1
    assert found[5][0] not in (ab, a)
    assert found[6] == [a, a]
