"""From a frame of samples to mel energies and cepstra: window, triangles, DCT."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.errors import ConfigError

__all__ = [
    "KALDI",
    "LIBROSA",
    "WINDOW_SAMPLES",
    "Filterbank",
    "dct_matrix",
    "mel_centres",
    "mel_filters",
    "window",
]

WINDOW_SAMPLES = 400  # 25 ms


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


def window(bank: Filterbank) -> Tensor:
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


def mel_filters(n_mels: int, bank: Filterbank) -> Tensor:
    """Return the triangles as a matrix, (n_fft // 2 + 1, n_mels)."""
    to_mel, to_hertz = _MEL_SCALES[bank.mel_scale]
    edges = _mel_edges(n_mels, bank)
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


def mel_centres(n_mels: int, bank: Filterbank) -> Tensor:
    """Return the frequencies of the triangles' tips in Hz, (n_mels,)."""
    _, to_hertz = _MEL_SCALES[bank.mel_scale]
    return to_hertz(_mel_edges(n_mels, bank)[1:-1]).float()


def _mel_edges(n_mels: int, bank: Filterbank) -> Tensor:
    """Return where triangles begin, peak and end on the mel scale, (n_mels + 2,)."""
    to_mel, _ = _MEL_SCALES[bank.mel_scale]
    low, high = to_mel(torch.tensor([bank.low_hz, bank.top_hz], dtype=torch.float64)).tolist()
    return torch.linspace(low, high, n_mels + 2, dtype=torch.float64)


def dct_matrix(n_mels: int, n_mfcc: int, lifter: float) -> Tensor:
    """Return the orthonormal DCT-II with the lifter in it, (n_mels, n_mfcc)."""
    k = torch.arange(n_mfcc, dtype=torch.float64)
    m = torch.arange(n_mels, dtype=torch.float64)
    dct = (math.pi / n_mels * (m[:, None] + 0.5) * k).cos() * math.sqrt(2.0 / n_mels)
    dct[:, 0] = math.sqrt(1.0 / n_mels)
    if lifter:
        dct = dct * (1.0 + lifter / 2 * (math.pi * k / lifter).sin())
    return dct.float()
