import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.hypothesis import Word
from asr.subtitles import MAX_CHARACTERS, make_cues


def say(text: str, *, start: float = 0.0, seconds: float = 0.3, gap: float = 0.04) -> list[Word]:
    """Words of equal length; a number of | after a word pauses for so many half seconds."""
    words = []
    for each in text.split():
        word = each.rstrip("|")
        words.append(Word(word, start, start + seconds, 0.9))
        start += seconds + gap + 0.5 * (len(each) - len(word))
    return words


@st.composite
def spoken(draw: st.DrawFn) -> tuple[list[Word], float]:
    words, time = [], draw(st.floats(0, 5))
    for _ in range(draw(st.integers(0, 60))):
        text = draw(st.text("abcdefgh'.,", min_size=1, max_size=draw(st.sampled_from([3, 9, 100]))))
        end = time + draw(st.floats(0.04, 12))
        words.append(Word(text, time, end, 0.5))
        time = end + draw(st.sampled_from([0.0, 0.0, 0.04, 0.3, 0.9, 20.0]))
    return words, time + draw(st.sampled_from([0.0, 0.02, 3.0]))


@settings(max_examples=60)
@given(spoken())
def test_cues_hold_all_words_in_short_lines_at_times_that_do_not_overlap(
    case: tuple[list[Word], float],
) -> None:
    words, duration = case
    cues = make_cues(words, duration)
    joined = "".join(cue.text for cue in cues).replace(" ", "")
    assert joined == "".join(word.text for word in words)
    for cue in cues:
        assert 1 <= len(cue.lines) <= 2
        assert all(1 <= len(line) <= MAX_CHARACTERS for line in cue.lines)
        assert 0 <= cue.start < cue.end <= duration * 1000
    assert all(left.end <= right.start for left, right in itertools.pairwise(cues))


@settings(max_examples=60)
@given(spoken())
def test_a_cue_is_shown_while_its_words_are_said(case: tuple[list[Word], float]) -> None:
    words, duration = case
    if any(len(word.text) > MAX_CHARACTERS for word in words):
        return
    position = 0
    for cue in make_cues(words, duration):
        n = len(cue.text.split(" "))
        first, last = words[position], words[position + n - 1]
        position += n
        assert abs(cue.start - first.start * 1000) <= 1
        assert cue.end >= last.end * 1000 - 2
        assert n == 1 or last.end - first.start <= 7.0


def texts(words: list[Word]) -> list[str]:
    return [cue.text for cue in make_cues(words, words[-1].end + 1)]


def test_cues_end_at_pauses() -> None:
    words = say(
        "we went down to the river|| and nobody said a word until the sun came up|| "
        "then it began to rain"
    )
    assert texts(words) == [
        "we went down to the river",
        "and nobody said a word until the sun came up",
        "then it began to rain",
    ]


def test_a_short_pause_is_better_than_none() -> None:
    text = "one two three four five six seven eight nine| ten eleven twelve thirteen fourteen"
    words = say(text + " fifteen sixteen seventeen eighteen", seconds=0.25)
    assert texts(words)[0].endswith("nine")


def test_sentences_end_cues_and_commas_do_when_something_must() -> None:
    words = say(
        "It was late, and cold. Nobody in the whole house had slept, so they all came down to us",
        seconds=0.2,
    )
    assert texts(words) == [
        "It was late, and cold.",
        "Nobody in the whole house had slept,",
        "so they all came down to us",
    ] or texts(words) == [
        "It was late, and cold.",
        "Nobody in the whole house had slept, so they all came down to us",
    ]


def test_lines_are_even() -> None:
    words = say("a sentence of more than forty two characters in all", seconds=0.1)
    (cue,) = make_cues(words, 10.0)
    assert cue.lines == ("a sentence of more than", "forty two characters in all")


def test_a_long_word_is_cut() -> None:
    (cue,) = make_cues([Word("x" * 60, 1.0, 2.0, 0.5)], 3.0)
    assert cue.lines == ("x" * 42, "x" * 18)
    assert (cue.start, cue.end) == (1000, 2000)


def test_a_short_cue_stays_for_a_second_where_there_is_time() -> None:
    words = [Word("yes", 1.0, 1.1, 1.0), Word("no", 5.0, 5.1, 1.0)]
    assert [(cue.start, cue.end) for cue in make_cues(words, 5.5)] == [(1000, 2000), (5000, 5500)]


def test_no_words_no_cues() -> None:
    assert make_cues([], 10.0) == []
