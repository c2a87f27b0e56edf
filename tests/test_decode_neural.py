"""A neural language model inside the beam search."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.reference import Scorer, WordScorer, prefix_beam_search
from asr.decode.spelling import spelling_of
from asr.errors import LanguageModelError
from asr.text import CharTokenizer
from lm.neural_model import NeuralLanguageModel
from lm.units import TokenizerUnits
from tests.beam_search import (
    LETTERS,
    WORD_MODEL,
    check,
    random_frames,
    run,
    sequences,
    unlimited,
    word_scorer,
)
from tests.neural_models import neural_model

MODELS = {kind: neural_model(TokenizerUnits(LETTERS), kind) for kind in ("lstm", "nplm")}


class NeuralScorer:
    """gamma * log p_neural(y </s>), one token at a time."""

    def __init__(self, model: NeuralLanguageModel, gamma: float) -> None:
        self._model, self._gamma = model, gamma

    def start(self) -> Any:
        return self._read(self._model.start(1), 0)

    def score(self, state: Any, token: int) -> tuple[float, Any]:
        return self._gamma * float(state[0][token]), self._read(state[1], token)

    def finish(self, state: Any) -> float:
        return self._gamma * float(state[0][0])

    def _read(self, state: Any, token: int) -> Any:
        log_probs, state = self._model.step(state, torch.tensor([token]))
        return log_probs[0].double().tolist(), state


@settings(max_examples=40)
@given(
    n_frames=st.integers(0, 12),
    width=st.sampled_from([1, 2, 5, 17, 3000]),
    seed=st.integers(0, 9999),
    gamma=st.floats(0, 2),
    beta=st.floats(-2, 2),
    kind=st.sampled_from(["lstm", "nplm"]),
)
def test_alone(n_frames: int, width: int, seed: int, gamma: float, beta: float, kind: str) -> None:
    frames = random_frames(
        min(n_frames, 4) if width > 100 else n_frames, LETTERS.n_tokens, seed, 1.5
    )
    options = unlimited(width, gamma=gamma, beta=beta)
    words = WordScorer(spelling_of(LETTERS), beta=beta, unknown_score=0.0)
    scorers: list[Scorer] = [NeuralScorer(MODELS[kind], gamma), words]
    expected = prefix_beam_search(frames.tolist(), scorers, width)
    check(run(BeamSearch(LETTERS, options, neural=MODELS[kind]), frames), expected, options)


@settings(max_examples=30)
@given(
    n_frames=st.integers(0, 12),
    width=st.sampled_from([1, 3, 17]),
    seed=st.integers(0, 9999),
    alpha=st.floats(0, 2),
    gamma=st.floats(0, 2),
    unknown_score=st.none() | st.floats(-8, 0),
)
def test_with_a_word_model(
    n_frames: int, width: int, seed: int, alpha: float, gamma: float, unknown_score: float | None
) -> None:
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, 1.5)
    options = unlimited(width, alpha=alpha, gamma=gamma, unknown_score=unknown_score)
    lexicon = ["A", "BA", "AB", "CAB"]
    search = BeamSearch(LETTERS, options, table=WORD_MODEL, words=lexicon, neural=MODELS["lstm"])
    scorers: list[Scorer] = [
        word_scorer(WORD_MODEL, LETTERS, lexicon, options),
        NeuralScorer(MODELS["lstm"], gamma),
    ]
    expected = prefix_beam_search(frames.tolist(), scorers, width)
    if expected:
        check(run(search, frames), expected, options)


def test_hotwords_come_on_top() -> None:
    frames = random_frames(4, LETTERS.n_tokens, 3, 1.0)
    options = unlimited(3000, gamma=0.7)
    plain = run(BeamSearch(LETTERS, options, neural=MODELS["lstm"]), frames)
    boosted = run(BeamSearch(LETTERS, options, neural=MODELS["lstm"], hotwords={"A": 1.5}), frames)
    before = dict(zip(sequences(plain), plain.scores, strict=True))
    for tokens, score in zip(sequences(boosted), boosted.scores, strict=True):
        n_hotwords = LETTERS.decode(tokens).split().count("A")
        assert score == pytest.approx(before[tokens] + 1.5 * n_hotwords, rel=1e-6)


def test_without_weight_it_changes_nothing() -> None:
    frames = random_frames(25, LETTERS.n_tokens, 5, 2.0)
    options = unlimited(20, gamma=0.0)
    ours = run(BeamSearch(LETTERS, options, neural=MODELS["lstm"]), frames)
    plain = run(BeamSearch(LETTERS, options), frames)
    assert sequences(ours) == sequences(plain)
    np.testing.assert_array_equal(ours.scores, plain.scores)


def test_many_together_are_as_one_by_one() -> None:
    lengths = [0, 30, 7, 25, *range(1, 20)]
    log_probs = np.zeros((len(lengths), max(lengths), LETTERS.n_tokens), np.float32)
    for row, length in enumerate(lengths):
        log_probs[row, :length] = random_frames(length, LETTERS.n_tokens, row, 2.0)
    search = BeamSearch(
        LETTERS, BeamOptions(width=8, gamma=0.8), table=WORD_MODEL, neural=MODELS["lstm"]
    )
    together = search.search(torch.from_numpy(log_probs), torch.tensor(lengths))
    for found, row, length in zip(together, log_probs, lengths, strict=True):
        alone = run(search, row[:length])
        assert sequences(found) == sequences(alone)
        assert found.n_neural_steps == alone.n_neural_steps
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)


def test_it_is_asked_for_new_prefixes_only() -> None:
    frames = np.full((200, LETTERS.n_tokens), -20.0, np.float32)
    frames[:, 0] = 0.0
    frames[::20, [0, 2]] = -20.0, 0.0
    search = BeamSearch(LETTERS, BeamOptions(width=8, gamma=0.8), neural=MODELS["lstm"])
    found = run(search, frames)
    assert len(found.tokens[: found.starts[1]]) == 10
    assert 10 < found.n_neural_steps < 100


def test_its_tokens_may_have_other_numbers() -> None:
    other = CharTokenizer("CBA '")
    model = neural_model(TokenizerUnits(other))
    frames = random_frames(10, LETTERS.n_tokens, 11, 2.0)
    found = run(BeamSearch(LETTERS, unlimited(10, gamma=1.0), neural=model), frames)
    texts = [LETTERS.decode(tokens) for tokens in sequences(found)]
    spelled = [[other.symbols.index(LETTERS.symbols[t]) for t in y] for y in sequences(found)]
    theirs = [float(log_probs.sum(dtype=np.float64)) for log_probs in model.log_probs(spelled)]
    assert any(texts)
    np.testing.assert_allclose(found.neural, theirs, rtol=1e-5)


def test_models_of_other_units_are_refused() -> None:
    with pytest.raises(LanguageModelError, match=r"no token 'C'.*--units tokenizer"):
        BeamSearch(LETTERS, neural=neural_model(TokenizerUnits(CharTokenizer(" AB"))))
