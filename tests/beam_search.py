"""What the tests of the beam search share: small tokenizers and models, and comparing n-bests."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.nbest import NBest
from asr.decode.reference import ScoredPrefix, WordScorer
from asr.decode.spelling import spelling_of
from asr.text import CharTokenizer, Tokenizer
from lm.table import NgramTable
from tests.lm_models import small_model

Frames = NDArray[np.float32]

LETTERS = CharTokenizer(" ABC")
UNMARKED = CharTokenizer("ABC")
SENTENCES = [["A", "BA"], ["AB", "A", "BA"], ["BB", "CAB"], ["A", "A", "AB"], ["CC", "A"], ["C"]]
WORD_MODEL = NgramTable.from_model(small_model(SENTENCES, 3))
LETTER_MODEL = NgramTable.from_model(
    small_model([list("A"), ["A", "<space>", "B", "A"], ["C", "A", "<space>", "B", "B"]], 3)
)


def random_frames(n_frames: int, n_tokens: int, seed: int, sharpness: float) -> Frames:
    logits = sharpness * np.random.default_rng(seed).standard_normal((n_frames, n_tokens))
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return np.ascontiguousarray(log_probs, np.float32)


def unlimited(width: int, **weights: float | None) -> BeamOptions:
    """Options that leave nothing out."""
    return BeamOptions(
        width=width,
        score_threshold=np.inf,
        token_threshold=-np.inf,
        blank_threshold=1.0,
        merge=False,
        **weights,  # type: ignore[arg-type]
    )


def limit(n_frames: int, width: int) -> int:
    """The reference is slow where nothing is dropped."""
    return min(n_frames, 6) if width > 100 else n_frames


def word_scorer(
    table: NgramTable, tokenizer: Tokenizer, words: Sequence[str], options: BeamOptions
) -> WordScorer:
    """The readable scorer of a word model, with the look-ahead that the engine has."""
    unigrams = table.arc_log_probs()[: table.n_words].tolist()
    return WordScorer(
        spelling_of(tokenizer),
        model=table,
        words=words,
        alpha=options.alpha,
        beta=options.beta,
        unknown_score=options.unknown_score,
        look_ahead={word: unigrams[table.word_id(word)] for word in [*words, "<unk>"]},
    )


def run(search: BeamSearch, frames: Frames) -> NBest:
    (found,) = search.search(torch.from_numpy(frames)[None], torch.tensor([len(frames)]))
    return found


def sequences(found: NBest) -> list[tuple[int, ...]]:
    bounds = zip(found.starts[:-1], found.starts[1:], strict=True)
    return [tuple(found.tokens[first:end].tolist()) for first, end in bounds]


def check(found: NBest, expected: Sequence[ScoredPrefix], weights: BeamOptions) -> None:
    """Same hypotheses in the same order, scores to 1e-5 relative, and scores that add up."""
    assert sequences(found) == [hypothesis.tokens for hypothesis in expected]
    for ours, name in ((found.scores, "score"), (found.acoustic, "acoustic")):
        theirs = [getattr(hypothesis, name) for hypothesis in expected]
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    parts = weights.alpha * found.ngram + weights.gamma * found.neural + found.bonus
    np.testing.assert_allclose(found.acoustic + parts, found.scores, rtol=1e-9, atol=1e-9)
