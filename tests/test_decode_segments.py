import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.decode.beam import BeamHypothesis
from asr.decode.hypothesis import Word
from asr.decode.segments import join_n_best, part_at_pauses


def frames_of(symbols: list[int]) -> torch.Tensor:
    """Log-probabilities whose best symbols are the given ones."""
    frames = torch.full((len(symbols), 3), math.log(0.1))
    for index, symbol in enumerate(symbols):
        frames[index, symbol] = math.log(0.8)
    return frames


@given(st.lists(st.integers(0, 2), max_size=60), st.integers(2, 20))
def test_segments_cover_all_frames_and_are_short(symbols: list[int], max_frames: int) -> None:
    segments = part_at_pauses(frames_of(symbols) if symbols else torch.zeros(0, 3), max_frames)
    assert [start for start, _ in segments] == [0, *(end for _, end in segments[:-1])][
        : len(segments)
    ]
    assert sum(end - start for start, end in segments) == len(symbols)
    assert all(0 < end - start <= max_frames for start, end in segments)


def test_the_cut_is_in_the_middle_of_the_longest_pause() -> None:
    symbols = [1, 2, 1, 0, 2, 1, 0, 0, 0, 0, 2, 1, 2, 1]
    assert part_at_pauses(frames_of(symbols), 12) == [(0, 8), (8, 14)]


def test_without_a_pause_the_cut_is_where_the_blank_is_likeliest() -> None:
    frames = frames_of([1] * 10)
    frames[6, 0] = math.log(0.3)
    assert part_at_pauses(frames, 8) == [(0, 6), (6, 10)]


def hypothesis_of(text: str, score: float) -> BeamHypothesis:
    words = (Word(text, 0.5, 1.0, 0.9),)
    return BeamHypothesis(text, (1,), words, score, score - 1, -2.0, 0.0, 3.0)


def test_the_n_best_of_a_recording_are_the_best_sums() -> None:
    segments = [
        [hypothesis_of("a", -1.0), hypothesis_of("b", -2.0)],
        [hypothesis_of("c", -1.0), hypothesis_of("d", -1.5), hypothesis_of("e", -9.0)],
    ]
    joined = join_n_best(segments, [0.0, 30.0], 3)
    assert [(each.text, each.score) for each in joined] == [
        ("a c", -2.0),
        ("a d", -2.5),
        ("b c", -3.0),
    ]
    assert [word.start for word in joined[0].words] == [0.5, 30.5]
    assert joined[0].ngram == -4.0
    assert joined[0].bonus == 6.0
    assert joined[0].acoustic == pytest.approx(-4.0)


def test_nothing_was_said() -> None:
    (only,) = join_n_best([], [], 5)
    assert (only.text, only.score) == ("", 0.0)
