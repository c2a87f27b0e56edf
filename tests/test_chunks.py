import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.chunks import Chunker
from asr.features import FeatureExtractor, Normalizer

KINDS = ("none", "global", "utterance", "sliding")


def make_chunker(
    kind: str, *, deltas: bool, window_frames: int, factor: int, hop_samples: int = 160
) -> Chunker:
    extractor = FeatureExtractor("logmel", n_mels=10, deltas=deltas, hop_samples=hop_samples)
    normalizer = Normalizer(extractor.n_features, kind, window_frames=window_frames)
    with torch.no_grad():
        normalizer.mean.copy_(torch.linspace(-2, 2, extractor.n_features))
        normalizer.std.copy_(torch.linspace(0.5, 3, extractor.n_features))
    return Chunker(extractor, normalizer, factor=factor, seconds=0.6, context_seconds=0.2)


def make_noise(n_samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose level changes, so that the normalisation has something to do."""
    noise = np.random.default_rng(seed).normal(0, 0.1, n_samples)
    return (noise * (1.1 + np.sin(np.arange(n_samples) / 3000))).astype(np.float32)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(KINDS),
    deltas=st.booleans(),
    window_frames=st.sampled_from([1, 30, 47, 100, 101, 400]),
    factor=st.sampled_from([2, 3, 4, 8]),
    hop_samples=st.sampled_from([160, 120, 77]),
    n_samples=st.integers(0, 60_000),
    cuts=st.lists(st.floats(0, 1), max_size=12),
)
def test_chunks_hold_the_normalised_frames_of_the_whole(
    kind: str,
    deltas: bool,
    window_frames: int,
    factor: int,
    hop_samples: int,
    n_samples: int,
    cuts: list[float],
) -> None:
    chunker = make_chunker(
        kind, deltas=deltas, window_frames=window_frames, factor=factor, hop_samples=hop_samples
    )
    waveform = make_noise(n_samples)
    features, lengths = chunker.extractor(
        torch.from_numpy(waveform)[None], torch.tensor([n_samples])
    )
    whole = chunker.normalizer(features, lengths)[0]
    blocks = np.split(waveform, sorted(int(cut * n_samples) for cut in cuts))

    chunks = list(chunker.split(blocks))

    position = 0  # in output frames
    for chunk in chunks:
        start = (position - chunk.first) * factor
        expected = whole[start : start + len(chunk.features)]
        torch.testing.assert_close(chunk.features, expected, atol=1e-5, rtol=1e-6)
        position += chunk.last - chunk.first
    assert position == -(-len(whole) // factor)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kept_frame_has_context_and_no_chunk_is_longer_than_the_others(kind: str) -> None:
    chunker = make_chunker(kind, deltas=False, window_frames=50, factor=4)
    for n_samples in range(16_000, 64_000, 777):
        chunks = list(chunker.split([make_noise(n_samples)]))
        assert all(len(chunk.features) <= chunker.n_frames for chunk in chunks)
        for left, right in itertools.pairwise(chunks):
            assert len(left.features) == chunker.n_frames
            assert -(-len(left.features) // 4) - left.last == chunker.n_context // 4
            assert right.first >= chunker.n_context // 4
        assert chunks[0].first == 0
        assert chunks[-1].last == -(-len(chunks[-1].features) // 4)


@pytest.mark.parametrize("kind", KINDS)
def test_what_fits_into_one_chunk_is_exactly_what_a_batch_would_hold(kind: str) -> None:
    chunker = make_chunker(kind, deltas=False, window_frames=50, factor=4)
    waveform = make_noise(16_000)
    features = chunker.extractor(torch.from_numpy(waveform)[None], torch.tensor([16_000]))
    (chunk,) = chunker.split([waveform])
    assert torch.equal(chunk.features, chunker.normalizer(*features)[0])


def test_chunks_come_while_the_recording_is_still_being_read() -> None:
    chunker = make_chunker("sliding", deltas=True, window_frames=50, factor=4)
    n_read = 0

    def blocks():
        nonlocal n_read
        while True:
            n_read += 1
            yield make_noise(4000, seed=n_read)

    chunks = chunker.split(blocks())
    for number in range(1, 40):
        next(chunks)
        # A second is the first chunk, 0.6 s each further one, 0.5 s the normaliser's window.
        assert n_read * 0.25 < 1 + 0.6 * number + 0.5 + 0.5
