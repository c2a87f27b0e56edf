"""The readable beam search against a sum over all alignments."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.decode.reference import Scorer, TokenScorer, WordScorer, prefix_beam_search
from asr.decode.spelling import spelling_of
from asr.errors import LanguageModelError
from asr.text import CharTokenizer, Tokenizer, train_sentencepiece
from lm.table import NgramTable
from tests.lm_models import small_model

TOKENIZER = CharTokenizer(" AB")
SPELLING = spelling_of(TOKENIZER)
WORDS = ["A", "AB", "BA", "BB"]
SENTENCES = [["A", "BA"], ["AB", "A", "BA"], ["BB"], ["A", "A", "AB"], ["C", "A"]]
WORD_MODEL = NgramTable.from_model(small_model(SENTENCES, 3))
TOKEN_MODEL = NgramTable.from_model(small_model([["1", "2"], ["2", "3", "1"], ["3", "3"]], 2))
TOKEN_IDS = [TOKEN_MODEL.word_id(str(token)) for token in range(4)]

Frames = NDArray[np.float64]


def random_log_probs(n_frames: int, n_tokens: int, seed: int, sharpness: float = 2.0) -> Frames:
    logits = sharpness * np.random.default_rng(seed).standard_normal((n_frames, n_tokens))
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def all_alignments(log_probs: Frames) -> dict[tuple[int, ...], float]:
    """log p_ctc of every token sequence, by adding up every alignment."""
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    n_frames, n_tokens = log_probs.shape
    for path in itertools.product(range(n_tokens), repeat=n_frames):
        collapsed = tuple(token for token, _ in itertools.groupby(path) if token)
        sums[collapsed] += math.exp(sum(log_probs[t, token] for t, token in enumerate(path)))
    return {tokens: math.log(probability) for tokens, probability in sums.items()}


def words_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    return [word for word, _, _ in tokenizer.split_words(tokens)]


def model_score(model: NgramTable, ids: Sequence[int]) -> float:
    """log p(ids </s>), step by step as a decoder adds it up."""
    state, total = model.start(), 0.0
    for word in ids:
        log_prob, state = model.step(state, word)
        total += log_prob
    return total + model.finish(state)


def brute_force(
    log_probs: Frames, score: Callable[[tuple[int, ...]], float]
) -> dict[tuple[int, ...], float]:
    scores = {y: acoustic + score(y) for y, acoustic in all_alignments(log_probs).items()}
    return {y: value for y, value in scores.items() if value > -math.inf}


def check(log_probs: Frames, scorers: list[Scorer], score: Callable[..., float]) -> None:
    """Every hypothesis, its score and the order are those of the brute force."""
    expected = brute_force(log_probs, score)
    found = prefix_beam_search(log_probs.tolist(), scorers)
    assert {hypothesis.tokens for hypothesis in found} == set(expected)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(expected[hypothesis.tokens], abs=1e-9)
    scores = [hypothesis.score for hypothesis in found]
    assert scores == sorted(scores, reverse=True)


shapes = st.tuples(st.integers(0, 6), st.integers(2, 4)).filter(lambda s: s[1] ** s[0] <= 4096)


@settings(max_examples=20)
@given(shape=shapes, seed=st.integers(0, 9999))
def test_without_scorers_it_sums_all_alignments(shape: tuple[int, int], seed: int) -> None:
    log_probs = random_log_probs(*shape, seed)
    check(log_probs, [], lambda y: 0.0)
    total = sum(math.exp(found.acoustic) for found in prefix_beam_search(log_probs.tolist()))
    assert total == pytest.approx(1.0, abs=1e-9)


weights = st.floats(0.0, 2.0)


@settings(max_examples=20)
@given(
    n_frames=st.integers(1, 5),
    seed=st.integers(0, 9999),
    alpha=weights,
    beta=st.floats(-2.0, 2.0),
    unknown_score=st.none() | st.floats(-5.0, 0.0),
    ahead=st.booleans(),
)
def test_words_with_a_language_model(
    n_frames: int,
    seed: int,
    alpha: float,
    beta: float,
    unknown_score: float | None,
    ahead: bool,
) -> None:
    def score(y: tuple[int, ...]) -> float:
        words = words_of(TOKENIZER, y)
        n_unknown = sum(word not in WORDS for word in words)
        if n_unknown and unknown_score is None:
            return -math.inf
        ids = [WORD_MODEL.word_id(word) if word in WORDS else 0 for word in words]
        scores = alpha * model_score(WORD_MODEL, ids) + beta * len(words)
        return scores + n_unknown * (unknown_score or 0.0)

    scorer = WordScorer(
        SPELLING,
        model=WORD_MODEL,
        words=WORDS,
        alpha=alpha,
        beta=beta,
        unknown_score=unknown_score,
        look_ahead={"A": -1.0, "AB": -0.5, "BA": -3.0, "<unk>": -4.0} if ahead else None,
    )
    check(random_log_probs(n_frames, 4, seed), [scorer], score)


@settings(max_examples=10)
@given(n_frames=st.integers(1, 5), seed=st.integers(0, 9999), alpha=weights, beta=weights)
def test_tokens_with_a_language_model_and_a_word_bonus(
    n_frames: int, seed: int, alpha: float, beta: float
) -> None:
    def score(y: tuple[int, ...]) -> float:
        score = model_score(TOKEN_MODEL, [TOKEN_IDS[token] for token in y])
        return alpha * score + beta * len(words_of(TOKENIZER, y))

    scorers = [
        TokenScorer(TOKEN_MODEL, TOKEN_IDS, alpha),
        WordScorer(SPELLING, beta=beta, unknown_score=0.0),
    ]
    check(random_log_probs(n_frames, 4, seed), scorers, score)


@settings(max_examples=10)
@given(seed=st.integers(0, 9999), beta=st.floats(-2.0, 2.0))
def test_a_closed_lexicon_alone(seed: int, beta: float) -> None:
    def score(y: tuple[int, ...]) -> float:
        words = words_of(TOKENIZER, y)
        return beta * len(words) if all(word in WORDS for word in words) else -math.inf

    check(random_log_probs(5, 4, seed), [WordScorer(SPELLING, words=WORDS, beta=beta)], score)


def test_without_word_marks_every_token_counts() -> None:
    tokenizer = CharTokenizer("ABC")  # no space
    scorer = WordScorer(spelling_of(tokenizer), beta=0.5, unknown_score=0.0)
    check(random_log_probs(5, 4, 1), [scorer], lambda y: 0.5 * len(y))


def test_a_custom_scorer() -> None:
    class NoTwice:
        """Forbids a token after itself and rewards endings."""

        def start(self) -> Any:
            return 0

        def score(self, state: Any, token: int) -> tuple[float, Any]:
            return (-math.inf if token == state else 0.1 * token), token

        def finish(self, state: Any) -> float:
            return 0.7 * state

    def score(y: tuple[int, ...]) -> float:
        if any(a == b for a, b in itertools.pairwise(y)):
            return -math.inf
        return 0.1 * sum(y) + (0.7 * y[-1] if y else 0.0)

    check(random_log_probs(5, 4, 2), [NoTwice()], score)


def test_each_new_prefix_is_asked_for_once() -> None:
    asked: list[tuple[Any, int]] = []

    class Counter:
        def start(self) -> Any:
            return ()

        def score(self, state: Any, token: int) -> tuple[float, Any]:
            asked.append((state, token))
            return 0.0, (*state, token)

        def finish(self, state: Any) -> float:
            return 0.0

    prefix_beam_search(random_log_probs(30, 4, 3).tolist(), [Counter()], width=8)
    # Once for each of its three next tokens; asking in every frame would be 30 * 8 * 3 times.
    assert len(asked) == len(set(asked)) < 30 * 8 * 3


def test_a_narrow_beam_finds_no_more_than_a_wide_one() -> None:
    log_probs = random_log_probs(25, 4, 4).tolist()
    best = [prefix_beam_search(log_probs, width=width)[0].score for width in (1, 4, 64, 1024)]
    assert best == sorted(best)
    assert len(prefix_beam_search(log_probs, width=4)) == 4


def test_how_pieces_spell_words() -> None:
    tokenizer = train_sentencepiece(["THE CAT SAT ON THE MAT AND THE RAT RAN"] * 20, 24)
    spelling = spelling_of(tokenizer)
    for text in ("THE CAT", "RAT", "SAT ON MAT", ""):
        words = ""
        for token in tokenizer.encode(text):
            words += " " * spelling.starts[token] + spelling.texts[token]
        assert words.split() == text.split()


def test_how_characters_spell_words() -> None:
    assert SPELLING.texts == ("", "", "A", "B")
    assert SPELLING.starts == (False, True, False, False)


def test_tokens_that_are_neither_inside_nor_at_the_start_of_words_are_refused() -> None:
    class Odd(CharTokenizer):
        def decode(self, tokens: Sequence[int]) -> str:
            return "-".join(self.symbols[token] for token in tokens if token)

    with pytest.raises(LanguageModelError, match="neither continues a word nor starts one"):
        spelling_of(Odd(" AB"))
