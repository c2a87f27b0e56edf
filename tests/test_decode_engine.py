"""The compiled beam search against the readable one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.reference import Scorer, TokenScorer, WordScorer, prefix_beam_search
from asr.decode.spelling import spelling_of
from asr.text import SentencePieceTokenizer, frames_needed, train_sentencepiece
from tests.beam_search import (
    LETTER_MODEL,
    LETTERS,
    UNMARKED,
    WORD_MODEL,
    check,
    limit,
    random_frames,
    run,
    sequences,
    unlimited,
    word_scorer,
)


@pytest.fixture(scope="module")
def pieces() -> SentencePieceTokenizer:
    return train_sentencepiece(["A BA AB CAB CC BB BA AB ABC"] * 10, 14)


shapes = {
    "n_frames": st.integers(0, 25),
    "width": st.sampled_from([1, 2, 5, 17, 3000]),
    "seed": st.integers(0, 9999),
    "sharpness": st.sampled_from([0.3, 2.0, 6.0]),
}


@settings(max_examples=30)
@given(**shapes, beta=st.floats(-2, 2), marked=st.booleans())
def test_without_models(
    n_frames: int, width: int, seed: int, sharpness: float, beta: float, marked: bool
) -> None:
    tokenizer = LETTERS if marked else UNMARKED
    frames = random_frames(limit(n_frames, width), tokenizer.n_tokens, seed, sharpness)
    options = unlimited(width, beta=beta)
    scorer = WordScorer(spelling_of(tokenizer), beta=beta, unknown_score=0.0)
    expected = prefix_beam_search(frames.tolist(), [scorer], width)
    check(run(BeamSearch(tokenizer, options), frames), expected, options)


weights = {
    "alpha": st.floats(0, 2),
    "beta": st.floats(-2, 2),
    "unknown_score": st.none() | st.floats(-8, 0),
}
lexicons = st.lists(
    st.sampled_from(["A", "B", "AB", "BA", "ABA", "CAB", "CC", "C", "ABC", "BB", "AAA"]),
    min_size=1,
    max_size=8,
    unique=True,
)


@settings(max_examples=60)
@given(**shapes, **weights, words=lexicons)
def test_words_with_a_language_model(
    n_frames: int,
    width: int,
    seed: int,
    sharpness: float,
    alpha: float,
    beta: float,
    unknown_score: float | None,
    words: list[str],
) -> None:
    frames = random_frames(limit(n_frames, width), LETTERS.n_tokens, seed, sharpness)
    options = unlimited(width, alpha=alpha, beta=beta, unknown_score=unknown_score)
    search = BeamSearch(LETTERS, options, table=WORD_MODEL, words=words)
    scorer = word_scorer(WORD_MODEL, LETTERS, words, options)
    expected = prefix_beam_search(frames.tolist(), [scorer], width)
    if expected:
        check(run(search, frames), expected, options)


@settings(max_examples=40)
@given(**shapes, **weights, words=lexicons)
def test_word_pieces_with_a_language_model(
    pieces: SentencePieceTokenizer,
    n_frames: int,
    width: int,
    seed: int,
    sharpness: float,
    alpha: float,
    beta: float,
    unknown_score: float | None,
    words: list[str],
) -> None:
    n_frames = min(n_frames, 3) if width > 100 else n_frames
    frames = random_frames(n_frames, pieces.n_tokens, seed, sharpness)
    options = unlimited(width, alpha=alpha, beta=beta, unknown_score=unknown_score)
    search = BeamSearch(pieces, options, table=WORD_MODEL, words=words)
    scorer = word_scorer(WORD_MODEL, pieces, words, options)
    expected = prefix_beam_search(frames.tolist(), [scorer], width)
    if expected:
        check(run(search, frames), expected, options)


@settings(max_examples=40)
@given(**shapes, alpha=st.floats(0, 2), beta=st.floats(-2, 2), words=st.none() | lexicons)
def test_tokens_with_a_language_model(
    n_frames: int,
    width: int,
    seed: int,
    sharpness: float,
    alpha: float,
    beta: float,
    words: list[str] | None,
) -> None:
    frames = random_frames(limit(n_frames, width), LETTERS.n_tokens, seed, sharpness)
    options = unlimited(width, alpha=alpha, beta=beta)
    search = BeamSearch(LETTERS, options, table=LETTER_MODEL, words=words)
    symbols = ["<unk>", "<space>", *"ABC"]
    scorers: list[Scorer] = [
        TokenScorer(LETTER_MODEL, [LETTER_MODEL.word_id(s) for s in symbols], alpha),
        WordScorer(
            spelling_of(LETTERS),
            words=words or (),
            beta=beta,
            unknown_score=0.0 if words is None else None,
        ),
    ]
    expected = prefix_beam_search(frames.tolist(), scorers, width)
    if expected:
        check(run(search, frames), expected, options)


@settings(max_examples=60)
@given(
    n_frames=st.integers(0, 40),
    seed=st.integers(0, 9999),
    sharpness=st.sampled_from([0.3, 2.0, 6.0]),
    width=st.integers(1, 40),
    score_threshold=st.floats(0, 30),
    token_threshold=st.floats(-20, 0),
    top_tokens=st.integers(0, 6),
    blank_threshold=st.floats(0.05, 1),
    unknown_score=st.none() | st.floats(-8, 2),
    bonus=st.floats(0, 8),
    merge=st.booleans(),
)
def test_whatever_is_left_out_no_hypothesis_gets_more_than_it_has(
    n_frames: int, seed: int, sharpness: float, bonus: float, **options: Any
) -> None:
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, sharpness)
    search = BeamSearch(
        LETTERS, BeamOptions(**options), table=WORD_MODEL, hotwords={"A BA": bonus, "C": bonus}
    )
    found = run(search, frames)
    assert (np.diff(found.scores) <= 0).all()
    assert len(set(sequences(found))) == len(found.scores)
    assert len(found.scores) <= max(options["width"], 100 * options["merge"])
    # Of merged ones it is an estimate, and the best is none of them.
    n_sums = 1 if options["merge"] else len(found.scores)
    for tokens, acoustic in list(zip(sequences(found), found.acoustic, strict=True))[:n_sums]:
        # Where no word may end, words are left out, but not their part of log p_ctc.
        if options["unknown_score"] is not None and n_frames:
            exact = -torch.nn.functional.ctc_loss(
                torch.from_numpy(frames).double(),
                torch.tensor(tokens, dtype=torch.int64),
                torch.tensor(n_frames),
                torch.tensor(len(tokens)),
                reduction="sum",
            )
            assert acoustic <= float(exact) + 1e-9


@settings(max_examples=60)
@given(
    n_frames=st.integers(1, 25),
    seed=st.integers(0, 9999),
    sharpness=st.sampled_from([2.0, 4.0]),
    alpha=st.floats(0.1, 2),
    beta=st.floats(-2, 2),
    unknown_score=st.none() | st.floats(-8, 0),
    words=lexicons,
)
def test_merged_prefixes_come_back_with_their_own_scores(
    n_frames: int,
    seed: int,
    sharpness: float,
    alpha: float,
    beta: float,
    unknown_score: float | None,
    words: list[str],
) -> None:
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, sharpness)
    options = unlimited(30, alpha=alpha, beta=beta, unknown_score=unknown_score)
    search = BeamSearch(LETTERS, options, table=WORD_MODEL, words=words, hotwords={"A BA": 0.5})
    merging = search.with_options(replace(options, merge=True))
    found = run(merging, frames)
    exact = run(search, frames)
    alone = {tokens: index for index, tokens in enumerate(sequences(exact))}
    assert len(set(sequences(found))) == len(found.scores)
    assert (np.diff(found.scores) <= 0).all()
    weighted = options.alpha * found.ngram + found.bonus
    np.testing.assert_allclose(found.acoustic + weighted, found.scores, rtol=1e-9, atol=1e-9)
    for index, tokens in enumerate(sequences(found)):
        assert frames_needed(tokens) <= n_frames
        if tokens in alone:
            other = alone[tokens]
            assert found.ngram[index] == pytest.approx(exact.ngram[other], abs=1e-9)
            assert found.bonus[index] == pytest.approx(exact.bonus[other], abs=1e-9)


def test_a_narrow_beam_finds_more_when_prefixes_are_merged() -> None:
    scores: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(40):
        frames = random_frames(60, LETTERS.n_tokens, seed, 2.0)
        for merge, best in scores.items():
            options = replace(unlimited(8, alpha=1.0), merge=merge)
            best.append(run(BeamSearch(LETTERS, options, table=WORD_MODEL), frames).scores[0])
    difference = np.subtract(scores[True], scores[False])
    assert difference.mean() > 0.1
    assert np.median(difference) > 0
