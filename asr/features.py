"""From waveforms to normalised log-mel or cepstral features.

Frames follow Kaldi's `snip-edges=true`: frame t sees the samples [160 t, 160 t + 400) and
no others, so blocks that are cut at multiples of the hop and overlap by 240 samples give
the frames of the whole.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor, nn

from asr.audio import SAMPLE_RATE
from asr.errors import ConfigError

__all__ = [
    "HOP_SAMPLES",
    "KALDI",
    "LIBROSA",
    "WINDOW_SAMPLES",
    "FeatureExtractor",
    "Filterbank",
    "Normalizer",
    "n_frames",
]

WINDOW_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms

# Frames computed at once: on a CPU what stays in its cache (six times faster than all at
# once), elsewhere what bounds the memory (about 0.5 GB).
_BLOCK_FRAMES_CPU = 1024
_BLOCK_FRAMES = 65_536


@overload
def n_frames(n_samples: int) -> int: ...
@overload
def n_frames(n_samples: Tensor) -> Tensor: ...
def n_frames(n_samples: int | Tensor) -> int | Tensor:
    """Return how many frames that many samples give, max(0, 1 + floor((N - 400) / 160)).

    Args:
        n_samples: an integer or an integer tensor, at 16 kHz.
    """
    frames = 1 + (n_samples - WINDOW_SAMPLES) // HOP_SAMPLES
    return frames.clamp_min(0) if isinstance(frames, Tensor) else max(0, frames)


@dataclass(frozen=True)
class Filterbank:
    """How a frame of samples becomes mel energies; the defaults are Kaldi's.

    A frame x of 400 samples is scaled, freed of its mean, pre-emphasised
    (x[i] - a x[max(i - 1, 0)]), windowed, padded with zeros to `n_fft`, transformed, and
    its |X(f)|**power is summed in triangles that are evenly spaced on the mel scale.

    Attributes:
        window: "povey" (hann**0.85), "hann" or "hamming".
        periodic_window: period of 400 samples (librosa, scipy) instead of 399 (Kaldi).
        n_fft: points of the Fourier transform, at least 400.
        preemphasis: the coefficient a, in [0, 1].
        remove_dc_offset: whether a frame's mean is taken off.
        low_hz: lower edge of the first triangle.
        high_hz: upper edge of the last triangle; 0 or less counts from 8000 Hz.
        mel_scale: "kaldi" (1127 ln(1 + f/700), triangles straight over mel), "htk" (the
            same curve, triangles straight over Hz) or "slaney" (linear below 1000 Hz,
            logarithmic above, triangles straight over Hz).
        equal_area: triangles of area 1 over Hz (librosa's norm="slaney"), not height 1.
        power: 2 for energies, 1 for magnitudes.
        log_floor: mel energies below it are raised to it before the logarithm.
        scale: a sample of 1.0 becomes this; Kaldi reads 16-bit integers, 32768.

    Reference: Kaldi, feat/feature-fbank.h; Slaney, Auditory Toolbox (1998).
    """

    window: Literal["povey", "hann", "hamming"] = "povey"
    periodic_window: bool = False
    n_fft: int = 512
    preemphasis: float = 0.97
    remove_dc_offset: bool = True
    low_hz: float = 20.0
    high_hz: float = 0.0
    mel_scale: Literal["kaldi", "htk", "slaney"] = "kaldi"
    equal_area: bool = False
    power: float = 2.0
    log_floor: float = torch.finfo(torch.float32).eps
    scale: float = 32_768.0

    def __post_init__(self) -> None:
        if self.window not in ("povey", "hann", "hamming"):
            raise ConfigError(
                f"window {self.window!r} is unknown; take 'povey', 'hann' or 'hamming'"
            )
        if self.mel_scale not in ("kaldi", "htk", "slaney"):
            raise ConfigError(
                f"mel_scale {self.mel_scale!r} is unknown; take 'kaldi', 'htk' or 'slaney'"
            )
        nyquist = SAMPLE_RATE / 2
        if self.n_fft < WINDOW_SAMPLES:
            raise ConfigError(f"n_fft is {self.n_fft}; it must be at least {WINDOW_SAMPLES}")
        if not 0 <= self.low_hz < self.top_hz <= nyquist:
            raise ConfigError(
                f"low_hz {self.low_hz:g} and high_hz {self.high_hz:g} leave no band; "
                f"0 <= low_hz < high_hz <= {nyquist:g} is needed"
            )
        if self.power <= 0 or self.log_floor <= 0 or self.scale <= 0:
            raise ConfigError(
                f"power {self.power:g}, log_floor {self.log_floor:g} and scale {self.scale:g} "
                "must be above 0"
            )

    @property
    def top_hz(self) -> float:
        """The upper edge of the last triangle in Hz."""
        return self.high_hz if self.high_hz > 0 else SAMPLE_RATE / 2 + self.high_hz


KALDI = Filterbank()
# log of librosa.feature.melspectrogram(sr=16000, n_fft=400, hop_length=160, center=False)
LIBROSA = Filterbank(
    window="hann",
    periodic_window=True,
    n_fft=WINDOW_SAMPLES,
    preemphasis=0.0,
    remove_dc_offset=False,
    low_hz=0.0,
    mel_scale="slaney",
    equal_area=True,
    log_floor=1e-10,
    scale=1.0,
)


class FeatureExtractor(nn.Module):
    """Log-mel energies or mel-frequency cepstra of waveforms, in float32 on any device.

        logmel[t, m] = ln max(floor, sum over f of filter[m, f] |X[t, f]|**power)
        mfcc[t, k] = lifter[k] sum over m of dct[k, m] logmel[t, m]

    With the defaults it equals torchaudio.compliance.kaldi.fbank and mfcc (dither 0) of the
    waveform times 32768, with `filterbank=LIBROSA` the logarithm of
    librosa.feature.melspectrogram(center=False): log energies to 1e-3 down to 70 dB below the
    frame's strongest, weaker ones as energies to 3e-5 of that one, which is where float32
    ends.  It takes some 60 % of the CPU time of either (tools/bench_features.py), because
    the work is done in blocks of frames that stay in the cache.

    Args:
        kind: "logmel" or "mfcc".
        n_mels: number of triangles.
        n_mfcc: number of cepstra, with the zeroth; at most `n_mels`.
        deltas: append first and second differences over 2 frames to each side; a frame
            then depends on 4 more frames to each side.
        filterbank: how a frame becomes mel energies.
        lifter: Kaldi's cepstral lifter, 1 + L/2 sin(pi k / L); 0 switches it off.

    Raises:
        ConfigError: a value out of range.

    Reference: Davis and Mermelstein, "Comparison of parametric representations for
    monosyllabic word recognition" (1980); Young et al., "The HTK Book", 5.6 to 5.9.
    """

    window: Tensor
    mel: Tensor
    dct: Tensor | None

    def __init__(
        self,
        kind: Literal["logmel", "mfcc"] = "logmel",
        *,
        n_mels: int = 80,
        n_mfcc: int = 13,
        deltas: bool = False,
        filterbank: Filterbank = KALDI,
        lifter: float = 22.0,
    ) -> None:
        super().__init__()
        if kind not in ("logmel", "mfcc"):
            raise ConfigError(f"feature kind {kind!r} is unknown; take 'logmel' or 'mfcc'")
        if n_mels < 1:
            raise ConfigError(f"n_mels is {n_mels}; at least 1 is needed")
        if kind == "mfcc" and not 1 <= n_mfcc <= n_mels:
            raise ConfigError(f"n_mfcc is {n_mfcc}; 1 to n_mels={n_mels} is possible")
        self.kind = kind
        self.deltas = deltas
        self.filterbank = filterbank
        self.n_features = (n_mels if kind == "logmel" else n_mfcc) * (3 if deltas else 1)
        # All follow from the arguments, so they are not saved.
        self.register_buffer("window", _window(filterbank), persistent=False)
        self.register_buffer("mel", _mel_filters(n_mels, filterbank), persistent=False)
        dct = _dct(n_mels, n_mfcc, lifter) if kind == "mfcc" else None
        self.register_buffer("dct", dct, persistent=False)

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a batch; what lies beyond a length has no influence.

        Args:
            waveforms: (B, N), samples in [-1, 1] at 16 kHz.
            lengths: valid samples of each, (B,), integers in 0..N.
        Returns:
            features: float32 (B, T, n_features), T = n_frames(N), zero beyond the length.
            feature_lengths: int64 (B,).
        """
        if waveforms.ndim != 2 or lengths.shape != waveforms.shape[:1]:
            raise ValueError(
                f"waveforms {tuple(waveforms.shape)} and lengths {tuple(lengths.shape)} "
                "must be (B, N) and (B,)"
            )
        # On another device the look would wait for all work that is queued there.
        if lengths.device.type == "cpu" and (lengths > waveforms.shape[1]).any():
            raise ValueError(f"lengths {lengths.tolist()} exceed the {waveforms.shape[1]} samples")
        feature_lengths = n_frames(lengths.to(waveforms.device, torch.int64))
        # Under autocast the products below would run in half precision.
        with torch.autocast(waveforms.device.type, enabled=False):
            features = self._static(waveforms.float())
            if self.deltas:
                first = _delta(features, feature_lengths)
                second = _delta(first, feature_lengths)
                features = torch.cat([features, first, second], dim=2)
        valid = _valid(features, feature_lengths)
        return features.masked_fill(~valid, 0.0), feature_lengths

    def _static(self, waveforms: Tensor) -> Tensor:
        """Compute the features without differences, (B, N) -> (B, T, F)."""
        T = n_frames(waveforms.shape[1])
        size = self.n_features // (3 if self.deltas else 1)
        if T == 0 or len(waveforms) == 0:
            return waveforms.new_zeros(len(waveforms), T, size)
        block = _BLOCK_FRAMES_CPU if waveforms.device.type == "cpu" else _BLOCK_FRAMES
        frames = waveforms.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES)
        blocks = torch.split(frames, max(1, block // len(waveforms)), dim=1)
        return torch.cat([self._block(b) for b in blocks], dim=1)

    def _block(self, frames: Tensor) -> Tensor:
        """Compute the features of frames (B, T, 400) -> (B, T, F)."""
        bank = self.filterbank
        if bank.remove_dc_offset:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if bank.preemphasis:
            previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            frames = frames - bank.preemphasis * previous
        spectrum = torch.fft.rfft(frames * self.window, n=bank.n_fft)
        energies = spectrum.real.square() + spectrum.imag.square()
        if bank.power != 2:
            energies = energies.pow(bank.power / 2)
        features: Tensor = (energies @ self.mel).clamp_min(bank.log_floor).log()
        return features if self.dct is None else features @ self.dct


class Normalizer(nn.Module):
    """Takes the mean off features and brings their spread to about one.

        none:       y = x
        global:     y = (x - mean) / std                 of the training data
        utterance:  y = (x - m) / s                      of the utterance's own frames
        sliding:    y[t] = (x[t] - m[t]) / std           m[t] over `window_frames` frames

    The sliding window is [t - W // 2, t - W // 2 + W), moved inward at both ends of the
    utterance and cut to it where it is longer, as Kaldi's apply-cmvn-sliding --center
    does.  So a piece of a long recording gets the values of the whole where it has W // 2
    frames of context to both sides, or starts or ends with the recording and has W frames.

    Args:
        n_features: size of a frame.
        kind: see above.
        window_frames: W, only for "sliding".

    Raises:
        ConfigError: an unknown kind or an empty window.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        n_features: int,
        kind: Literal["none", "global", "utterance", "sliding"] = "sliding",
        *,
        window_frames: int = 1000,
    ) -> None:
        super().__init__()
        if kind not in ("none", "global", "utterance", "sliding"):
            raise ConfigError(
                f"normalization {kind!r} is unknown; take 'none', 'global', 'utterance' or "
                "'sliding'"
            )
        if window_frames < 1:
            raise ConfigError(f"window_frames is {window_frames}; at least 1 is needed")
        self.kind = kind
        self.window_frames = window_frames
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def forward(self, features: Tensor, feature_lengths: Tensor) -> Tensor:
        """Normalise a batch; padding has no influence and becomes zero.

        Args:
            features: (B, T, F).
            feature_lengths: valid frames of each, (B,).
        Returns:
            (B, T, F) float32.
        """
        lengths = feature_lengths.to(features.device, torch.int64)
        valid = _valid(features, lengths)
        features = features.float().masked_fill(~valid, 0.0)
        if self.kind == "global":
            features = (features - self.mean) / self.std
        elif self.kind == "utterance":
            features = _standardize(features, lengths, valid)
        elif self.kind == "sliding":
            features = (features - _sliding_mean(features, lengths, self.window_frames)) / self.std
        return features.masked_fill(~valid, 0.0)

    @torch.no_grad()
    def estimate(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Set `mean` and `std` to those of all valid frames of the batches.

        Args:
            batches: pairs of features (B, T, F) and feature_lengths (B,).

        Raises:
            ConfigError: no frame in all batches, or values that are not finite.

        Reference: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
        computing sample variances" (1979).
        """
        count = 0
        mean = torch.zeros(len(self.mean), dtype=torch.float64)
        squares = torch.zeros_like(mean)  # sum of squared distances from the mean
        for features, lengths in batches:
            inside = _valid(features, lengths.to(features.device)).squeeze(2)
            frames = features[inside].to("cpu", torch.float64)
            if len(frames) == 0:
                continue
            batch_mean = frames.mean(dim=0)
            shift = batch_mean - mean
            total = count + len(frames)
            squares += (frames - batch_mean).square().sum(dim=0)
            squares += shift.square() * (count * len(frames) / total)
            mean += shift * (len(frames) / total)
            count = total
        if count == 0:
            raise ConfigError("mean and std need at least one frame; all utterances are too short")
        if not squares.isfinite().all():
            raise ConfigError("mean and std need finite features; NaN or infinity was found")
        std = (squares / count).sqrt()
        self.mean.copy_(mean)
        # A feature that never changes carries nothing: its scale is left alone.
        self.std.copy_(std.where(std > 1e-5, torch.ones_like(std)))


def _valid(features: Tensor, lengths: Tensor) -> Tensor:
    """Mark the frames inside the lengths, (B, T, 1)."""
    positions = torch.arange(features.shape[1], device=features.device)
    return (positions < lengths[:, None])[..., None]


def _standardize(features: Tensor, lengths: Tensor, valid: Tensor) -> Tensor:
    """Bring each utterance (zero in its padding) to mean 0 and standard deviation 1."""
    count = lengths.clamp_min(1)[:, None, None]
    mean = features.sum(dim=1, keepdim=True) / count
    centred = (features - mean).masked_fill(~valid, 0.0)
    variance = centred.square().sum(dim=1, keepdim=True) / count
    # The floor keeps an utterance of one frame, or of silence, at zero.
    return centred / variance.sqrt().clamp_min(1e-5)


def _sliding_mean(features: Tensor, lengths: Tensor, window_frames: int) -> Tensor:
    """Compute the mean over a window around each frame, (B, T, F); padding must be zero."""
    T = features.shape[1]
    positions = torch.arange(T, device=features.device)
    last_start = (lengths - window_frames).clamp_min(0)[:, None]
    start = (positions - window_frames // 2).clamp_min(0).minimum(last_start)
    end = (start + window_frames).minimum(lengths[:, None])
    # Differences of float32 sums would lose the digits that count; Apple's GPUs have no more.
    dtype = torch.float32 if features.device.type == "mps" else torch.float64
    sums = nn.functional.pad(features.to(dtype), (0, 0, 1, 0)).cumsum(dim=1)
    rows = torch.arange(len(features), device=features.device)[:, None]
    total = sums[rows, end] - sums[rows, start]
    return (total / (end - start).clamp_min(1)[..., None]).to(features.dtype)


def _delta(features: Tensor, lengths: Tensor) -> Tensor:
    """Compute sum over n of n (x[t + n] - x[t - n]) / 10 for n = 1, 2, ends repeated."""
    positions = torch.arange(features.shape[1], device=features.device)
    last = (lengths - 1).clamp_min(0)[:, None]
    rows = torch.arange(len(features), device=features.device)[:, None]

    def shifted(n: int) -> Tensor:
        return features[rows, (positions + n).clamp_min(0).minimum(last)]

    return (shifted(1) - shifted(-1) + 2 * (shifted(2) - shifted(-2))) / 10


def _window(bank: Filterbank) -> Tensor:
    """Return the window with the waveform's scale in it, (400,)."""
    period = WINDOW_SAMPLES if bank.periodic_window else WINDOW_SAMPLES - 1
    phase = 2 * math.pi / period * torch.arange(WINDOW_SAMPLES, dtype=torch.float64)
    if bank.window == "hamming":
        window = 0.54 - 0.46 * phase.cos()
    else:
        window = (0.5 - 0.5 * phase.cos()).pow(0.85 if bank.window == "povey" else 1.0)
    return (bank.scale * window).float()


def _hertz_to_htk(hertz: Tensor) -> Tensor:
    return 1127.0 * (hertz / 700.0).log1p()


def _htk_to_hertz(mel: Tensor) -> Tensor:
    return 700.0 * (mel / 1127.0).expm1()


# Slaney's scale: 3 mels per 200 Hz up to 1000 Hz, then 27 steps to a factor of 6.4.
_SLANEY_STEP = math.log(6.4) / 27


def _hertz_to_slaney(hertz: Tensor) -> Tensor:
    above = 15.0 + (hertz.clamp_min(1000.0) / 1000.0).log() / _SLANEY_STEP
    return torch.where(hertz < 1000.0, hertz * 3 / 200, above)


def _slaney_to_hertz(mel: Tensor) -> Tensor:
    return torch.where(mel < 15.0, mel * 200 / 3, 1000.0 * ((mel - 15.0) * _SLANEY_STEP).exp())


_MEL_SCALES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kaldi": (_hertz_to_htk, _htk_to_hertz),
    "htk": (_hertz_to_htk, _htk_to_hertz),
    "slaney": (_hertz_to_slaney, _slaney_to_hertz),
}


def _mel_filters(n_mels: int, bank: Filterbank) -> Tensor:
    """Return the triangles as a matrix, (n_fft // 2 + 1, n_mels)."""
    to_mel, to_hertz = _MEL_SCALES[bank.mel_scale]
    ends = to_mel(torch.tensor([bank.low_hz, bank.top_hz], dtype=torch.float64))
    edges = torch.linspace(float(ends[0]), float(ends[1]), n_mels + 2, dtype=torch.float64)
    hertz_edges = to_hertz(edges)
    bins = torch.arange(bank.n_fft // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / bank.n_fft)
    if bank.mel_scale == "kaldi":
        bins = to_mel(bins)
    else:
        edges = hertz_edges
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    filters = rising.minimum(falling).clamp_min(0.0)
    if bank.equal_area:
        filters = filters * (2.0 / (hertz_edges[2:] - hertz_edges[:-2]))
    n_empty = int((filters.sum(dim=0) == 0).sum())
    if n_empty:
        raise ConfigError(
            f"n_mels is {n_mels}: {n_empty} of the mel bands hold no frequency of a "
            f"{bank.n_fft}-point spectrum; take fewer bands or a larger n_fft"
        )
    return filters.float()


def _dct(n_mels: int, n_mfcc: int, lifter: float) -> Tensor:
    """Return the orthonormal DCT-II with the lifter in it, (n_mels, n_mfcc)."""
    k = torch.arange(n_mfcc, dtype=torch.float64)
    m = torch.arange(n_mels, dtype=torch.float64)
    dct = (math.pi / n_mels * (m[:, None] + 0.5) * k).cos() * math.sqrt(2.0 / n_mels)
    dct[:, 0] = math.sqrt(1.0 / n_mels)
    if lifter:
        dct = dct * (1.0 + lifter / 2 * (math.pi * k / lifter).sin())
    return dct.float()
