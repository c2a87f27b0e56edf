"""Hotwords in the beam search: every whole occurrence counts, and nothing else does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.beam import BeamOptions, BeamSearch
from asr.errors import ConfigError
from tests.beam_search import LETTERS, UNMARKED, Frames, random_frames, run, sequences, unlimited


def occurrences(phrase: str, text: str) -> int:
    wanted, words = phrase.split(), text.split()
    return sum(words[i : i + len(wanted)] == wanted for i in range(len(words)))


@settings(max_examples=40)
@given(
    n_frames=st.integers(0, 5),
    seed=st.integers(0, 9999),
    bonuses=st.dictionaries(
        st.sampled_from(["A", "AB", "A B", "B", "B A", "A B A", "BA", "AA"]),
        st.floats(0, 5),
        max_size=5,
    ),
    words=st.none() | st.just(["A", "B", "AB", "BA"]),
)
def test_hotwords_count_whole_words_and_nothing_else(
    n_frames: int, seed: int, bonuses: dict[str, float], words: list[str] | None
) -> None:
    frames = random_frames(n_frames, LETTERS.n_tokens, seed, 1.0)
    options = unlimited(3000, alpha=0.5, beta=0.3)
    # A lexicon gets the words of hotwords.
    more = [word for phrase in bonuses for word in phrase.split()]
    known = None if words is None else list(dict.fromkeys([*words, *more]))
    plain = run(BeamSearch(LETTERS, options, words=known), frames)
    boosted = run(BeamSearch(LETTERS, options, words=words, hotwords=bonuses), frames)
    before = dict(zip(sequences(plain), plain.scores, strict=True))
    assert set(before) == set(sequences(boosted))
    for tokens, score in zip(sequences(boosted), boosted.scores, strict=True):
        text = LETTERS.decode(tokens)
        bonus = sum(b * occurrences(phrase, text) for phrase, b in bonuses.items())
        assert score == pytest.approx(before[tokens] + bonus, abs=1e-9)


def spoken(text: str, doubtful: float = 0.0) -> Frames:
    """A frame for each character, with a blank behind; the doubtful part goes to other tokens."""
    n_tokens = LETTERS.n_tokens
    rows = []
    for token in LETTERS.encode(text):
        row = np.full(n_tokens, max(doubtful, 1e-6) / (n_tokens - 1))
        row[token] = 1.0 - doubtful
        blank = np.full(n_tokens, 1e-6)
        blank[0] = 1.0
        rows += [row, blank]
    return np.array(np.log(rows), np.float32)


def best(frames: Frames, bonuses: dict[str, float]) -> str:
    found = run(BeamSearch(LETTERS, BeamOptions(beta=0.0), hotwords=bonuses), frames)
    return LETTERS.decode(sequences(found)[0])


def test_the_bonus_decides_between_what_sounds_alike() -> None:
    frames = spoken("AB")
    frames[2, LETTERS.encode("C")] = frames[2, LETTERS.encode("B")] - 1.0
    assert best(frames, {}) == "AB"
    assert best(frames, {"AC": 0.9}) == "AB"
    assert best(frames, {"AC": 1.1}) == "AC"


def test_a_phrase_that_breaks_off_gives_its_bonus_back() -> None:
    # "A B C" is heard up to its last letter: the bonus must not leave a trace of it.
    frames = spoken("A B A", doubtful=0.05)
    plain = run(BeamSearch(LETTERS, BeamOptions(width=20)), frames)
    boosted = run(BeamSearch(LETTERS, BeamOptions(width=20), hotwords={"A B C": 1.0}), frames)
    assert sequences(boosted)[0] == sequences(plain)[0]
    assert boosted.scores[0] == pytest.approx(plain.scores[0], abs=1e-9)
    assert boosted.bonus[0] == plain.bonus[0]


def test_part_of_a_word_is_no_hotword() -> None:
    frames = spoken("ABC CAB")
    search = BeamSearch(LETTERS, BeamOptions(beta=0.0), hotwords={"AB": 5.0, "BC": 5.0, "CA": 5.0})
    found = run(search, frames)
    assert LETTERS.decode(sequences(found)[0]) == "ABC CAB"
    assert found.bonus[0] == 0.0


def test_hotwords_are_found_behind_several_spaces_and_in_one_another() -> None:
    search = BeamSearch(LETTERS, BeamOptions(beta=0.0), hotwords={"A B": 1.0, "B": 0.25})
    assert run(search, spoken("C  A  B B")).bonus[0] == pytest.approx(1.0 + 2 * 0.25)


@pytest.mark.parametrize(
    ("bonuses", "message"),
    [
        ({"": 1.0}, "hotword '' with bonus 1: one or more words"),
        ({"A": -1.0}, "hotword 'A' with bonus -1: .* at least 0"),
        ({"A": np.inf}, "hotword 'A' with bonus inf: .* finite"),
        ({"AZ": 1.0}, "hotword 'AZ': .*'Z'"),
    ],
)
def test_bad_hotwords_are_refused_by_name(bonuses: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        BeamSearch(LETTERS, hotwords=bonuses)
    assert "\n" not in str(caught.value)


def test_tokens_without_word_marks_are_words_themselves() -> None:
    frames = random_frames(5, UNMARKED.n_tokens, 1, 1.0)
    plain = run(BeamSearch(UNMARKED, unlimited(3000)), frames)
    boosted = run(BeamSearch(UNMARKED, unlimited(3000), hotwords={"AB": 2.0}), frames)
    before = dict(zip(sequences(plain), plain.scores, strict=True))
    for tokens, score in zip(sequences(boosted), boosted.scores, strict=True):
        n = UNMARKED.decode(tokens).count("AB")
        assert score == pytest.approx(before[tokens] + 2.0 * n, abs=1e-9)
