"""Error rates, their intervals and alignments."""

import json
import math
import random

import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import TextError
from asr.metrics import (
    align,
    compare,
    correct_words,
    describe,
    normalized_cross_entropy,
    score,
    show_alignment,
)

SENTENCES = st.lists(st.sampled_from(["A", "B", "CC", "DAD", "É"]), max_size=6).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("THE CAT SAT ON", "THE BIG CAT SET", (1, 1, 1)),
        ("A B C", "A B C", (0, 0, 0)),
        ("A B C", "", (0, 0, 3)),
        ("", "A B", (0, 2, 0)),
        ("", "", (0, 0, 0)),
        ("A", "B C", (1, 1, 0)),
        ("  A\tB ", "A  B\n", (0, 0, 0)),
    ],
)
def test_counts_by_hand(reference: str, hypothesis: str, counts: tuple[int, int, int]) -> None:
    result = score([reference], [hypothesis])
    assert (result.substitutions, result.insertions, result.deletions) == counts
    n_words = len(reference.split())
    assert result.n_words == n_words
    assert result.wer == sum(counts) / max(n_words, 1)
    assert result.sentence_error_rate == float(sum(counts) > 0)


def test_rates_are_over_all_words_not_over_utterances() -> None:
    result = score(["A B C D", "E", ""], ["A B C D", "X", "Y"])
    assert result.wer == 2 / 5
    assert result.cer == 2 / 8  # "A B C D" has 7 characters
    assert result.sentence_error_rate == 2 / 3
    assert (result.n_utterances, result.n_words, result.n_characters) == (3, 5, 8)


@given(PAIRS)
def test_equal_to_jiwer(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = (list(side) for side in zip(*pairs, strict=True))
    result = score(references, hypotheses, n_bootstrap=0)
    words = jiwer.process_words(references, hypotheses)
    assert result.wer == pytest.approx(words.wer)
    assert result.cer == pytest.approx(jiwer.process_characters(references, hypotheses).cer)
    assert (result.substitutions, result.insertions, result.deletions) == (
        words.substitutions,
        words.insertions,
        words.deletions,
    )
    for utterance in result.utterances:
        pairs_ = align(utterance.reference, utterance.hypothesis)
        assert " ".join(left for left, _ in pairs_ if left) == utterance.reference
        assert " ".join(right for _, right in pairs_ if right) == utterance.hypothesis
        assert sum(left != right for left, right in pairs_) == utterance.errors


def test_alignment_by_hand() -> None:
    assert align("THE CAT SAT ON", "THE BIG CAT SET") == [
        ("THE", "THE"),
        ("", "BIG"),
        ("CAT", "CAT"),
        ("SAT", "SET"),
        ("ON", ""),
    ]
    assert show_alignment("THE CAT SAT ON", "THE BIG CAT SET").splitlines() == [
        "REF: THE *** CAT SAT ON",
        "HYP: THE BIG CAT SET **",
        "         I       S   D",
    ]
    assert show_alignment("THE CAT SAT ON", "THE BIG CAT SET", width=16).splitlines() == [
        "REF: THE *** CAT",
        "HYP: THE BIG CAT",
        "         I",
        "REF: SAT ON",
        "HYP: SET **",
        "     S   D",
    ]
    assert show_alignment("", "") == "REF:\nHYP:\n"


def _noisy(n: int, seed: int, rate: float) -> tuple[list[str], list[str]]:
    generator = random.Random(seed)
    references = [" ".join(generator.choices("ABCDEFGH", k=10)) for _ in range(n)]
    hypotheses = [
        " ".join("X" if generator.random() < rate else word for word in reference.split())
        for reference in references
    ]
    return references, hypotheses


def test_interval_is_that_of_independent_errors() -> None:
    # 10 words each with probability 0.2 of an error: the standard error is known.
    references, hypotheses = _noisy(1000, 1, 0.2)
    result = score(references, hypotheses, n_bootstrap=4000)
    assert result.interval is not None
    low, high = result.interval
    error = (result.wer * (1 - result.wer) / 10_000) ** 0.5
    assert low == pytest.approx(result.wer - 1.96 * error, abs=0.1 * 2 * 1.96 * error)
    assert high == pytest.approx(result.wer + 1.96 * error, abs=0.1 * 2 * 1.96 * error)
    assert result.interval_over == "utterances"


def test_interval_equals_a_plain_bootstrap() -> None:
    references, hypotheses = _noisy(30, 2, 0.3)
    speakers = [str(index % 7) for index in range(30)]
    result = score(references, hypotheses, speakers=speakers, n_bootstrap=20_000)
    errors = np.zeros(7)
    words = np.zeros(7)
    for utterance, speaker in zip(result.utterances, speakers, strict=True):
        errors[int(speaker)] += utterance.errors
        words[int(speaker)] += utterance.n_words
    generator = np.random.default_rng(5)
    drawn = generator.integers(7, size=(20_000, 7))
    rates = errors[drawn].sum(1) / words[drawn].sum(1)
    assert result.interval == pytest.approx(tuple(np.percentile(rates, [2.5, 97.5])), abs=0.004)
    assert result.interval_over == "speakers"


def test_speakers_whose_errors_go_together_widen_the_interval() -> None:
    references = ["A B C D"] * 40
    hypotheses = ["A B C D"] * 20 + ["A B C X"] * 20
    speakers = [str(index // 10) for index in range(40)]
    by_utterance = score(references, hypotheses).interval
    by_speaker = score(references, hypotheses, speakers=speakers).interval
    assert by_utterance is not None
    assert by_speaker is not None
    assert by_speaker[1] - by_speaker[0] > 2 * (by_utterance[1] - by_utterance[0])


def test_unknown_speakers_stand_for_themselves() -> None:
    references, hypotheses = _noisy(20, 3, 0.3)
    named: list[str | None] = [f"s{index}" for index in range(20)]
    partly: list[str | None] = [None if index > 1 else f"s{index}" for index in range(20)]
    assert (
        score(references, hypotheses, speakers=named).interval
        == score(references, hypotheses, speakers=partly).interval
    )
    for nobody in ([None] * 20, ["one"] * 20, [None] * 19 + ["one"]):
        assert score(references, hypotheses, speakers=nobody).interval_over == "utterances"


def test_interval_does_not_depend_on_the_number_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    references, hypotheses = _noisy(20, 3, 0.3)
    whole = score(references, hypotheses).interval
    monkeypatch.setattr("asr.metrics._BLOCK", 50)
    assert score(references, hypotheses).interval == whole
    assert score(references, hypotheses, seed=1).interval != whole


def test_one_utterance_has_no_interval() -> None:
    assert score(["A"], ["B"]).interval is None
    assert "interval" not in describe(score(["A"], ["B"]))
    assert score(["A", "A"], ["B", "A"], n_bootstrap=0).interval is None


def test_compare() -> None:
    references, worse = _noisy(200, 4, 0.3)
    # B mends every second error of A.
    better = []
    flip = False
    for reference, hypothesis in zip(references, worse, strict=True):
        words = []
        for left, right in zip(reference.split(), hypothesis.split(), strict=True):
            flip ^= left != right
            words.append(left if flip else right)
        better.append(" ".join(words))
    result = compare(references, worse, better)
    assert result.wer_a == score(references, worse).wer
    assert result.wer_b == score(references, better).wer
    assert result.difference == pytest.approx(result.wer_b - result.wer_a)
    assert result.interval is not None
    assert result.interval[0] < result.difference < result.interval[1] < 0
    assert result.probability_of_improvement == 1.0
    back = compare(references, better, worse)
    assert back.interval == pytest.approx((-result.interval[1], -result.interval[0]))
    assert back.probability_of_improvement == 0.0


def test_compare_by_hand() -> None:
    # Two units: B is better by one word in the first and equal in the second.  A resample of
    # two draws is better unless it takes the second twice: probability 3/4.
    result = compare(["A B", "C D"], ["A X", "C X"], ["A B", "C X"], n_bootstrap=40_000)
    assert result.probability_of_improvement == pytest.approx(0.75, abs=0.01)
    assert result.interval == (-0.5, 0.0)
    same = compare(["A B", "C D"], ["A X", "C X"], ["A X", "X D"])
    assert (same.difference, same.probability_of_improvement) == (0.0, 0.0)


def test_worst_utterances_and_json() -> None:
    result = score(["A B", "C", "D E F"], ["A X", "C", ""], ids=["one", "two", "three"])
    assert [utterance.id for utterance in result.worst(5)] == ["three", "one"]
    fields = json.loads(json.dumps(result.to_dict(n_worst=1)))
    assert fields["wer"] == 4 / 6
    assert fields["worst"][0]["id"] == "three"
    assert fields["worst"][0]["alignment"] == [["D", ""], ["E", ""], ["F", ""]]
    text = describe(result, n_worst=1)
    assert text.startswith("WER 66.67%  (95 % interval ")
    assert "1 substituted, 0 inserted, 3 deleted" in text
    assert "three: 3 errors in 3 words\nREF: D E F\nHYP: * * *\n     D D D" in text
    assert "one:" not in text


def test_bad_lists_are_refused() -> None:
    with pytest.raises(TextError, match="nothing to score"):
        score([], [])
    with pytest.raises(TextError, match="2 references but 1 hypotheses"):
        score(["A", "B"], ["A"])
    with pytest.raises(TextError, match="1 references but 2 speakers"):
        score(["A"], ["A"], speakers=["a", "b"])
    with pytest.raises(TextError, match="1 references but 0 hypotheses_b"):
        compare(["A"], ["A"], [])


def test_correct_words_by_hand() -> None:
    assert correct_words("THE CAT SAT ON", "THE BIG CAT SET") == [True, False, True, False]
    assert correct_words("A B", "") == []


def test_normalized_cross_entropy_by_hand() -> None:
    correct = [True, True, True, False]
    assert normalized_cross_entropy([0.75] * 4, correct) == pytest.approx(0)
    entropy = -(3 * math.log(0.9) + math.log(0.8))
    base = -(3 * math.log(0.75) + math.log(0.25))
    assert normalized_cross_entropy([0.9, 0.9, 0.9, 0.2], correct) == pytest.approx(
        1 - entropy / base
    )
    assert normalized_cross_entropy([1.0, 1.0, 1.0, 0.0], correct) > 0.99
    assert normalized_cross_entropy([1.0] * 4, correct) < -1
    for all_alike in ([], [True, True], [False]):
        assert math.isnan(normalized_cross_entropy([0.5] * len(all_alike), all_alike))
