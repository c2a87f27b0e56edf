"""Batches: what is in them, how they are ordered, cached, shared among ranks."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.audio import SAMPLE_RATE, save_wav
from asr.augment import WaveformAugmenter
from asr.data import FeatureSource, SpeechBatches
from asr.features import FeatureExtractor, n_frames
from asr.manifest import Utterance
from asr.text import CharTokenizer


@pytest.fixture(scope="module")
def utterances(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(0)
    made = []
    for number, seconds in enumerate(random.uniform(0.3, 2.0, 37)):
        path = folder / f"{number:02}.wav"
        n = int(seconds * SAMPLE_RATE)
        save_wav(path, (0.1 * random.standard_normal(n)).astype(np.float32))
        made.append(Utterance(path, n / SAMPLE_RATE, "AB" * (1 + number % 3)))
    return made


def source(utterances: list[Utterance], **options: object) -> FeatureSource:
    return FeatureSource(utterances, FeatureExtractor(n_mels=8), **options)  # type: ignore[arg-type]


def batches(utterances: list[Utterance], cache: str = "none", **options: object) -> SpeechBatches:
    settings: dict[str, object] = {"batch_seconds": 8.0, "speeds": (0.9, 1.0, 1.1), **options}
    return SpeechBatches(source(utterances, cache=cache), CharTokenizer(), **settings)  # type: ignore[arg-type]


def test_every_utterance_once_per_epoch(utterances: list[Utterance]) -> None:
    made = batches(utterances)
    for epoch in range(3):
        seen = [name for batch in made.epoch(epoch) for name in batch.ids]
        assert sorted(seen) == sorted(u.id for u in utterances)
        assert len(list(made.epoch(epoch))) == len(made)


def test_contents(utterances: list[Utterance]) -> None:
    made = batches(utterances, speeds=(1.0,))
    tokenizer = CharTokenizer()
    by_id = {u.id: u for u in utterances}
    for batch in made.epoch(1):
        assert batch.amount == pytest.approx(sum(by_id[i].duration for i in batch.ids))
        assert batch.weight == sum(len(by_id[i].text) for i in batch.ids)
        for row, name in enumerate(batch.ids):
            utterance = by_id[name]
            n = int(batch.feature_lengths[row])
            assert n == n_frames(round(utterance.duration * SAMPLE_RATE))
            assert torch.equal(batch.features[row, n:], torch.zeros_like(batch.features[row, n:]))
            expected = made.source.features(int(name))
            torch.testing.assert_close(batch.features[row, :n], expected)
            tokens = batch.tokens[row, : batch.token_lengths[row]].tolist()
            assert tokens == tokenizer.encode(utterance.text)


def test_padded_audio_stays_near_the_limit(utterances: list[Utterance]) -> None:
    made = batches(utterances)
    for epoch in range(3):
        for batch in made.epoch(epoch):
            padded = batch.features.shape[0] * batch.features.shape[1] * 0.01
            assert padded < 8.0 * 1.1 / 0.9 * 1.1
            assert float(batch.feature_lengths.sum()) / batch.features[..., 0].numel() > 0.5


def test_first_epoch_can_be_shortest_first(utterances: list[Utterance]) -> None:
    made = batches(utterances, speeds=(1.0,), shortest_first=True)
    lengths = [int(n) for batch in made.epoch(0) for n in batch.feature_lengths]
    assert lengths == sorted(lengths)
    lengths = [int(n) for batch in made.epoch(1) for n in batch.feature_lengths]
    assert lengths != sorted(lengths)


def test_order_and_content_follow_from_seed_and_epoch(utterances: list[Utterance]) -> None:
    one = list(batches(utterances, workers=1, prefetch=1).epoch(2))
    other = list(batches(utterances, workers=3, prefetch=7).epoch(2))
    assert [b.ids for b in one] == [b.ids for b in other]
    assert all(torch.equal(a.features, b.features) for a, b in zip(one, other, strict=True))
    assert [b.ids for b in one] != [b.ids for b in batches(utterances).epoch(3)]
    assert [b.ids for b in one] != [b.ids for b in batches(utterances, seed=1).epoch(2)]
    rest = list(batches(utterances).epoch(2, start=3))
    assert [b.ids for b in rest] == [b.ids for b in one[3:]]
    assert torch.equal(rest[0].features, one[3].features)


def test_speed_changes_the_length(utterances: list[Utterance]) -> None:
    features = source(utterances)
    slow, plain, fast = (len(features.features(5, speed=s)) for s in (0.9, 1.0, 1.1))
    assert slow == pytest.approx(plain / 0.9, abs=3)
    assert fast == pytest.approx(plain / 1.1, abs=3)
    speeds = Counter(item.speed for plan in batches(utterances).plan(1) for item in plan)
    assert set(speeds) == {0.9, 1.0, 1.1}


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_share_an_epoch_evenly(utterances: list[Utterance], size: int) -> None:
    whole = batches(utterances).plan(4)
    parts = [batches(utterances, rank=r, size=size) for r in range(size)]
    assert len({len(part) for part in parts}) == 1
    dealt = [[batch.ids for batch in part.epoch(4)] for part in parts]
    assert {len(d) for d in dealt} == {len(parts[0])}
    # Interleaved they are the plan of one process, with the first batches again at the end.
    joined = [ids for row in zip(*dealt, strict=True) for ids in row]
    names = [tuple(utterances[item.index].id for item in plan) for plan in whole]
    assert joined == (names + names[: len(joined) - len(names)])


@pytest.mark.parametrize(("cache", "tolerance"), [("waveforms", 0.02), ("features", 0.02)])
def test_cache_gives_the_same_features_without_files(
    utterances: list[Utterance], cache: str, tolerance: float, tmp_path: Path
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(utterances[7].audio_filepath.read_bytes())
    one = [Utterance(path, utterances[7].duration, "AB")]
    plain = source(one).features(0)
    cached = source(one, cache=cache)
    first = cached.features(0)
    path.unlink()
    again = cached.features(0)
    torch.testing.assert_close(first.float(), plain, rtol=0, atol=tolerance)
    torch.testing.assert_close(again.float(), plain, rtol=0, atol=tolerance)


def test_segments_of_a_long_file(tmp_path: Path) -> None:
    waveform = (0.1 * np.random.default_rng(1).standard_normal(4 * SAMPLE_RATE)).astype(np.float32)
    save_wav(tmp_path / "long.wav", waveform)
    save_wav(tmp_path / "part.wav", waveform[SAMPLE_RATE : 2 * SAMPLE_RATE])
    segment = Utterance(tmp_path / "long.wav", 1.0, "A", offset=1.0)
    part = Utterance(tmp_path / "part.wav", 1.0, "A")
    made = source([segment, part])
    torch.testing.assert_close(made.features(0), made.features(1))


def test_augmentation_follows_from_epoch_and_utterance(utterances: list[Utterance]) -> None:
    augmenter = WaveformAugmenter(gain_db=6.0, reverberation_probability=0.5, seed=1)
    made = source(utterances, augmenter=augmenter, cache="waveforms")
    assert torch.equal(made.features(3, epoch=2), made.features(3, epoch=2))
    assert not torch.equal(made.features(3, epoch=2), made.features(3, epoch=3))


def test_largest_batch_bounds_the_others(utterances: list[Utterance]) -> None:
    made = batches(utterances)
    largest = made.largest().features[..., 0].numel()
    assert all(
        b.features[..., 0].numel() <= 1.15 * largest for e in range(3) for b in made.epoch(e)
    )


def test_an_error_in_a_worker_reaches_the_reader(utterances: list[Utterance]) -> None:
    from asr.errors import AudioError

    gone = Utterance(Path("/nowhere/gone.wav"), 1.0, "A")
    made = batches([*utterances, gone])
    with pytest.raises(AudioError, match=r"gone\.wav"):
        list(made.epoch(0))
