"""Features made more varied in training: SpecAugment, which masks and warps them."""

import torch
from torch import Tensor

from asr.errors import ConfigError
from asr.frequency_warp import FrequencyWarp

__all__ = ["SpecAugment"]


class SpecAugment:
    """Masks stretches of time and bands of frequency, and may warp both axes, per utterance.

    Of an utterance of L frames, n = min(n_time_masks, ceil(p L / W)) stretches are masked,
    each 0 to min(W, floor(p L / n)) frames wide, so that together they never exceed the
    fraction p; with W = time_mask_frames, p = time_mask_fraction.  Then n_frequency_masks
    bands, each 0 to frequency_mask_bins wide.  Widths and places are uniform.  Masked values
    are 0, the mean after normalisation.

    Args:
        n_time_masks: most stretches in an utterance.
        time_mask_frames: greatest width of a stretch.
        time_mask_fraction: greatest part of an utterance that is masked.
        n_frequency_masks: bands.
        frequency_mask_bins: greatest width of a band.
        time_warp_frames: a frame drawn at random moves by up to this many frames to either
            side, what lies before and after it is stretched or squeezed; 0 for none.
        frequency_warp: moves the frequencies of each utterance; None for none.

    Raises:
        ConfigError: a negative number, or a fraction outside 0..1.

    Reference: Park et al., "SpecAugment" (Interspeech 2019) and "SpecAugment on large scale
    datasets" (ICASSP 2020).
    """

    def __init__(
        self,
        *,
        n_time_masks: int = 10,
        time_mask_frames: int = 40,
        time_mask_fraction: float = 0.2,
        n_frequency_masks: int = 2,
        frequency_mask_bins: int = 27,
        time_warp_frames: int = 0,
        frequency_warp: FrequencyWarp | None = None,
    ) -> None:
        counts = (n_time_masks, n_frequency_masks, frequency_mask_bins, time_warp_frames)
        if min(counts) < 0 or time_mask_frames < 1:
            raise ConfigError(
                f"SpecAugment got masks {n_time_masks} x {time_mask_frames} frames, "
                f"{n_frequency_masks} x {frequency_mask_bins} bins, warp {time_warp_frames}; "
                "none may be negative, time_mask_frames must be at least 1"
            )
        if not 0 <= time_mask_fraction <= 1:
            raise ConfigError(f"time_mask_fraction is {time_mask_fraction:g}; 0 to 1 is possible")
        self.n_time_masks = n_time_masks
        self.time_mask_frames = time_mask_frames
        self.time_mask_fraction = time_mask_fraction
        self.n_frequency_masks = n_frequency_masks
        self.frequency_mask_bins = frequency_mask_bins
        self.time_warp_frames = time_warp_frames
        self.frequency_warp = frequency_warp

    def __call__(
        self, features: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return masked features; the given ones stay as they are.

        Args:
            features: normalised, (B, T, F).
            lengths: valid frames, (B,); frames beyond are neither masked nor moved.
            generator: source of the random numbers, on any device; None for torch's own of
                the features' device.
        Returns:
            (B, T, F).
        """
        lengths = lengths.to(features.device, torch.int64)
        if self.time_warp_frames:
            features = self._warp_time(features, lengths, generator)
        if self.frequency_warp is not None:
            features = self.frequency_warp(features, generator)
        masked = self._time_mask(features, lengths, generator)[..., None]
        if self.n_frequency_masks and self.frequency_mask_bins:
            masked = masked | self._frequency_mask(features, generator)[:, None, :]
        inside = _positions(features, 1) < lengths[:, None]
        return features.masked_fill(masked & inside[..., None], 0.0)

    def _time_mask(
        self, features: Tensor, lengths: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw the masked frames, (B, T)."""
        budget = (lengths * self.time_mask_fraction).long()
        n_masks = (-(-budget // self.time_mask_frames)).clamp_max(self.n_time_masks)
        widest = (budget // n_masks.clamp_min(1)).clamp_max(self.time_mask_frames)
        order = torch.arange(self.n_time_masks, device=features.device)
        limits = torch.where(order < n_masks[:, None], widest[:, None], 0)  # (B, masks)
        return _stretches(limits, lengths[:, None], _positions(features, 1), generator)

    def _frequency_mask(self, features: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw the masked bands, (B, F)."""
        B, _, F = features.shape
        limits = torch.full(
            (B, self.n_frequency_masks), min(self.frequency_mask_bins, F), device=features.device
        )
        size = torch.full_like(limits[:, :1], F)
        return _stretches(limits, size, _positions(features, 2), generator)

    def _warp_time(
        self, features: Tensor, lengths: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Move one frame of each utterance and interpolate linearly around it."""
        last = (lengths - 1).clamp_min(0)
        # Both sides of the frame must keep a frame wherever it goes.
        limit = ((last - 2) // 2).clamp(0, self.time_warp_frames)
        source = limit + 1 + _draw((last - 2 * limit - 2).clamp_min(0), generator)
        target = source + _draw(2 * limit, generator) - limit
        source, target, last = (x[:, None] for x in (source, target, last))
        t = _positions(features, 1)
        before = t * source / target
        after = source + (t - target) * (last - source) / (last - target).clamp_min(1)
        wanted = torch.where(t <= target, before, after).minimum(last)
        wanted = torch.where((t <= last) & (limit > 0)[:, None], wanted, t)
        lower = wanted.long()
        upper = (lower + 1).minimum(last)
        rows = torch.arange(len(features), device=features.device)[:, None]
        weight = (wanted - lower)[..., None].to(features.dtype)
        return torch.lerp(features[rows, lower], features[rows, upper], weight)


def _positions(features: Tensor, dim: int) -> Tensor:
    return torch.arange(features.shape[dim], device=features.device)


def _draw(greatest: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw integers uniformly from 0..greatest, element by element."""
    device = generator.device if generator is not None else greatest.device
    uniform = torch.rand(greatest.shape, generator=generator, device=device).to(greatest.device)
    # The product can round up to greatest + 1.
    return (uniform * (greatest + 1)).long().minimum(greatest)


def _stretches(
    limits: Tensor, size: Tensor, positions: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw stretches and unite them: limits (B, n), size (B, 1), positions (P,) -> (B, P)."""
    widths = _draw(limits, generator)
    starts = _draw(size - widths, generator)
    distance = positions - starts[..., None]  # (B, n, P)
    return ((distance >= 0) & (distance < widths[..., None])).any(dim=1)
