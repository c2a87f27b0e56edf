"""Greedy CTC decoding against a path collapsed by hand, its times and confidences."""

import math
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.decode.greedy import greedy
from asr.decode.hypothesis import Hypothesis, Word
from asr.errors import AsrError
from asr.text import CharTokenizer, train_sentencepiece

TOKENIZER = CharTokenizer(" ABC")
FRAME = 0.04


def path_log_probs(path: str, probability: list[float] | float = 0.9) -> Tensor:
    """Log-probabilities (1, T, V) whose best path is given as symbols, "-" the blank.

    The best symbol has the given probability, the others share the rest.
    """
    symbols = "- ABC"
    best = probability if isinstance(probability, list) else [probability] * len(path)
    probabilities = torch.tensor(
        [
            [p if symbol == wanted else (1 - p) / (len(symbols) - 1) for symbol in symbols]
            for wanted, p in zip(path, best, strict=True)
        ]
    )
    return probabilities.log()[None]


def decode(path: str, probability: list[float] | float = 0.9) -> Hypothesis:
    log_probs = path_log_probs(path, probability)
    (hypothesis,) = greedy(log_probs, torch.tensor([len(path)]), TOKENIZER, FRAME)
    return hypothesis


@pytest.mark.parametrize(
    ("path", "text", "spans"),
    [
        ("AAB-", "AB", [(0, 3)]),
        ("A-A", "AA", [(0, 3)]),
        ("--A A-", "A A", [(2, 3), (4, 5)]),
        ("AB   - -CC", "AB C", [(0, 2), (8, 10)]),
        ("  A-B--", "AB", [(2, 5)]),
        ("----", "", []),
        ("    ", "", []),
        ("C", "C", [(0, 1)]),
    ],
)
def test_collapses_repeats_then_drops_blanks(
    path: str, text: str, spans: list[tuple[int, int]]
) -> None:
    hypothesis = decode(path)
    assert hypothesis.text == text
    assert [word.text for word in hypothesis.words] == text.split()
    times = [(word.start, word.end) for word in hypothesis.words]
    assert times == [(first * FRAME, end * FRAME) for first, end in spans]
    assert hypothesis.score == pytest.approx(len(path) * math.log(0.9), abs=1e-5)


def test_confidence_is_the_geometric_mean_over_frames_then_tokens() -> None:
    hypothesis = decode("AA-B C", [0.5, 0.8, 0.6, 0.9, 0.7, 0.95])
    token_a = math.sqrt(0.5 * 0.8)
    first, second = hypothesis.words
    assert first.confidence == pytest.approx(math.sqrt(token_a * 0.9), abs=1e-6)
    assert second.confidence == pytest.approx(0.95, abs=1e-6)


def test_certainty_is_never_more_than_one() -> None:
    log_probs = torch.full((1, 3, 5), -100.0)
    log_probs[..., 2] = 1e-6  # what log_softmax can give in float32
    (hypothesis,) = greedy(log_probs, torch.tensor([3]), TOKENIZER, FRAME)
    assert hypothesis.words == (Word("A", 0.0, 3 * FRAME, 1.0),)


def test_words_of_pieces() -> None:
    tokenizer = train_sentencepiece(["THE CAT SAT ON THE MAT AND THE RAT RAN"] * 20, 24)
    tokens = tokenizer.encode("THE RAT SAT")
    path = [token for token in tokens for _ in range(2)] + [0]
    log_probs = torch.full((1, len(path), tokenizer.n_tokens), -9.0)
    log_probs[0, torch.arange(len(path)), torch.tensor(path)] = -0.01
    (hypothesis,) = greedy(log_probs, torch.tensor([len(path)]), tokenizer, FRAME)
    assert hypothesis.text == "THE RAT SAT"
    assert hypothesis.tokens == tuple(tokens)
    assert [word.text for word in hypothesis.words] == ["THE", "RAT", "SAT"]
    assert hypothesis.words[0].start == 0
    assert hypothesis.words[-1].end == 2 * len(tokens) * FRAME


def test_without_word_marks_every_token_is_a_word() -> None:
    tokenizer = CharTokenizer("XABC")  # no space
    (hypothesis,) = greedy(path_log_probs("AB-C"), torch.tensor([4]), tokenizer, FRAME)
    assert hypothesis.text == "ABC"
    assert [word.text for word in hypothesis.words] == ["A", "B", "C"]


def test_times_stop_at_the_end_of_the_audio() -> None:
    log_probs = path_log_probs("A B")
    (hypothesis,) = greedy(log_probs, torch.tensor([3]), TOKENIZER, FRAME, durations=[0.1])
    assert hypothesis.words[-1].end == 0.1
    assert hypothesis.words[0].end == FRAME


def test_nan_is_refused_by_utterance_but_not_in_the_padding() -> None:
    log_probs = torch.cat([path_log_probs("ABC"), path_log_probs("AB-")])
    log_probs[1, 2] = float("nan")
    assert greedy(log_probs, torch.tensor([3, 2]), TOKENIZER, FRAME)[1].text == "AB"
    with pytest.raises(AsrError, match="utterance 1 of the batch is NaN"):
        greedy(log_probs, torch.tensor([3, 3]), TOKENIZER, FRAME)


def test_no_frames_give_an_empty_hypothesis() -> None:
    empty = Hypothesis("", (), (), 0.0)
    assert greedy(torch.zeros(2, 0, 5), torch.tensor([0, 0]), TOKENIZER, FRAME) == [empty] * 2


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    sharpness=st.sampled_from([0.1, 3.0]),
    seed=st.integers(0, 1000),
)
def test_batch_equals_a_plain_loop_and_times_are_in_order(
    lengths: list[int], sharpness: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(lengths), max(lengths) + 2, 5, generator=generator)
    log_probs = (sharpness * logits).log_softmax(-1)
    hypotheses = greedy(log_probs, torch.tensor(lengths), TOKENIZER, FRAME)
    for row, (length, hypothesis) in enumerate(zip(lengths, hypotheses, strict=True)):
        path = log_probs[row, :length].argmax(-1).tolist()
        tokens = tuple(token for token, _ in groupby(path) if token != 0)
        assert hypothesis.tokens == tokens
        assert hypothesis.text == TOKENIZER.decode(tokens)
        assert hypothesis.text == " ".join(word.text for word in hypothesis.words)
        assert hypothesis.score == pytest.approx(
            sum(log_probs[row, t, token].item() for t, token in enumerate(path)), abs=1e-4
        )
        times = [time for word in hypothesis.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(word.start < word.end for word in hypothesis.words)
        assert not times or (times[0] >= 0 and times[-1] <= length * FRAME + 1e-9)
        assert all(0 < word.confidence <= 1 for word in hypothesis.words)
        alone = greedy(log_probs[row, None, :length], torch.tensor([length]), TOKENIZER, FRAME)
        assert alone[0].words == hypothesis.words
