"""tools/decode_report.py: the score that judges all decoders, and speed at equal score."""

import itertools
import math

import numpy as np
import pytest
import torch

from asr.text import CharTokenizer
from lm.backoff import BackoffModel, Ngrams
from lm.table import NgramTable
from tools.decode_report import CommonScorer, Record, Report, Utterances

TOKENIZER = CharTokenizer(" AB")
WORDS = ("A", "BA")


@pytest.fixture
def table() -> NgramTable:
    """P(A) = 0.5, P(BA) = 0.2, P(</s>) = 0.2, P(<unk>) = 0.1 after anything."""
    log_probs = np.log(np.array([0.1, 1e-9, 0.2, 0.5, 0.2]), dtype=np.float32)
    ids = np.arange(5, dtype=np.int32)[:, None]
    unigrams = Ngrams(ids, log_probs, np.zeros(5, np.float32))
    return NgramTable.from_model(BackoffModel(("<unk>", "<s>", "</s>", *WORDS), (unigrams,)))


def emissions(n_frames: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(n_frames, 4, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(2 * values, 1)


def by_all_alignments(log_probs: torch.Tensor, text: str) -> float:
    """log p_ctc as the sum over every path."""
    total = 0.0
    for path in itertools.product(range(4), repeat=len(log_probs)):
        tokens = [token for token, _ in itertools.groupby(path) if token]
        if TOKENIZER.decode(tokens) == text and tokens == TOKENIZER.encode(text):
            total += math.exp(sum(float(log_probs[t, k]) for t, k in enumerate(path)))
    return math.log(total) if total else -math.inf


@pytest.mark.parametrize("text", ["", "A", "BA", "A A", "A BA", "BB"])
def test_common_score_is_the_sum_over_all_alignments_and_the_weighted_model(
    table: NgramTable, text: str
) -> None:
    scorer = CommonScorer(TOKENIZER, table, alpha=0.7, beta=1.3, unknown_score=-2.0)
    log_probs = emissions(5)
    words = text.split()
    probabilities = {"A": 0.5, "BA": 0.2}
    ngram = sum(math.log(probabilities.get(word, 0.1)) for word in words) + math.log(0.2)
    unknown = sum(word not in WORDS for word in words)
    expected = by_all_alignments(log_probs, text) + 0.7 * ngram + 1.3 * len(words) - 2 * unknown
    assert scorer(log_probs, text) == pytest.approx(expected, abs=1e-5)


def test_a_text_that_does_not_fit_into_the_frames_is_impossible(table: NgramTable) -> None:
    scorer = CommonScorer(TOKENIZER, table, alpha=1.0, beta=0.0)
    assert scorer(emissions(2), "BA A") == -math.inf


def test_an_unknown_word_is_impossible_without_a_score_for_it(table: NgramTable) -> None:
    assert CommonScorer(TOKENIZER, table, alpha=1.0, beta=0.0)(emissions(5), "AB") == -math.inf


def report(table: NgramTable, ours: dict[int, tuple[str, list[float]]]) -> Report:
    """A peer that finds the better text in 1 s, with runs of ours by width."""
    log_probs = torch.log(torch.tensor([[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]]))
    sets = {"a": Utterances([log_probs] * 2, ["A", "A"], [1.0, 1.0], [None, None])}
    records = [
        Record("a", "off", "peer", "flashlight", 100, run, ["A", "A"], [1.0, 1.0])
        for run in range(2)
    ]
    for width, (text, times) in ours.items():
        for run, seconds in enumerate(times):
            texts = [text] * 2
            records.append(Record("a", "off", "ours", "ours", width, run, texts, [seconds] * 2))
    return Report(sets, records, CommonScorer(TOKENIZER, table, alpha=1.0, beta=0.0))


def test_speed_is_that_of_the_cheapest_setting_that_scores_as_well(table: NgramTable) -> None:
    ours = {4: ("BA", [0.01, 0.01]), 8: ("A", [0.1, 0.2]), 16: ("A", [0.5, 0.5])}
    (match,) = report(table, ours).matches()
    assert (match.reached, match.width) == (True, 8)
    assert match.ratios == pytest.approx([10, 5])
    assert match.wer_difference == 0
    assert match.our_score == pytest.approx(match.peer_score)


def test_a_score_that_no_setting_reaches_is_said_to_be_missed(table: NgramTable) -> None:
    made = report(table, {4: ("BA", [0.01, 0.01])})
    (match,) = made.matches()
    assert not match.reached
    assert match.our_score < match.peer_score
    assert match.wer_difference == 1
    assert "| NO |" in made.markdown()
    peer, ours = made.rows()
    assert peer.below_best == 0
    assert ours.below_best == pytest.approx(match.peer_score - match.our_score)
    assert ours.times_real_time == pytest.approx(100)
