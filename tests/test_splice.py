"""recipes/librispeech/splice.py: utterances from phrases of others."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from asr.manifest import Utterance, read_manifest, write_manifest
from tests.recipe_scripts import imported

RECIPE = Path(__file__).parents[1] / "recipes" / "librispeech"
RATE = 16_000
# Tones of 0.6 s: three words, a pause of 0.4 s, two words, a pause, one word.
PHRASES = (3, 2, 1)


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ["cut", "splice"]) as modules:
        yield modules


def spoken(number: int) -> tuple[np.ndarray, str, list[tuple[float, float]]]:
    """Waveform, text and times of an utterance; its words are named by utterance and place."""
    tone = 0.1 * np.sin(np.arange(RATE * 6 // 10) * (0.05 + 0.02 * number)).astype(np.float32)
    silence = np.full(RATE * 4 // 10, 1e-4, np.float32)
    parts: list[np.ndarray] = []
    words: list[str] = []
    times: list[tuple[float, float]] = []
    for n_words in PHRASES:
        for _ in range(n_words):
            start = sum(map(len, parts)) / RATE
            times.append((start + 0.05, start + 0.6))
            words.append(f"W{number}{chr(ord('A') + len(words))}")
            parts.append(tone)
        parts.append(silence)
    return np.concatenate(parts), " ".join(words), times


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    utterances, lines = [], []
    for number in range(10):
        waveform, text, times = spoken(number)
        path = tmp_path / f"u{number}.wav"
        soundfile.write(path, waveform, RATE)
        speaker = "one" if number < 6 else "two" if number < 9 else ""
        utterances.append(Utterance(path, len(waveform) / RATE, text, speaker))
        for word, (start, end) in zip(text.split(), times, strict=True):
            lines.append(f"{utterances[-1].id} 1 {start:.3f} {end - start:.3f} {word} 0.9\n")
    write_manifest(tmp_path / "m.jsonl", utterances)
    (tmp_path / "m.ctm").write_text("".join(lines))
    return tmp_path / "m.jsonl", tmp_path / "m.ctm"


def test_utterances_are_cut_in_their_pauses(recipe: SimpleNamespace) -> None:
    waveform, text, times = spoken(1)
    utterance = Utterance(Path("u.wav"), len(waveform) / RATE, text, "one")
    phrases = recipe.splice.find_phrases(utterance, waveform, times)
    # One word alone is no phrase.
    assert [phrase.text for phrase in phrases] == ["W1A W1B W1C", "W1D W1E"]
    first, second = (len(phrase.waveform) / RATE for phrase in phrases)
    assert 1.8 < first < 2.2
    assert 1.2 < second < 2.0
    # A pause with noise as loud as the words in it is none.
    noisy = waveform + 0.05 * np.sin(np.arange(len(waveform), dtype=np.float32))
    (whole,) = recipe.splice.find_phrases(utterance, noisy, times)
    assert whole.text == text
    with pytest.raises(recipe.splice.ManifestError, match="6 words, and times of 5"):
        recipe.splice.find_phrases(utterance, waveform, times[1:])


def test_phrases_of_different_utterances_follow_each_other(recipe: SimpleNamespace) -> None:
    phrases = [
        recipe.splice.Phrase(np.full(RATE * 2, level, np.float32), f"A{level} B{level}", str(level))
        for level in (1.0, 2.0, 3.0)
    ]
    for seed in range(20):
        waveform, text = recipe.splice.splice(phrases, random.Random(seed))
        assert 5 <= len(waveform) / RATE <= 17
        said = text.split()[::2]
        # What is heard is what the text says, and no phrase comes twice in a row.
        middles = waveform[RATE :: 2 * RATE]
        assert [f"A{level}" for level in middles] == said
        assert all(a != b for a, b in pairwise(said))
        assert abs(waveform[0]) < 0.01
    for phrase in phrases:
        assert phrase.waveform[0] == phrase.waveform[-1] != 0


def test_spliced_utterances_are_of_one_speaker(
    recipe: SimpleNamespace, data: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "spliced"
    assert recipe.splice.main([*map(str, (*data, out)), "--hours", "0.02"]) == 0
    made = read_manifest(tmp_path / "spliced.jsonl")
    assert 72 <= sum(utterance.duration for utterance in made) < 90
    for utterance in made:
        # Speaker "two" has six phrases, fewer than are needed; another has no name.
        assert utterance.speaker == "one"
        assert {int(word[1]) for word in utterance.text.split()} <= set(range(6))
        info = soundfile.info(utterance.audio_filepath)
        assert info.samplerate == RATE
        assert info.duration == pytest.approx(utterance.duration, abs=1e-3)
    again = tmp_path / "again"
    assert recipe.splice.main([*map(str, (*data, again)), "--hours", "0.02"]) == 0
    assert [u.text for u in read_manifest(tmp_path / "again.jsonl")] == [u.text for u in made]


def test_nothing_to_splice(
    recipe: SimpleNamespace,
    data: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty.ctm").write_text("x 1 0 1 WORD\n")
    for arguments, part in [
        ([data[0], tmp_path / "empty.ctm", tmp_path / "out"], "no speaker with 8 phrases"),
        ([*data, tmp_path / "out", "--hours", 0], "--hours 0"),
    ]:
        assert recipe.splice.main([str(argument) for argument in arguments]) == 2
        assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
