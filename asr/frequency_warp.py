"""Vocal-tract-length perturbation: the same words from a longer or a shorter throat."""

import torch
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.errors import ConfigError

__all__ = ["FrequencyWarp", "warp", "warped_frequencies"]

_TOP_OF_FORMANTS_HZ = 4800.0


class FrequencyWarp:
    """Stretches or squeezes the frequency axis of log-mel features, per utterance.

    A factor a is drawn uniformly from 1 - w to 1 + w, and the energy at frequency f moves to

        g(f) = a f                                           for f <= f0 = F min(a, 1) / a
        g(f) = S/2 - (S/2 - a f0) / (S/2 - f0) (S/2 - f)     above,

    where F = 4800 Hz lies above the formants and S/2 = 8000 Hz stays in place.  What lies between
    two bins is interpolated.  A filterbank's bins are warped after the fact, so the cost is
    small and cached features can be used.

    Args:
        frequencies: the bins' centre frequencies in Hz, rising, (F,).
        greatest: w, 0 to 0.5.

    Raises:
        ConfigError: `greatest` out of range.

    Reference: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech
    recognition" (ICML workshop 2013), equation 1.
    """

    def __init__(self, frequencies: Tensor, greatest: float) -> None:
        if not 0 <= greatest <= 0.5:
            raise ConfigError(f"frequency warp is {greatest:g}; 0 to 0.5 is possible")
        self.frequencies = frequencies
        self.greatest = greatest

    def __call__(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return warped features; the given ones stay as they are.

        Args:
            features: (B, T, F), log-mel.
            generator: source of the random numbers, on any device; None for torch's own of
                the features' device.
        Returns:
            (B, T, F).
        """
        device = generator.device if generator is not None else features.device
        uniform = torch.rand(len(features), generator=generator, device=device)
        factors = 1 + self.greatest * (2 * uniform.to(features.device) - 1)
        return warp(features, self.frequencies, factors)


def warp(features: Tensor, frequencies: Tensor, factors: Tensor) -> Tensor:
    """Move what is at frequency f to g(f) of `FrequencyWarp`; the given features stay as they are.

    Args:
        features: (B, T, F), log-mel.
        frequencies: the bins' centre frequencies in Hz, rising, (F,).
        factors: a of each utterance, (B,).
    Returns:
        (B, T, F).
    """
    frequencies = frequencies.to(features.device)
    sources = warped_frequencies(frequencies, 1 / factors)
    upper = torch.searchsorted(frequencies, sources).clamp(1, len(frequencies) - 1)
    lower = upper - 1
    gaps = frequencies[upper] - frequencies[lower]
    # Sources beyond the outermost bins take those bins' values.
    weights = ((sources - frequencies[lower]) / gaps).clamp(0, 1).to(features.dtype)
    below, above = (
        features.gather(2, bins[:, None, :].expand_as(features)) for bins in (lower, upper)
    )
    return torch.lerp(below, above, weights[:, None, :])


def warped_frequencies(frequencies: Tensor, factors: Tensor) -> Tensor:
    """Return g(f) of `FrequencyWarp`: frequencies (F,) in Hz, factors (B,) -> (B, F)."""
    nyquist = SAMPLE_RATE / 2
    factors = factors[:, None]
    knee = _TOP_OF_FORMANTS_HZ * factors.clamp_max(1) / factors
    slope = (nyquist - factors * knee) / (nyquist - knee)
    above = nyquist - slope * (nyquist - frequencies)
    return torch.where(frequencies <= knee, factors * frequencies, above)
