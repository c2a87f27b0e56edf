"""What augmentation may change and what it may not: levels, times, lengths, padding."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import find, load, save_wav
from asr.augment import (
    WaveformAugmenter,
    active_power,
    add_noise,
    gain,
    reverberate,
    simulate_impulse_response,
    speed,
    telephone,
)
from asr.errors import AudioError, ConfigError
from asr.filterbank import KALDI, mel_centres
from asr.frequency_warp import FrequencyWarp, warped_frequencies
from asr.spec_augment import SpecAugment

Waveform = NDArray[np.float32]


def tone(hertz: float, n_samples: int = 16_000, amplitude: float = 0.1) -> Waveform:
    t = np.arange(n_samples) / 16_000
    return (amplitude * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def hiss(n_samples: int, seed: int = 0, amplitude: float = 0.1) -> Waveform:
    random = np.random.default_rng(seed)
    return (amplitude * random.standard_normal(n_samples)).astype(np.float32)


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


def lag(first: Waveform, second: Waveform) -> int:
    """By how many samples the second comes later, from the peak of the correlation."""
    size = 2 * max(len(first), len(second))
    spectrum = np.fft.rfft(second, size) * np.fft.rfft(first, size).conj()
    peak = int(np.argmax(np.fft.irfft(spectrum)))
    return peak if peak < size // 2 else peak - size


# --- Waveforms -------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1, 1.25])
def test_speed_scales_length_and_pitch(factor: float) -> None:
    waveform = tone(1000, 16_001)
    faster = speed(waveform, factor)
    assert faster.dtype == np.float32
    assert abs(len(faster) - 16_001 / factor) <= 1
    peak = np.argmax(np.abs(np.fft.rfft(faster, 16_000)))
    assert abs(peak - 1000 * factor) <= 1
    with pytest.raises(ConfigError, match="must be above 0"):
        speed(waveform, 0.0)


def test_gain_is_in_decibels() -> None:
    waveform = hiss(1000)
    np.testing.assert_allclose(gain(waveform, 20.0), 10 * waveform, rtol=1e-6)
    assert gain(waveform, -6.0).dtype == np.float32


def test_active_power_leaves_pauses_out() -> None:
    spoken = tone(500, 16_000)
    paused = np.concatenate([np.zeros(32_000, np.float32), spoken, 1e-4 * hiss(8000)])
    assert active_power(spoken) == pytest.approx(0.1**2 / 2, rel=1e-3)
    assert active_power(paused) == pytest.approx(active_power(spoken), rel=1e-3)
    assert active_power(np.zeros(1000, np.float32)) == 0
    assert active_power(np.zeros(0, np.float32)) == 0
    # A last block of one sample counts as one sample.
    assert active_power(np.full(321, 0.5, np.float32)) == pytest.approx(0.25)


@given(snr_db=st.floats(-10, 40), level_db=st.floats(-40, 0), seed=st.integers(0, 50))
def test_noise_has_the_wanted_ratio(snr_db: float, level_db: float, seed: int) -> None:
    speech = np.concatenate([tone(300, 8000), np.zeros(16_000, np.float32), tone(900, 5000)])
    noise = gain(hiss(7000, seed), level_db)
    added = add_noise(speech, noise, snr_db).astype(np.float64) - speech
    ratio = active_power(speech) / active_power(added[: len(noise)].astype(np.float32))
    assert decibels(ratio) == pytest.approx(snr_db, abs=0.02)


def test_noise_starts_where_told_and_repeats() -> None:
    speech, noise = tone(300, 1000), hiss(300)
    before = speech.copy()
    added = add_noise(speech, noise, 0.0, start=250) - speech
    shape = np.tile(noise, 5)[250:1250]
    np.testing.assert_allclose(added / np.abs(added).max(), shape / np.abs(shape).max(), atol=1e-5)
    assert np.array_equal(speech, before)


def test_silence_stays_without_noise() -> None:
    silence = np.zeros(1000, np.float32)
    assert not add_noise(silence, hiss(100), 10.0).any()
    assert np.array_equal(add_noise(hiss(1000), silence, 10.0), hiss(1000))
    assert not np.isnan(reverberate(silence, hiss(100))).any()
    assert np.array_equal(reverberate(hiss(1000), silence), hiss(1000))


def test_reverberation_is_convolution_from_the_direct_sound_on() -> None:
    speech, room = hiss(3000), np.zeros(900, np.float32)
    room[[40, 100, 400, 899]] = [0.9, -0.5, 0.3, 0.1]
    expected = np.convolve(speech.astype(np.float64), room)[40:3040]
    expected *= np.sqrt(np.mean(np.square(speech, dtype=float)) / np.mean(expected**2))
    actual = reverberate(speech, room)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("rt60", [0.15, 0.4, 0.9])
@pytest.mark.parametrize("ratio_db", [-3.0, 6.0])
def test_simulated_room_decays_as_told(rt60: float, ratio_db: float) -> None:
    room = simulate_impulse_response(np.random.default_rng(3), rt60, ratio_db).astype(float)
    assert np.argmax(np.abs(room)) == 0
    tail = np.square(room[1:])
    assert decibels(room[0] ** 2 / tail.sum()) == pytest.approx(ratio_db, abs=0.2)
    # ISO 3382: the slope of the backward integral from -5 to -35 dB.
    energy = 10 * np.log10(np.cumsum(tail[::-1])[::-1] / tail.sum())
    within = (energy < -5) & (energy > -35)
    slope, _ = np.polyfit(np.flatnonzero(within) / 16_000, energy[within], 1)
    assert -60 / slope == pytest.approx(rt60, rel=0.1)


def test_room_keeps_times() -> None:
    clicks = np.zeros(16_000, np.float32)
    clicks[[1000, 5000, 12_000]] = 1.0
    random = np.random.default_rng(0)
    for _ in range(5):
        room = simulate_impulse_response(random, random.uniform(0.1, 0.8), 3.0)
        late = np.concatenate([np.zeros(77, np.float32), room])  # as a measured one begins
        heard = reverberate(clicks, late)
        assert len(heard) == len(clicks)
        assert set(np.argsort(np.abs(heard))[-3:]) == {1000, 5000, 12_000}
    with pytest.raises(ConfigError, match="rt60"):
        simulate_impulse_response(random, 0.0, 3.0)


def test_telephone_passes_its_band_alone() -> None:
    for hertz, loss_db in [(500, 0), (1000, 0), (3000, 0), (100, 25), (3900, 25), (6000, 25)]:
        sent = tone(hertz)
        received = telephone(sent)
        lost = decibels(np.mean(np.square(sent)) / np.mean(np.square(received)))
        assert abs(lost) < 1 if loss_db == 0 else lost > loss_db, (hertz, lost)


@pytest.mark.parametrize("amplitude", [0.5, 0.1, 0.02])
def test_telephone_quantizes_by_mu_law(amplitude: float) -> None:
    # 8 bits on a logarithmic scale: about 38 dB at every level; linear ones lose 28 dB here.
    sent = tone(1004, 32_000, amplitude)
    received = telephone(sent)[2000:-2000].astype(float)
    t = np.arange(len(received)) / 16_000
    basis = np.stack([np.sin(2 * np.pi * 1004 * t), np.cos(2 * np.pi * 1004 * t)])
    clean = (received @ basis.T * 2 / len(t)) @ basis
    assert 34 < decibels(np.mean(clean**2) / np.mean((received - clean) ** 2)) < 44


@pytest.mark.parametrize("n_samples", [0, 1, 2, 999, 16_001])
def test_telephone_keeps_length_and_time(n_samples: int) -> None:
    sent = hiss(n_samples)
    received = telephone(sent)
    assert received.shape == sent.shape
    assert received.dtype == np.float32
    if n_samples > 900:
        assert lag(sent, received) == 0


def test_telephone_limits_what_is_too_loud() -> None:
    received = telephone(hiss(8000, amplitude=5.0))
    assert np.isfinite(received).all()
    assert np.abs(received).max() < 2


# --- The composition -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noises")
    save_wav(folder / "a.wav", hiss(4000, 1))
    save_wav(folder / "b.wav", tone(2000, 9000))
    save_wav(folder / "long.wav", hiss(75 * 16_000, 2))
    return folder


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = simulate_impulse_response(np.random.default_rng(0), 0.3, 3.0)
    save_wav(folder / "room.wav", np.concatenate([np.zeros(50, np.float32), 0.5 * room]))
    return folder


def augmenter(noises: Path, **changes: object) -> WaveformAugmenter:
    arguments: dict[str, object] = {
        "noise_folder": noises,
        "noise_probability": 0.5,
        "reverberation_probability": 0.5,
        "gain_db": 6.0,
        "telephone_probability": 0.3,
        "seed": 7,
    }
    return WaveformAugmenter(**(arguments | changes))  # type: ignore[arg-type]


def test_augmentation_follows_from_seed_epoch_and_index(noises: Path) -> None:
    waveform = hiss(8000)
    before = waveform.copy()
    places = [(epoch, index) for epoch in range(2) for index in range(12)]
    first = augmenter(noises)
    one_by_one = [first(waveform, epoch=e, index=i) for e, i in places]
    second = augmenter(noises)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(second, waveform, epoch=e, index=i) for e, i in reversed(places)]
        by_threads = [job.result() for job in reversed(jobs)]
    for expected, actual in zip(one_by_one, by_threads, strict=True):
        assert np.array_equal(expected, actual)
        assert actual.dtype == np.float32
        assert actual.shape == waveform.shape
    assert len({a.tobytes() for a in one_by_one}) == len(places)
    other = augmenter(noises, seed=8)(waveform, epoch=0, index=0)
    assert not np.array_equal(other, one_by_one[0])
    assert np.array_equal(waveform, before)


def test_one_change_leaves_the_others_alone(noises: Path) -> None:
    waveform = tone(1000, 4000)
    with_room = augmenter(noises, noise_probability=0.0, telephone_probability=0.0)
    without = augmenter(
        noises, noise_probability=0.0, telephone_probability=0.0, reverberation_probability=0.0
    )
    changed = 0
    for index in range(10):
        room, dry = (a(waveform, epoch=0, index=index) for a in (with_room, without))
        changed += not np.array_equal(room, dry)
        # A room keeps the power, so the same gain shows.
        assert np.mean(np.square(room)) == pytest.approx(np.mean(np.square(dry)), rel=1e-3)
    assert 0 < changed < 10


def test_probabilities_are_kept(noises: Path) -> None:
    waveform = hiss(400)
    noisy = augmenter(
        noises,
        noise_probability=0.3,
        reverberation_probability=0.0,
        telephone_probability=0.0,
        gain_db=0.0,
    )
    n_changed = sum(
        not np.array_equal(noisy(waveform, epoch=0, index=i), waveform) for i in range(1000)
    )
    assert 240 < n_changed < 360  # four standard deviations


def test_nothing_asked_changes_nothing() -> None:
    waveform = hiss(400)
    assert np.array_equal(WaveformAugmenter()(waveform, epoch=3, index=2), waveform)


def test_drawn_ratio_lies_in_the_range(tmp_path: Path) -> None:
    save_wav(tmp_path / "noise.wav", hiss(16_000))
    noisy = WaveformAugmenter(noise_folder=tmp_path, noise_probability=1.0, noise_snr_db=(3, 9))
    waveform = tone(700)
    ratios = []
    for index in range(50):
        added = noisy(waveform, epoch=0, index=index) - waveform
        ratios.append(decibels(active_power(waveform) / active_power(added)))
    assert 2.9 < min(ratios) < 4
    assert 8 < max(ratios) < 9.1


def test_room_from_a_folder(rooms: Path) -> None:
    waveform = hiss(4000)
    reverberant = WaveformAugmenter(reverberation_folder=rooms, reverberation_probability=1.0)
    expected = reverberate(waveform, load(rooms / "room.wav"))
    assert np.array_equal(reverberant(waveform, epoch=0, index=0), expected)


def test_long_noise_is_used_in_pieces(noises: Path) -> None:
    pieces = augmenter(noises)._noises
    assert [(path.name, offset) for path, offset in pieces] == [
        ("a.wav", 0.0),
        ("b.wav", 0.0),
        ("long.wav", 0.0),
        ("long.wav", 30.0),
    ]


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ({"noise_probability": 1.5}, "noise_probability is 1.5"),
        ({"telephone_probability": -0.1}, "telephone_probability is -0.1"),
        ({"noise_probability": 0.5}, "without a noise_folder"),
        ({"noise_snr_db": (20.0, 5.0)}, "lower value first"),
        ({"gain_db": -3.0}, "gain_db is -3"),
    ],
)
def test_augmenter_refuses(arguments: dict[str, object], needle: str) -> None:
    with pytest.raises(ConfigError, match=needle):
        WaveformAugmenter(**arguments)  # type: ignore[arg-type]


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="no audio"):
        WaveformAugmenter(noise_folder=tmp_path, noise_probability=0.5)
    with pytest.raises(AudioError, match="nowhere"):
        WaveformAugmenter(reverberation_folder=tmp_path / "nowhere", reverberation_probability=0.5)


# --- Features --------------------------------------------------------------------------------


def masked_frames(augment: SpecAugment, T: int, seed: int) -> NDArray[np.bool_]:
    """Which frames of one utterance are masked in all bins."""
    generator = torch.Generator().manual_seed(seed)
    masked = augment(torch.ones(1, T, 8), torch.tensor([T]), generator)[0]
    result: NDArray[np.bool_] = (masked == 0).all(dim=1).numpy()
    return result


@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    n_masks=st.integers(0, 12),
    width=st.integers(1, 60),
    fraction=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_time_masks_stay_within_bounds(
    lengths: list[int], n_masks: int, width: int, fraction: float, seed: int
) -> None:
    augment = SpecAugment(
        n_time_masks=n_masks,
        time_mask_frames=width,
        time_mask_fraction=fraction,
        n_frequency_masks=0,
    )
    features = torch.full((len(lengths), max(lengths) + 5, 4), torch.nan)
    for row, T in enumerate(lengths):
        features[row, :T] = torch.rand(T, 4) + 1
    generator = torch.Generator().manual_seed(seed)
    masked = augment(features, torch.tensor(lengths), generator)
    for row, T in enumerate(lengths):
        assert masked[row, T:].isnan().all()
        gone = (masked[row, :T] == 0).all(dim=1)
        assert torch.equal(masked[row, :T][~gone], features[row, :T][~gone])
        assert int(gone.sum()) <= min(n_masks * width, fraction * T)


def test_long_utterances_get_more_masks() -> None:
    augment = SpecAugment(
        n_time_masks=10, time_mask_frames=40, time_mask_fraction=0.2, n_frequency_masks=0
    )

    def n_stretches(T: int) -> float:
        frames = [np.pad(masked_frames(augment, T, seed), 1).astype(int) for seed in range(100)]
        return float(np.mean([np.sum(np.diff(f) == 1) for f in frames]))

    assert n_stretches(200) <= 1  # a fifth of it is one mask
    assert 3 < n_stretches(1000) <= 5
    assert 6 < n_stretches(4000) <= 10


def test_masks_fall_everywhere_alike() -> None:
    augment = SpecAugment(
        n_time_masks=1, time_mask_frames=20, time_mask_fraction=1.0, n_frequency_masks=0
    )
    generator = torch.Generator().manual_seed(0)
    lengths = torch.full((20_000,), 100)
    gone = augment(torch.ones(20_000, 100, 1), lengths, generator)[..., 0] == 0
    widths = gone.sum(dim=1)
    counts = torch.bincount(widths, minlength=21)
    assert len(counts) == 21
    assert counts.min() > 0.8 * 20_000 / 21
    rate = gone.float().mean(dim=0)
    assert rate[20:80].min() > 0.9 * rate[20:80].mean()
    assert rate[20:80].max() < 1.1 * rate[20:80].mean()
    assert rate[0] > 0
    assert rate[-1] > 0


def test_frequency_masks_are_bands_over_the_whole_utterance() -> None:
    augment = SpecAugment(n_time_masks=0, n_frequency_masks=1, frequency_mask_bins=9)
    features = torch.ones(200, 30, 40)
    lengths = torch.full((200,), 25)
    masked = augment(features, lengths, torch.Generator().manual_seed(0))
    assert torch.equal(masked[:, 25:], features[:, 25:])
    gone = masked[:, :25] == 0
    assert torch.equal(gone, gone[:, :1].expand_as(gone))
    widths = gone[:, 0].sum(dim=1)
    assert (widths.min(), widths.max()) == (0, 9)
    padded = torch.nn.functional.pad(gone[:, 0].int(), (1, 1))
    assert (padded.diff(dim=1) == 1).sum(dim=1).max() == 1
    assert len({bytes(row.tolist()) for row in gone[:, 0]}) > 50  # each utterance its own


def test_wide_bands_on_few_features() -> None:
    augment = SpecAugment(n_time_masks=0, n_frequency_masks=2, frequency_mask_bins=27)
    masked = augment(torch.ones(4, 10, 13), torch.full((4,), 10), torch.Generator().manual_seed(0))
    assert masked.shape == (4, 10, 13)


def test_masks_follow_from_the_generator() -> None:
    augment = SpecAugment(time_warp_frames=5)
    features = torch.randn(3, 200, 20, generator=torch.Generator().manual_seed(0))
    before = features.clone()
    lengths = torch.tensor([200, 150, 90])

    def masked(seed: int) -> Tensor:
        return augment(features, lengths, torch.Generator().manual_seed(seed))

    assert torch.equal(masked(1), masked(1))
    assert not torch.equal(masked(1), masked(2))
    assert torch.equal(features, before)
    torch.manual_seed(1)
    assert torch.equal(augment(features, lengths), masked(1))


@given(
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=4),
    limit=st.integers(1, 30),
    seed=st.integers(0, 1000),
)
def test_time_warp_moves_frames_within_the_utterance(
    lengths: list[int], limit: int, seed: int
) -> None:
    augment = SpecAugment(n_time_masks=0, n_frequency_masks=0, time_warp_frames=limit)
    size = max(lengths) + 4
    ramp = torch.arange(size, dtype=torch.float32).expand(len(lengths), size)[..., None].clone()
    for row, T in enumerate(lengths):
        ramp[row, T:] = torch.nan
    warped = augment(ramp, torch.tensor(lengths), torch.Generator().manual_seed(seed))
    for row, T in enumerate(lengths):
        assert warped[row, T:].isnan().all()
        if T == 0:
            continue
        times = warped[row, :T, 0]
        assert times[0] == 0
        assert times[-1] == T - 1
        assert (times.diff() > 0).all()
        assert (times - ramp[row, :T, 0]).abs().max() <= limit + 1e-3


def test_time_warp_warps() -> None:
    augment = SpecAugment(n_time_masks=0, n_frequency_masks=0, time_warp_frames=10)
    ramp = torch.arange(100, dtype=torch.float32).expand(500, 100)[..., None]
    lengths = torch.full((500,), 100)
    warped = augment(ramp, lengths, torch.Generator().manual_seed(0))
    shifts = (warped - ramp)[..., 0]
    furthest = shifts.gather(1, shifts.abs().argmax(dim=1, keepdim=True))[:, 0]
    assert furthest.max() > 8
    assert furthest.min() < -8
    assert furthest.mean().abs() < 1


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        ({"n_time_masks": -1}, "none may be negative"),
        ({"time_mask_frames": 0}, "at least 1"),
        ({"time_mask_fraction": 1.2}, "time_mask_fraction is 1.2"),
    ],
)
def test_spec_augment_refuses(arguments: dict[str, object], needle: str) -> None:
    with pytest.raises(ConfigError, match=needle):
        SpecAugment(**arguments)  # type: ignore[arg-type]


# --- Real speech -----------------------------------------------------------------------------


def test_real_speech_keeps_its_times_and_gets_its_noise(asr_data: Path) -> None:
    speech = load(find(asr_data / "LibriSpeech" / "dev-clean-20spk")[0])
    for random in np.random.default_rng(0).spawn(3):
        room = simulate_impulse_response(random, 0.5, 0.0)
        assert lag(speech, reverberate(speech, room)) == 0
    assert lag(speech, telephone(speech)) == 0
    noisy = WaveformAugmenter(
        noise_folder=asr_data / "noise", noise_probability=1.0, noise_snr_db=(10, 10)
    )
    for index in range(5):
        added = noisy(speech, epoch=0, index=index) - speech
        assert decibels(active_power(speech) / active_power(added)) == pytest.approx(10, abs=0.5)


CENTRES = mel_centres(80, KALDI)


@pytest.mark.parametrize("factor", [0.8, 0.95, 1.0, 1.07, 1.2])
def test_warped_frequencies_rise_keep_their_ends_and_invert(factor: float) -> None:
    frequencies = torch.linspace(0, 8000, 801, dtype=torch.float64)
    factors = torch.tensor([factor], dtype=torch.float64)
    warped = warped_frequencies(frequencies, factors)[0]
    assert warped[0] == 0
    assert warped[-1] == pytest.approx(8000)
    assert (warped.diff() > 0).all()
    formants = frequencies <= 4800 * min(factor, 1) / factor
    assert torch.allclose(warped[formants], factor * frequencies[formants])
    back = warped_frequencies(warped, 1 / factors)[0]
    assert torch.allclose(back, frequencies, atol=1e-6)


def test_frequency_warp_moves_a_formant_by_the_factor_drawn() -> None:
    warp = FrequencyWarp(CENTRES, 0.1)
    # A bump around 1500 Hz, wide enough to be located between two bins.
    bump = (-(((CENTRES - 1500) / 300) ** 2)).exp().expand(400, 3, 80)
    warped = warp(bump, torch.Generator().manual_seed(0))
    places = (warped * CENTRES).sum(-1) / warped.sum(-1)
    factors = places[:, 0] / ((bump * CENTRES).sum(-1) / bump.sum(-1))[:, 0]
    assert torch.allclose(places, places[:, :1].expand_as(places))
    assert 0.89 < factors.min() < 0.92
    assert 1.08 < factors.max() < 1.12
    assert abs(float(factors.mean()) - 1) < 0.01


def test_frequency_warp_of_none_changes_nothing() -> None:
    features = torch.randn(2, 5, 80, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(FrequencyWarp(CENTRES, 0.0)(features), features, atol=1e-4)
    augment = SpecAugment(
        n_time_masks=0, n_frequency_masks=0, frequency_warp=FrequencyWarp(CENTRES, 0.1)
    )
    assert not torch.allclose(augment(features, torch.tensor([5, 5])), features, atol=1e-2)


def test_frequency_warp_refuses_what_would_fold_the_axis() -> None:
    with pytest.raises(ConfigError, match=r"0 to 0\.5"):
        FrequencyWarp(CENTRES, 0.6)
