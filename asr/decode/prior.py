"""How likely each token is whatever is heard, and log-probabilities with that taken off."""

from collections.abc import Sequence

import torch
from torch import Tensor

from asr.errors import ConfigError

__all__ = ["token_prior", "without_prior"]

# Below that a token has not been heard; what is taken off stays bounded.
_LEAST = 1e-6


def token_prior(recordings: Sequence[Tensor]) -> tuple[float, ...]:
    """Return the mean probability of each token over all frames, to six digits.

    Args:
        recordings: log P(symbol | frame) of each, (T, V).

    Raises:
        ConfigError: there is no frame in them.
    """
    n_frames = sum(map(len, recordings))
    if not n_frames:
        raise ConfigError(
            "no audio to measure the tokens' prior on; a dev set that can be read is needed"
        )
    total = torch.stack([each.double().exp().sum(0) for each in recordings]).sum(0)
    mean = (total / n_frames).clamp(min=_LEAST)
    return tuple(float(f"{value:.6g}") for value in mean.tolist())


def without_prior(log_probs: Tensor, prior: Sequence[float], scale: float) -> Tensor:
    """Take a part of the prior off.

        log p'(k | t) = log p(k | t) - scale * log P(k) - log of the sum over k

    The acoustic model has learnt how common each token is; the language models say it once more,
    and better.  Frames in which it hears little hold hardly more than that.

    Args:
        log_probs: (..., V), natural logarithms.
        prior: P(k) of each token, above 0.
        scale: 0 to 1 as a rule.

    Returns:
        Same shape, normalised.

    Reference: Miao, Gowayyed and Metze, "EESEN: end-to-end speech recognition using deep RNN
    models and WFST-based decoding", ASRU 2015, section 4.
    """
    log_prior = torch.tensor(prior, dtype=torch.float64).log().to(log_probs)
    return (log_probs - scale * log_prior).log_softmax(dim=-1)
