"""What would break or spoil training is found before it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.check import check
from asr.manifest import Utterance
from asr.text import CharTokenizer, frames_needed


def _utterance(
    folder: Path, name: str = "a", seconds: float = 1.0, text: str = "HI", **fields: float
) -> Utterance:
    path = folder / f"{name}.wav"
    if not path.exists():
        soundfile.write(path, np.zeros(round(16_000 * seconds), dtype=np.float32), 16_000)
    return Utterance(path, fields.pop("duration", seconds), text, **fields)  # type: ignore[arg-type]


def _kinds(utterances: list[Utterance], **options: float) -> list[tuple[int, str]]:
    problems = check(utterances, tokenizer=CharTokenizer(), subsampling_factor=4, **options)  # type: ignore[arg-type]
    return [(problem.index, problem.kind) for problem in problems]


def test_nothing_wrong(tmp_path: Path) -> None:
    assert check([_utterance(tmp_path)], tokenizer=CharTokenizer()) == []


def test_unreadable_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    utterances = [
        Utterance(tmp_path / "bad.wav", 1.0, "A"),
        _utterance(tmp_path),
        Utterance(tmp_path / "none.wav", 1.0, "A"),
    ]
    problems = check(utterances)
    assert [(p.index, p.kind) for p in problems] == [(0, "audio"), (2, "audio")]
    assert "bad.wav" in problems[0].message
    assert "none.wav" in problems[1].message


@pytest.mark.parametrize(
    ("seconds", "duration", "is_wrong"),
    [
        (1.0, 1.04, False),
        (1.0, 1.06, True),
        (1.0, 0.94, True),
        (10.0, 10.09, False),
        (10.0, 10.11, True),
    ],
)
def test_durations(seconds: float, duration: float, is_wrong: bool, tmp_path: Path) -> None:
    utterance = _utterance(tmp_path, seconds=seconds, duration=duration)
    assert _kinds([utterance]) == [(0, "duration")] * is_wrong


def test_stretches_of_a_file_must_only_end_in_it(tmp_path: Path) -> None:
    first = _utterance(tmp_path, seconds=3.0, duration=1.0)
    second = _utterance(tmp_path, duration=1.5, offset=1.0)
    assert _kinds([first]) == [(0, "duration")]
    assert _kinds([first, second]) == []
    assert _kinds([first, _utterance(tmp_path, duration=1.5, offset=2.0)]) == [(1, "duration")]


def test_texts(tmp_path: Path) -> None:
    utterances = [
        _utterance(tmp_path, "a", text=" "),
        _utterance(tmp_path, "b", text="Café"),
        _utterance(tmp_path, "a", text="HI"),
    ]
    problems = check(utterances, tokenizer=CharTokenizer())
    assert [(p.index, p.kind) for p in problems] == [
        (0, "text"),
        (1, "tokenizer"),
        (2, "duplicate"),
    ]
    assert problems[1].message == "the tokenizer does not know 'a', 'f', 'é'"
    assert "utterance 1" in problems[2].message
    assert [p.kind for p in check(utterances)] == ["text", "duplicate"]


@pytest.mark.parametrize(
    ("text", "n_features", "is_short"),
    [("ABC", 9, False), ("ABC", 8, True), ("ABB", 13, False), ("ABB", 12, True)],
)
def test_frames(text: str, n_features: int, is_short: bool, tmp_path: Path) -> None:
    # A window of 400 samples, then 160 more for every frame but the first.
    utterance = _utterance(tmp_path, seconds=(400 + 160 * (n_features - 1)) / 16_000, text=text)
    assert _kinds([utterance]) == [(0, "frames")] * is_short


def test_a_shorter_hop_leaves_more_frames(tmp_path: Path) -> None:
    # 8 frames every 10 ms, 10 every 7.5 ms: 2 and 3 output frames.
    utterance = _utterance(tmp_path, seconds=(400 + 160 * 7) / 16_000, text="ABC")
    assert _kinds([utterance]) == [(0, "frames")]
    assert _kinds([utterance], hop_ms=7.5) == []


def test_audio_shorter_than_a_window_has_no_frames(tmp_path: Path) -> None:
    (problem,) = check([_utterance(tmp_path, seconds=0.02, text="A")], tokenizer=CharTokenizer())
    assert problem.message == "0 frames at subsampling 1, but its 1 tokens need 1"


def test_frames_needed_by_hand() -> None:
    assert [frames_needed(tokens) for tokens in ([], [1], [1, 1], [1, 2, 2, 2, 1])] == [0, 1, 3, 7]
