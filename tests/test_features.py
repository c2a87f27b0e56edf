"""The front end against torchaudio's Kaldi and librosa, and its independence of batches."""

import itertools
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr.errors import ConfigError
from asr.features import FeatureExtractor, Normalizer, n_frames
from asr.filterbank import KALDI, LIBROSA, Filterbank
from asr.torchaudio_safe import torchaudio

INT16 = 32_768.0


def voice(n_samples: int, seed: int = 0) -> Tensor:
    """A buzz of 120 Hz with a moving loudness in noise, (1, N): strong and weak bands."""
    random = np.random.default_rng(seed)
    t = np.arange(n_samples) / 16_000
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20))
    loudness = 0.1 * (1 + np.sin(2 * np.pi * 3 * t))
    noise = 0.003 * random.standard_normal(n_samples)
    return torch.from_numpy((buzz * loudness + noise + 0.01).astype(np.float32))[None]


def extract(waveform: Tensor, extractor: FeatureExtractor | None = None) -> Tensor:
    """The features of one waveform (1, N) -> (T, F)."""
    features, lengths = (extractor or FeatureExtractor())(
        waveform, torch.tensor([waveform.shape[1]])
    )
    assert lengths.tolist() == [features.shape[1]]
    return features[0]


# --- Equal to others -------------------------------------------------------------------------

KALDI_OPTIONS = [
    ({}, {}),
    ({"window": "hamming"}, {"window_type": "hamming"}),
    ({"window": "hann"}, {"window_type": "hanning"}),
    ({"preemphasis": 0.0}, {"preemphasis_coefficient": 0.0}),
    ({"remove_dc_offset": False}, {"remove_dc_offset": False}),
    ({"low_hz": 64.0, "high_hz": 7600.0}, {"low_freq": 64.0, "high_freq": 7600.0}),
    ({"high_hz": -400.0}, {"high_freq": -400.0}),
    ({"power": 1.0}, {"use_power": False}),
]


@pytest.mark.parametrize(("ours", "theirs"), KALDI_OPTIONS, ids=lambda o: ",".join(o) or "default")
def test_log_mel_equals_kaldi(ours: dict[str, object], theirs: dict[str, object]) -> None:
    waveform = voice(30_011)
    bank = Filterbank(**ours)  # type: ignore[arg-type]
    expected = torchaudio.compliance.kaldi.fbank(waveform * INT16, num_mel_bins=80, **theirs)
    torch.testing.assert_close(
        extract(waveform, FeatureExtractor(filterbank=bank)), expected, rtol=0, atol=1e-3
    )


def test_another_hop_equals_kaldi() -> None:
    waveform = voice(30_011)
    expected = torchaudio.compliance.kaldi.fbank(waveform * INT16, num_mel_bins=80, frame_shift=7.5)
    extractor = FeatureExtractor(hop_samples=120)
    torch.testing.assert_close(extract(waveform, extractor), expected, rtol=0, atol=1e-3)
    for hop_samples in (0, 401):
        with pytest.raises(ConfigError, match=f"hop of {hop_samples} samples; 1 to 400"):
            FeatureExtractor(hop_samples=hop_samples)


@pytest.mark.parametrize(("n_mels", "n_mfcc"), [(23, 13), (80, 40), (40, 40)])
def test_mfcc_equals_kaldi(n_mels: int, n_mfcc: int) -> None:
    waveform = voice(30_011)
    expected = torchaudio.compliance.kaldi.mfcc(
        waveform * INT16, num_mel_bins=n_mels, num_ceps=n_mfcc
    )
    actual = extract(waveform, FeatureExtractor("mfcc", n_mels=n_mels, n_mfcc=n_mfcc))
    torch.testing.assert_close(actual, expected, rtol=0, atol=3e-3)  # the lifter is up to 12


def test_log_mel_equals_librosa() -> None:
    waveform = voice(30_011)
    energies = librosa.feature.melspectrogram(
        y=waveform[0].numpy(), sr=16_000, n_fft=400, hop_length=160, center=False, n_mels=80
    )
    expected = torch.from_numpy(energies.T).clamp_min(1e-10).log()
    actual = extract(waveform, FeatureExtractor(filterbank=LIBROSA))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-3)


def test_longer_transform_equals_librosa() -> None:
    waveform = voice(30_011)
    # librosa puts the window into the middle of the 512 points.
    energies = librosa.feature.melspectrogram(
        y=np.pad(waveform[0].numpy(), 56),
        sr=16_000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        center=False,
        n_mels=40,
        htk=True,
        norm=None,
        power=1.0,
    )
    bank = Filterbank(
        window="hann",
        periodic_window=True,
        preemphasis=0.0,
        remove_dc_offset=False,
        low_hz=0.0,
        mel_scale="htk",
        power=1.0,
        scale=1.0,
    )
    actual = extract(waveform, FeatureExtractor(n_mels=40, filterbank=bank))
    torch.testing.assert_close(actual, torch.from_numpy(energies.T).log(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("equal_area", [False, True])
def test_mel_filters_equal_librosa_and_torchaudio(mel_scale: str, equal_area: bool) -> None:
    bank = Filterbank(low_hz=50.0, high_hz=7000.0, mel_scale=mel_scale, equal_area=equal_area)  # type: ignore[arg-type]
    actual = FeatureExtractor(n_mels=40, filterbank=bank).mel
    by_librosa = librosa.filters.mel(
        sr=16_000,
        n_fft=512,
        n_mels=40,
        fmin=50.0,
        fmax=7000.0,
        htk=mel_scale == "htk",
        norm="slaney" if equal_area else None,
    )
    by_torchaudio = torchaudio.functional.melscale_fbanks(
        257, 50.0, 7000.0, 40, 16_000, norm="slaney" if equal_area else None, mel_scale=mel_scale
    )
    torch.testing.assert_close(actual, torch.from_numpy(by_librosa.T), rtol=0, atol=1e-6)
    # torchaudio computes its triangles in float32.
    torch.testing.assert_close(actual, by_torchaudio, rtol=0, atol=1e-4)


def test_cepstra_equal_librosa() -> None:
    waveform = voice(16_000)
    log_mel = extract(waveform, FeatureExtractor(n_mels=40))
    expected = librosa.feature.mfcc(S=log_mel.T.numpy(), n_mfcc=20)
    actual = extract(waveform, FeatureExtractor("mfcc", n_mels=40, n_mfcc=20, lifter=0.0))
    torch.testing.assert_close(actual, torch.from_numpy(expected.T), rtol=0, atol=1e-4)


def test_deltas_equal_torchaudio() -> None:
    waveform = voice(16_000)
    extractor = FeatureExtractor("mfcc", deltas=True)
    assert extractor.n_features == 39
    static, first, second = extract(waveform, extractor).split(13, dim=1)
    assert torch.equal(static, extract(waveform, FeatureExtractor("mfcc")))
    expected = torchaudio.functional.compute_deltas(static.T)
    torch.testing.assert_close(first, expected.T, rtol=0, atol=1e-4)
    expected = torchaudio.functional.compute_deltas(expected)
    torch.testing.assert_close(second, expected.T, rtol=0, atol=1e-4)


# --- Frames, batches, blocks -----------------------------------------------------------------


@settings(max_examples=50)
@given(n_samples=st.integers(0, 5000), hop=st.sampled_from([160, 120, 77, 400]))
def test_number_of_frames_is_that_of_whole_windows(n_samples: int, hop: int) -> None:
    expected = sum(1 for start in range(0, n_samples, hop) if start + 400 <= n_samples)
    assert n_frames(n_samples, hop) == expected
    assert n_frames(torch.tensor([n_samples]), hop).tolist() == [expected]
    waveform = torch.zeros(1, n_samples)
    assert extract(waveform, FeatureExtractor(hop_samples=hop)).shape == (expected, 80)
    assert hop != 160 or n_frames(n_samples) == expected


@settings(max_examples=20)
@given(
    lengths=st.lists(st.integers(0, 6000), min_size=1, max_size=5),
    kind=st.sampled_from(["logmel", "mfcc"]),
    deltas=st.booleans(),
)
def test_batch_equals_single(lengths: list[int], kind: str, deltas: bool) -> None:
    extractor = FeatureExtractor(kind, deltas=deltas)  # type: ignore[arg-type]
    waveforms = torch.full((len(lengths), max(lengths) + 500), torch.nan)
    for row, n_samples in enumerate(lengths):
        waveforms[row, :n_samples] = voice(n_samples, seed=row)[0]
    features, feature_lengths = extractor(waveforms, torch.tensor(lengths))
    assert features.shape[1] == n_frames(waveforms.shape[1])
    for row, n_samples in enumerate(lengths):
        alone = extract(waveforms[row : row + 1, :n_samples], extractor)
        T = int(feature_lengths[row])
        # Cepstra reach 200 and the lifter multiplies a sum's rounding by up to 12.
        atol = 1e-5 if kind == "logmel" else 2e-4
        torch.testing.assert_close(features[row, :T], alone, rtol=0, atol=atol)
        assert not features[row, T:].any()


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 80), max_size=4), n_samples=st.integers(400, 16_000))
def test_blocks_equal_whole(cuts: list[int], n_samples: int) -> None:
    waveform = voice(n_samples)
    whole = extract(waveform)
    edges = sorted({c for c in cuts if c < len(whole)} | {0, len(whole)})
    parts = [
        extract(waveform[:, 160 * first : 160 * (last - 1) + 400])
        for first, last in itertools.pairwise(edges)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)


def test_frame_sees_its_own_samples_alone() -> None:
    waveform = voice(4000)
    before = extract(waveform)
    changed = waveform.clone()
    changed[:, : 160 * 7] += 0.5
    changed[:, 160 * 7 + 400 :] -= 0.5
    assert torch.equal(extract(changed)[7], before[7])


def test_long_recording_is_computed_in_blocks() -> None:
    waveform = voice(16_000 * 25)  # 2498 frames: three blocks
    expected = torchaudio.compliance.kaldi.fbank(waveform * INT16, num_mel_bins=80)
    torch.testing.assert_close(extract(waveform), expected, rtol=0, atol=1e-3)


def test_nothing_gives_nothing() -> None:
    extractor = FeatureExtractor(deltas=True)
    for B, N in [(0, 0), (0, 1000), (1, 0), (2, 399)]:
        features, lengths = extractor(torch.zeros(B, N), torch.full((B,), N))
        assert features.shape == (B, n_frames(N), 240)
        assert lengths.tolist() == [0] * B


def test_silence_is_the_floor() -> None:
    bank = Filterbank(log_floor=1.0)
    assert not extract(torch.zeros(1, 1600), FeatureExtractor(filterbank=bank)).any()
    floor = float(np.log(np.finfo(np.float32).eps))
    assert torch.all(extract(torch.zeros(1, 1600)) == torch.tensor(floor))


def test_autocast_changes_nothing() -> None:
    waveform = voice(8000)
    for extractor in (FeatureExtractor(), FeatureExtractor("mfcc", deltas=True)):
        expected = extract(waveform, extractor)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            actual = extract(waveform, extractor)
        assert actual.dtype == torch.float32
        assert torch.equal(actual, expected)


def test_nothing_is_saved() -> None:
    assert FeatureExtractor("mfcc").state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ({"kind": "plp"}, "'plp'"),
        ({"kind": "mfcc", "n_mels": 23, "n_mfcc": 24}, "n_mfcc is 24"),
        ({"n_mels": 200}, "larger n_fft"),
        ({"n_mels": 0}, "n_mels is 0"),
    ],
)
def test_extractor_refuses(arguments: dict[str, object], needle: str) -> None:
    with pytest.raises(ConfigError, match=needle):
        FeatureExtractor(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ({"n_fft": 256}, "n_fft is 256"),
        ({"low_hz": 8000.0}, "low_hz 8000"),
        ({"high_hz": 9000.0}, "high_hz 9000"),
        ({"power": 0.0}, "power 0"),
        ({"log_floor": 0.0}, "log_floor 0"),
        ({"window": "blackman"}, "'blackman'"),
        ({"mel_scale": "bark"}, "'bark'"),
    ],
)
def test_filterbank_refuses(arguments: dict[str, object], needle: str) -> None:
    with pytest.raises(ConfigError, match=needle):
        Filterbank(**arguments)  # type: ignore[arg-type]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        FeatureExtractor()(torch.zeros(1000), torch.tensor([1000]))
    with pytest.raises(ValueError, match="1001"):
        FeatureExtractor()(torch.zeros(1, 1000), torch.tensor([1001]))


# --- Normalisation ---------------------------------------------------------------------------


def naive_sliding_mean(frames: np.ndarray, window: int) -> np.ndarray:
    """Kaldi's SlidingWindowCmn with center=true, frame by frame."""
    means = np.empty_like(frames)
    for t in range(len(frames)):
        start, end = t - window // 2, t - window // 2 + window
        if start < 0:
            start, end = 0, window
        if end > len(frames):
            start, end = max(0, start - (end - len(frames))), len(frames)
        means[t] = frames[start:end].mean(axis=0)
    return means


def normalizer(n_features: int, kind: str, window_frames: int = 1000) -> Normalizer:
    module = Normalizer(n_features, kind, window_frames=window_frames)  # type: ignore[arg-type]
    module.mean.copy_(torch.linspace(5, 12, n_features))
    module.std.copy_(torch.linspace(0.5, 3, n_features))
    return module


def normalize(module: Normalizer, frames: Tensor) -> Tensor:
    return module(frames[None], torch.tensor([len(frames)]))[0]  # type: ignore[no-any-return]


@given(T=st.integers(0, 60), window=st.integers(1, 70), seed=st.integers(0, 100))
def test_sliding_equals_naive(T: int, window: int, seed: int) -> None:
    frames = 10 + 3 * np.random.default_rng(seed).standard_normal((T, 4))
    module = normalizer(4, "sliding", window)
    expected = (frames - naive_sliding_mean(frames, window)) / module.std.double().numpy()
    actual = normalize(module, torch.from_numpy(frames).float()).double().numpy()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("T", "window"), [(400, 100), (80, 100), (301, 51)])
def test_sliding_equals_torchaudio(T: int, window: int) -> None:
    frames = 10 + 3 * torch.randn(T, 5, generator=torch.Generator().manual_seed(0))
    expected = torchaudio.functional.sliding_window_cmn(frames, cmn_window=window, center=True)
    actual = normalize(Normalizer(5, "sliding", window_frames=window), frames)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_sliding_is_exact_far_into_a_recording() -> None:
    frames = 1000 + torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0))
    actual = normalize(Normalizer(1, "sliding", window_frames=300), frames)
    near_end = frames[-700:].double()
    expected = near_end - torch.from_numpy(naive_sliding_mean(near_end.numpy(), 300))
    torch.testing.assert_close(actual[-500:].double(), expected[-500:], rtol=0, atol=1e-4)


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=4),
    kind=st.sampled_from(["none", "global", "utterance", "sliding"]),
)
def test_normalized_batch_equals_single(lengths: list[int], kind: str) -> None:
    module = normalizer(6, kind, window_frames=20)
    features = torch.full((len(lengths), max(lengths) + 3, 6), torch.nan)
    for row, T in enumerate(lengths):
        features[row, :T] = 10 + 2 * torch.randn(T, 6, generator=torch.Generator().manual_seed(row))
    batch = module(features, torch.tensor(lengths))
    for row, T in enumerate(lengths):
        alone = normalize(module, features[row, :T])
        torch.testing.assert_close(batch[row, :T], alone, rtol=0, atol=1e-5)
        assert not batch[row, T:].any()


@given(T=st.integers(200, 400), first=st.integers(0, 150), size=st.integers(1, 50))
def test_sliding_with_context_equals_whole(T: int, first: int, size: int) -> None:
    window = 60
    module = normalizer(3, "sliding", window)
    frames = 10 + 2 * torch.randn(T, 3, generator=torch.Generator().manual_seed(T))
    start, end = max(0, first - window), min(T, first + size + window)
    piece = normalize(module, frames[start:end])[first - start :][:size]
    torch.testing.assert_close(piece, normalize(module, frames)[first:][:size], rtol=0, atol=1e-5)


def test_utterance_has_mean_zero_and_deviation_one() -> None:
    frames = 10 + torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3
    normalized = normalize(Normalizer(4, "utterance"), frames)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(4), rtol=0, atol=1e-5)
    assert not normalize(Normalizer(4, "utterance"), frames[:1]).any()


def test_estimated_statistics_are_those_of_all_frames() -> None:
    random = torch.Generator().manual_seed(0)
    lengths = [30, 1, 0, 57, 12]
    utterances = [1000 + 0.5 * torch.randn(T, 3, generator=random) for T in lengths]
    features = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True, padding_value=1e9)
    module = Normalizer(3, "global")
    module.estimate((features[rows], torch.tensor(lengths)[rows]) for rows in ([0, 1], [2], [3, 4]))
    frames = torch.cat(utterances).double()
    torch.testing.assert_close(module.mean.double(), frames.mean(0), rtol=1e-6, atol=0)
    expected = frames.std(0, correction=0)
    torch.testing.assert_close(module.std.double(), expected, rtol=1e-6, atol=0)
    other = Normalizer(3, "global")
    other.load_state_dict(module.state_dict())
    normalized = normalize(other, torch.cat(utterances))
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(3), rtol=0, atol=1e-4)


def test_constant_feature_is_not_blown_up() -> None:
    module = Normalizer(2, "global")
    frames = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    frames[:, 1] = 4.0
    module.estimate([(frames[None], torch.tensor([20]))])
    assert module.std[1] == 1
    assert not normalize(module, frames)[:, 1].any()


def test_statistics_need_frames_and_numbers() -> None:
    module = Normalizer(2, "global")
    with pytest.raises(ConfigError, match="at least one frame"):
        module.estimate([(torch.zeros(1, 5, 2), torch.tensor([0]))])
    with pytest.raises(ConfigError, match="finite"):
        module.estimate([(torch.full((1, 5, 2), torch.nan), torch.tensor([5]))])
    assert torch.equal(module.std, torch.ones(2))


def test_normalizer_refuses() -> None:
    with pytest.raises(ConfigError, match="'speaker'"):
        Normalizer(2, "speaker")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="window_frames is 0"):
        Normalizer(2, window_frames=0)


# --- Real speech -----------------------------------------------------------------------------


def test_real_speech_equals_kaldi_alone_and_in_a_batch(asr_data: Path) -> None:
    paths = sorted((asr_data / "LibriSpeech" / "dev-clean-20spk").rglob("*.opus"))[:40:10]
    assert len(paths) == 4
    waveforms = [torch.from_numpy(soundfile.read(p, dtype="float32")[0]) for p in paths]
    lengths = torch.tensor([len(w) for w in waveforms])
    padded = torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True)
    batch, feature_lengths = FeatureExtractor(filterbank=KALDI)(padded, lengths)
    module = Normalizer(80, "sliding", window_frames=300)
    normalized = module(batch, feature_lengths)
    for row, waveform in enumerate(waveforms):
        T = int(feature_lengths[row])
        expected = torchaudio.compliance.kaldi.fbank(waveform[None] * INT16, num_mel_bins=80)
        # Float32 leaves the weakest bands of a frame few digits: there energies are compared.
        scale = expected.amax(dim=1, keepdim=True)
        apart = (batch[row, :T] - scale).exp() - (expected - scale).exp()
        assert apart.abs().max() < 3e-5
        strong = expected > scale - np.log(1e7)
        torch.testing.assert_close(batch[row, :T][strong], expected[strong], rtol=0, atol=1e-3)
        assert strong.float().mean() > 0.9
        alone = normalize(module, extract(waveform[None]))
        torch.testing.assert_close(normalized[row, :T], alone, rtol=0, atol=1e-5)
