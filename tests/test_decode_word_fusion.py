"""A neural language model of words inside the beam search."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.reference import WordScorer, prefix_beam_search
from asr.decode.spelling import spelling_of
from asr.decode.word_fusion import NeuralWords
from asr.errors import LanguageModelError
from asr.text import SentencePieceTokenizer, Tokenizer, train_sentencepiece
from lm.contexts import Contexts
from lm.neural_model import NeuralLanguageModel
from lm.rescoring import score_sequences
from lm.units import WordUnits
from lm.word_shares import WordShares
from tests.beam_search import (
    LETTERS,
    UNMARKED,
    WORD_MODEL,
    check,
    random_frames,
    run,
    sequences,
    unlimited,
)
from tests.neural_models import neural_model

# BA is missing in the model, and CC in the lexicon.
MODEL = neural_model(WordUnits(["A", "CC", "CAB", "AB"]))
ADAPTIVE = neural_model(WordUnits(["A", "CC", "CAB", "AB"]), cutoffs=[2, 4])
LEXICON = ["A", "BA", "AB", "CAB", "C"]
UNIGRAMS = WORD_MODEL.arc_log_probs()[: WORD_MODEL.n_words].tolist()


class Mixture:
    """alpha * log p_ngram + gamma * log p_neural of words, as a language model of its own."""

    def __init__(self, neural: NeuralLanguageModel, shares: WordShares, weights: BeamOptions):
        self._neural, self._shares, self._weights = neural, shares, weights

    def word_id(self, word: str) -> str:
        return word

    def start(self) -> Any:
        return WORD_MODEL.start(), self._read(self._neural.start(1), 0)

    def step(self, state: Any, word: str) -> tuple[float, Any]:
        known = word or "no word of the lexicon"
        ngram, after = WORD_MODEL.step(state[0], WORD_MODEL.word_id(word) if word else 0)
        token, share = self._shares.find(known)
        score = self._weights.alpha * ngram + self._weights.gamma * (state[1][0][token] + share)
        return score, (after, self._read(state[1][1], token))

    def finish(self, state: Any) -> float:
        end = self._weights.gamma * state[1][0][0]
        return float(self._weights.alpha * WORD_MODEL.finish(state[0]) + end)

    def _read(self, state: Any, token: int) -> Any:
        log_probs, state = self._neural.step(state, torch.tensor([token]))
        return log_probs[0].double().tolist(), state


def scorer(
    search: BeamSearch, neural: NeuralLanguageModel, tokenizer: Tokenizer, weights: BeamOptions
) -> WordScorer:
    """The readable scorer, with the look-ahead that the engine has."""
    ahead = weights.alpha + weights.gamma
    return WordScorer(
        spelling_of(tokenizer),
        model=Mixture(neural, search.word_shares(neural), weights),  # type: ignore[arg-type]
        words=LEXICON,
        alpha=1.0,
        beta=weights.beta,
        unknown_score=weights.unknown_score,
        look_ahead={w: ahead * UNIGRAMS[WORD_MODEL.word_id(w)] for w in [*LEXICON, "<unk>"]},
    )


@pytest.fixture(scope="module")
def pieces() -> SentencePieceTokenizer:
    return train_sentencepiece(["A BA AB CAB CC BB BA AB ABC"] * 10, 14)


@settings(max_examples=60)
@given(
    n_frames=st.integers(0, 14),
    width=st.sampled_from([1, 3, 17, 3000]),
    seed=st.integers(0, 9999),
    alpha=st.floats(0, 2),
    beta=st.floats(-2, 2),
    gamma=st.floats(0, 2),
    unknown_score=st.none() | st.floats(-8, 0),
    adaptive=st.booleans(),
)
def test_it_equals_the_readable_search(
    n_frames: int,
    width: int,
    seed: int,
    alpha: float,
    beta: float,
    gamma: float,
    unknown_score: float | None,
    adaptive: bool,
) -> None:
    n_frames = min(n_frames, 4) if width > 100 else n_frames
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, 1.5)
    options = unlimited(width, alpha=alpha, beta=beta, gamma=gamma, unknown_score=unknown_score)
    neural = ADAPTIVE if adaptive else MODEL
    search = BeamSearch(LETTERS, options, table=WORD_MODEL, words=LEXICON, neural=neural)
    readable = scorer(search, neural, LETTERS, options)
    expected = prefix_beam_search(frames.tolist(), [readable], width)
    if expected:
        check(run(search, frames), expected, options)


@settings(max_examples=20)
@given(seed=st.integers(0, 9999), width=st.sampled_from([2, 9]), open_=st.booleans())
def test_with_word_pieces(
    seed: int, width: int, open_: bool, pieces: SentencePieceTokenizer
) -> None:
    frames = random_frames(10, pieces.n_tokens, seed, 2.0)
    options = unlimited(width, alpha=0.6, gamma=0.9, unknown_score=-2.0 if open_ else None)
    search = BeamSearch(pieces, options, table=WORD_MODEL, words=LEXICON, neural=MODEL)
    readable = scorer(search, MODEL, pieces, options)
    expected = prefix_beam_search(frames.tolist(), [readable], width)
    if expected:
        check(run(search, frames), expected, options)


def model_scores(
    neural: NeuralLanguageModel, shares: WordShares, texts: Sequence[str]
) -> list[float]:
    """What the model and the shares say of whole texts."""
    encoded = [shares.encode(text.split()) for text in texts]
    scores = score_sequences(neural, [tokens for tokens, _ in encoded]).log_probs
    return [float(score + share) for score, (_, share) in zip(scores, encoded, strict=True)]


@pytest.mark.parametrize("lexicon", [LEXICON, None])
def test_without_an_ngram_model_scores_are_those_of_rescoring(lexicon: list[str] | None) -> None:
    options = unlimited(20, gamma=0.8, unknown_score=-1.0)
    search = BeamSearch(LETTERS, options, words=lexicon, neural=MODEL)
    found = run(search, random_frames(20, LETTERS.n_tokens, 3, 2.0))
    texts = [LETTERS.decode(tokens) for tokens in sequences(found)]
    assert any("BA" in text.split() for text in texts)
    expected = model_scores(MODEL, search.word_shares(MODEL), texts)
    np.testing.assert_allclose(found.neural, expected, rtol=1e-5)


def test_words_that_may_not_end_are_left_out_before_the_end_is_scored() -> None:
    frames = np.full((5, LETTERS.n_tokens), -30.0, np.float32)
    for frame, token in enumerate(LETTERS.encode("A CA")):
        frames[frame, token] = 0.0
    frames[4, 0] = 0.0
    options = BeamOptions(width=1, gamma=1.0)
    search = BeamSearch(LETTERS, options, words=["A", "CAB"], neural=MODEL)
    found = run(search, frames)
    assert sequences(found) == [tuple(LETTERS.encode("A "))]
    expected = model_scores(MODEL, search.word_shares(MODEL), ["A"])
    np.testing.assert_allclose(found.neural, expected, rtol=1e-5)


def test_without_weight_it_changes_nothing() -> None:
    frames = random_frames(25, LETTERS.n_tokens, 5, 2.0)
    for table in (WORD_MODEL, None):
        options = unlimited(20, alpha=0.7, gamma=0.0)
        ours = run(BeamSearch(LETTERS, options, table=table, words=LEXICON, neural=MODEL), frames)
        plain = run(BeamSearch(LETTERS, options, table=table, words=LEXICON), frames)
        assert sequences(ours) == sequences(plain)
        np.testing.assert_array_equal(ours.scores, plain.scores)


def test_many_together_are_as_one_by_one() -> None:
    lengths = [0, 30, 7, 25, *range(1, 20)]
    log_probs = np.zeros((len(lengths), max(lengths), LETTERS.n_tokens), np.float32)
    for row, length in enumerate(lengths):
        log_probs[row, :length] = random_frames(length, LETTERS.n_tokens, row, 2.0)
    options = BeamOptions(width=8, alpha=0.4, gamma=0.8)
    search = BeamSearch(LETTERS, options, table=WORD_MODEL, words=LEXICON, neural=ADAPTIVE)
    together = search.search(torch.from_numpy(log_probs), torch.tensor(lengths))
    for found, row, length in zip(together, log_probs, lengths, strict=True):
        alone = run(search, row[:length])
        assert sequences(found) == sequences(alone)
        assert found.n_neural_steps == alone.n_neural_steps
        np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)


def test_it_reads_a_word_for_each_history_and_keeps_few_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Contexts] = []

    class Watched(Contexts):
        def __init__(self, model: NeuralLanguageModel) -> None:
            super().__init__(model)
            made.append(self)

    monkeypatch.setattr("asr.decode.word_fusion.Contexts", Watched)
    # One word after the other, with no doubt about any.
    text = " ".join(["A", "CAB", "AB"] * 30)
    frames = np.full((2 * len(text), LETTERS.n_tokens), -40.0, np.float32)
    frames[1::2, 0] = 0.0
    for place, token in enumerate(LETTERS.encode(text)):
        frames[2 * place, token] = 0.0
    search = BeamSearch(LETTERS, BeamOptions(width=8, gamma=0.8), words=LEXICON, neural=MODEL)
    found = run(search, frames)
    assert LETTERS.decode(found.tokens[: found.starts[1]].tolist()) == text
    assert 90 <= found.n_neural_steps <= 100
    (contexts,) = made
    assert contexts.n_used <= 2 * 8


def test_the_tokenizer_must_mark_words() -> None:
    with pytest.raises(LanguageModelError, match=r"one of words.*--units tokenizer"):
        BeamSearch(UNMARKED, neural=MODEL)


def test_long_words_are_unknown() -> None:
    shares = WordShares(MODEL)
    words = NeuralWords(MODEL, shares, LETTERS, spelling_of(LETTERS))
    unknown = shares.find("no such word")
    assert words.find(np.array([2, 3], np.int32)) == shares.find("AB") != unknown
    assert words.find(np.full(64, 2, np.int32)) == unknown
