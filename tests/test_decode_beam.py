"""BeamSearch: options, refusals, words with times and confidences, threads, weights of zero."""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr.decode import compiled, engine
from asr.decode.beam import BeamHypothesis, BeamOptions, BeamSearch
from asr.decode.nbest import NBest
from asr.errors import AsrError, ConfigError, LanguageModelError
from asr.text import CharTokenizer, Tokenizer, train_sentencepiece
from lm.table import NgramTable
from tests.beam_search import (
    LETTER_MODEL,
    LETTERS,
    UNMARKED,
    WORD_MODEL,
    Frames,
    random_frames,
    run,
    sequences,
    unlimited,
)
from tests.lm_models import small_model


def assert_identical(ours: NBest, theirs: NBest) -> None:
    assert sequences(ours) == sequences(theirs)
    np.testing.assert_array_equal(ours.scores, theirs.scores)


def decode(search: BeamSearch, frames: Frames, **options: Any) -> list[BeamHypothesis]:
    lengths = torch.tensor([len(frames)])
    (found,) = search.decode(torch.from_numpy(frames)[None], lengths, 0.04, **options)
    return found


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": -0.1},
        {"alpha": math.inf},
        {"beta": math.nan},
        {"gamma": -1.0},
        {"unknown_score": -math.inf},
        {"width": 0},
        {"score_threshold": -1.0},
        {"token_threshold": 0.1},
        {"top_tokens": -1},
        {"blank_threshold": 0.0},
        {"blank_threshold": 1.1},
        {"n_best": 0},
        {"posterior_scale": 0.0},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"^{name} = .* out of range"):
        BeamOptions(**wrong)


def table_of(*words: str) -> NgramTable:
    return NgramTable.from_model(small_model([words, words[::-1]], 2))


@pytest.mark.parametrize(
    ("tokenizer", "table", "message"),
    [
        (LETTERS, table_of("hello", "world"), r"units \('hello'.*do not fit the tokenizer"),
        (UNMARKED, table_of("AB", "BA"), r"does not mark where words end"),
        (UNMARKED, table_of("X", "Y"), r"'X'.*do not fit the tokenizer \('A'"),
    ],
)
def test_models_of_other_units_are_refused(
    tokenizer: Tokenizer, table: NgramTable, message: str
) -> None:
    with pytest.raises(LanguageModelError, match=message) as caught:
        BeamSearch(tokenizer, table=table)
    assert "\n" not in str(caught.value)


def test_lexicons_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(LanguageModelError, match="does not mark where words end"):
        BeamSearch(UNMARKED, words=["AB"])
    with pytest.raises(LanguageModelError, match=r"can spell none of the 2 words.*'x'"):
        BeamSearch(LETTERS, words=["x", "y"])


def test_words_that_cannot_be_spelled_are_left_out_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, logger="asr.decode.scoring"):
        search = BeamSearch(LETTERS, words=["A", "ÄB", "BA"])
    assert "1 of 3 words cannot be spelled" in caplog.text
    frames = random_frames(12, LETTERS.n_tokens, 4, 2.0)
    words = {word for y in sequences(run(search, frames)) for word in LETTERS.decode(y).split()}
    assert words <= {"A", "BA"}


def test_damaged_or_foreign_log_probabilities_are_refused() -> None:
    search = BeamSearch(LETTERS)
    frames = random_frames(5, LETTERS.n_tokens, 0, 1.0)
    with pytest.raises(AsrError, match=r"shape \(1, 5, 5\): \(B, T, 4\)"):
        run(BeamSearch(UNMARKED), frames)
    frames[3, 2] = np.nan
    with pytest.raises(AsrError, match="utterance 0 of the batch is NaN"):
        run(search, frames)
    # Padding may be anything.
    found = search.search(torch.from_numpy(frames)[None], torch.tensor([3]))
    assert np.isfinite(found[0].scores).all()


@pytest.mark.parametrize("width", [7, 300])
def test_weights_of_zero_are_as_no_language_model(width: int) -> None:
    lexicon = ["A", "BA", "AB", "CAB", "BB"]
    for seed in range(20):
        frames = random_frames(20, LETTERS.n_tokens, seed, 2.0)
        options = BeamOptions(alpha=0.0, beta=0.0, gamma=0.0, width=width)
        plain = run(BeamSearch(LETTERS, options, words=lexicon), frames)
        with_words = BeamSearch(LETTERS, options, table=WORD_MODEL, words=lexicon)
        assert_identical(run(with_words, frames), plain)
        of_letters = BeamSearch(LETTERS, options, table=LETTER_MODEL)
        assert_identical(run(of_letters, frames), run(BeamSearch(LETTERS, options), frames))
        open_options = replace(options, unknown_score=0.0)
        opened = run(with_words.with_options(open_options), frames)
        assert_identical(opened, run(BeamSearch(LETTERS, options), frames))


def test_other_weights_need_no_other_tables() -> None:
    frames = random_frames(20, LETTERS.n_tokens, 3, 2.0)
    options = BeamOptions(alpha=1.5, beta=-0.5, width=9, unknown_score=-4.0)
    search = BeamSearch(LETTERS, table=WORD_MODEL, hotwords={"AB": 1.0})
    direct = BeamSearch(LETTERS, options, table=WORD_MODEL, hotwords={"AB": 1.0})
    assert_identical(run(search.with_options(options), frames), run(direct, frames))


def test_threads_give_the_same_as_one_by_one() -> None:
    lengths = [40, 0, 13, 400, 31, 28, 1, 99]
    log_probs = np.full((len(lengths), max(lengths), LETTERS.n_tokens), np.nan, np.float32)
    for row, length in enumerate(lengths):
        log_probs[row, :length] = random_frames(length, LETTERS.n_tokens, row, 1.5)
    search = BeamSearch(LETTERS, BeamOptions(width=60), table=WORD_MODEL)
    for _ in range(3):
        together = search.search(torch.from_numpy(log_probs), torch.tensor(lengths))
        for index, length in enumerate(lengths):
            assert_identical(together[index], run(search, log_probs[index, :length]))


def test_more_prefixes_than_there_is_room_for_at_first() -> None:
    frames = random_frames(1200, LETTERS.n_tokens, 1, 0.5)
    search = BeamSearch(LETTERS, unlimited(50, beta=0.0))
    found = run(search, frames)
    halves = sequences(found)
    assert len(halves) == len(set(halves)) == 50
    assert np.isfinite(found.scores).all()
    assert_identical(found, run(search, frames))  # in the work space that has grown


def test_the_n_best_has_other_texts_and_scores_that_add_up() -> None:
    frames = random_frames(30, LETTERS.n_tokens, 2, 1.5)
    options = BeamOptions(alpha=0.8, beta=0.3, unknown_score=-2.0, n_best=20)
    found = decode(BeamSearch(LETTERS, options, table=WORD_MODEL, hotwords={"A": 0.5}), frames)
    assert len(found) == len({hypothesis.text for hypothesis in found}) == 20
    scores = [hypothesis.score for hypothesis in found]
    assert scores == sorted(scores, reverse=True)
    for hypothesis in found:
        assert LETTERS.decode(hypothesis.tokens) == hypothesis.text
        assert " ".join(word.text for word in hypothesis.words) == hypothesis.text
        words = hypothesis.text.split()
        assert hypothesis.ngram == pytest.approx(WORD_MODEL.score(words), rel=1e-5)
        n_unknown = sum(WORD_MODEL.word_id(word) == 0 for word in words)
        bonus = 0.3 * len(words) - 2.0 * n_unknown + 0.5 * words.count("A")
        assert hypothesis.bonus == pytest.approx(bonus)
        parts = hypothesis.acoustic + 0.8 * hypothesis.ngram + hypothesis.bonus
        assert hypothesis.score == pytest.approx(parts)
    assert [h.text for h in decode(BeamSearch(LETTERS, replace(options, n_best=1)), frames)]


def test_words_have_times_and_confidences() -> None:
    frames = np.full((20, LETTERS.n_tokens), math.log(1e-5), np.float32)
    frames[:, 0] = 0.0
    space, a, b, c = LETTERS.encode(" ABC")
    for frame, token in ((2, a), (3, a), (5, b), (9, space), (12, c), (18, a), (19, a)):
        frames[frame] = math.log(1e-5)
        frames[frame, token] = 0.0
    frames[12, [c, b]] = math.log(0.6), math.log(0.4)
    (hypothesis,) = decode(BeamSearch(LETTERS), frames, durations=[0.79])
    first, second = hypothesis.words
    assert (first.text, first.start, first.end) == ("AB", 0.08, 0.24)
    assert (second.text, second.start, second.end) == ("CA", 0.48, 0.79)
    assert 0.99 < first.confidence <= 1.0
    assert second.confidence == pytest.approx(0.6, abs=0.01)


def test_where_the_lexicon_allows_nothing_the_text_is_empty() -> None:
    frames = np.full((3, LETTERS.n_tokens), -np.inf, np.float32)
    frames[:, LETTERS.encode("C")[0]] = 0.0
    (hypothesis,) = decode(BeamSearch(LETTERS, words=["A"]), frames)
    assert (hypothesis.text, hypothesis.words, hypothesis.score) == ("", (), -math.inf)


def test_where_no_word_may_end_the_last_words_are_left_out() -> None:
    frames = np.full((6, LETTERS.n_tokens), -30.0, np.float32)
    for frame, token in enumerate(LETTERS.encode("A BA")):
        frames[frame, token] = 0.0
    frames[4:, 0] = 0.0
    search = BeamSearch(LETTERS, BeamOptions(score_threshold=5.0), words=["A", "BAA"])
    assert decode(search, frames)[0].text == "A"


def test_word_pieces_lose_only_the_word_that_may_not_end() -> None:
    pieces = train_sentencepiece(["A BA AB CAB CC BB BA AB ABC"] * 10, 14)
    tokens = pieces.encode("A CAB BA")
    frames = np.full((2 * len(tokens), pieces.n_tokens), -30.0, np.float32)
    for frame, token in enumerate(tokens):
        frames[2 * frame, token] = frames[2 * frame + 1, 0] = 0.0
    options = BeamOptions(score_threshold=5.0)
    search = BeamSearch(pieces, options, words=["A", "CAB", "BAAA"])
    assert decode(search, frames)[0].text == "A CAB"


def test_the_lexicon_is_kept_and_made_anew_for_other_words(tmp_path: Path) -> None:
    file = tmp_path / "lexicon"
    frames = random_frames(20, LETTERS.n_tokens, 8, 2.0)
    for words in (["A", "BA"], ["A", "BA"], ["CAB", "B"]):
        ours = run(BeamSearch(LETTERS, words=words, lexicon_file=file), frames)
        assert file.exists()
        assert_identical(ours, run(BeamSearch(LETTERS, words=words), frames))


def test_a_quantised_model_gives_its_own_scores() -> None:
    table = WORD_MODEL.quantize(16)[0]
    frames = random_frames(20, LETTERS.n_tokens, 6, 2.0)
    found = run(BeamSearch(LETTERS, table=table), frames)
    for tokens, log_prob in zip(sequences(found), found.ngram, strict=True):
        words = LETTERS.decode(tokens).split()
        assert log_prob == pytest.approx(table.score(words), rel=1e-5)


def test_words_with_apostrophes() -> None:
    tokenizer = CharTokenizer(" 'AB")
    frames = np.full((4, tokenizer.n_tokens), -9.0, np.float32)
    for frame, token in enumerate(tokenizer.encode("A'B")):
        frames[frame, token] = 0.0
    frames[3, 0] = 0.0
    assert decode(BeamSearch(tokenizer, words=["A'B", "A"]), frames)[0].text == "A'B"


def test_compiled_code_is_made_anew_when_any_of_its_sources_changes() -> None:
    for path in Path(compiled.__file__).parent.glob("*.py"):
        if "from asr.decode.compiled import" in path.read_text(encoding="utf-8"):
            assert path.stem in compiled.SOURCES


@pytest.mark.parametrize("bits", [16, 8])
def test_a_quantised_table_needs_no_second_compilation(bits: int) -> None:
    frames = random_frames(12, LETTERS.n_tokens, seed=3, sharpness=2.0)
    found = run(BeamSearch(LETTERS, table=WORD_MODEL), frames)
    n_versions = len(engine.search.signatures)  # type: ignore[attr-defined]
    quantised = run(BeamSearch(LETTERS, table=WORD_MODEL.quantize(bits)[0]), frames)
    assert len(engine.search.signatures) == n_versions  # type: ignore[attr-defined]
    np.testing.assert_allclose(quantised.scores, found.scores, atol=0.1)
