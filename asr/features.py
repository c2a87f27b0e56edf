"""From waveforms to normalised log-mel or cepstral features.

Frames follow Kaldi's `snip-edges=true`: frame t sees the samples [h t, h t + 400) and no
others, h = 160 unless told otherwise, so blocks that are cut at multiples of the hop h and
overlap by 400 - h samples give the frames of the whole.
"""

from collections.abc import Iterable
from typing import Literal, overload

import torch
from torch import Tensor, nn

from asr.audio import SAMPLE_RATE
from asr.errors import ConfigError
from asr.filterbank import KALDI, WINDOW_SAMPLES, Filterbank, dct_matrix, mel_filters, window

__all__ = ["HOP_SAMPLES", "FeatureExtractor", "Normalizer", "n_frames"]

HOP_SAMPLES = 160  # 10 ms

# Frames computed at once: on a CPU what stays in its cache (six times faster than all at
# once), elsewhere what bounds the memory (about 0.5 GB).
_BLOCK_FRAMES_CPU = 1024
_BLOCK_FRAMES = 65_536


@overload
def n_frames(n_samples: int, hop_samples: int = ...) -> int: ...
@overload
def n_frames(n_samples: Tensor, hop_samples: int = ...) -> Tensor: ...
def n_frames(n_samples: int | Tensor, hop_samples: int = HOP_SAMPLES) -> int | Tensor:
    """Return how many frames that many samples give, max(0, 1 + floor((N - 400) / hop)).

    Args:
        n_samples: an integer or an integer tensor, at 16 kHz.
        hop_samples: from one frame to the next.
    """
    frames = 1 + (n_samples - WINDOW_SAMPLES) // hop_samples
    return frames.clamp_min(0) if isinstance(frames, Tensor) else max(0, frames)


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
        hop_samples: from one frame to the next, at most the 400 of a frame.

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
        hop_samples: int = HOP_SAMPLES,
    ) -> None:
        super().__init__()
        if kind not in ("logmel", "mfcc"):
            raise ConfigError(f"feature kind {kind!r} is unknown; take 'logmel' or 'mfcc'")
        if n_mels < 1:
            raise ConfigError(f"n_mels is {n_mels}; at least 1 is needed")
        if kind == "mfcc" and not 1 <= n_mfcc <= n_mels:
            raise ConfigError(f"n_mfcc is {n_mfcc}; 1 to n_mels={n_mels} is possible")
        if not 1 <= hop_samples <= WINDOW_SAMPLES:
            raise ConfigError(f"hop of {hop_samples} samples; 1 to {WINDOW_SAMPLES} are possible")
        self.kind = kind
        self.deltas = deltas
        self.hop_samples = hop_samples
        self.filterbank = filterbank
        self.n_features = (n_mels if kind == "logmel" else n_mfcc) * (3 if deltas else 1)
        # All follow from the arguments, so they are not saved.
        self.register_buffer("window", window(filterbank), persistent=False)
        self.register_buffer("mel", mel_filters(n_mels, filterbank), persistent=False)
        dct = dct_matrix(n_mels, n_mfcc, lifter) if kind == "mfcc" else None
        self.register_buffer("dct", dct, persistent=False)

    @property
    def hop_seconds(self) -> float:
        """From one frame to the next."""
        return self.hop_samples / SAMPLE_RATE

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of a batch; what lies beyond a length has no influence.

        Args:
            waveforms: (B, N), samples in [-1, 1] at 16 kHz.
            lengths: valid samples of each, (B,), integers in 0..N.
        Returns:
            features: float32 (B, T, n_features), T = n_frames(N, hop), zero beyond the length.
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
        feature_lengths = n_frames(lengths.to(waveforms.device, torch.int64), self.hop_samples)
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
        T = n_frames(waveforms.shape[1], self.hop_samples)
        size = self.n_features // (3 if self.deltas else 1)
        if T == 0 or len(waveforms) == 0:
            return waveforms.new_zeros(len(waveforms), T, size)
        block = _BLOCK_FRAMES_CPU if waveforms.device.type == "cpu" else _BLOCK_FRAMES
        frames = waveforms.unfold(1, WINDOW_SAMPLES, self.hop_samples)
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
