"""Word confidences that mean what they say: of words with confidence 0.8, four in five are right.

    confidence = sigmoid(slope * logit(share) + offset),      slope >= 0

share is a word's part of the probability mass of the n-best.  With slope 1 and offset 0 nothing is
changed; the two are fitted on a dev set.  The map is monotone: it orders no two words anew.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["UNCALIBRATED", "Calibration", "calibrated", "fit_calibration"]

_Doubles = NDArray[np.float64]

# Shares closer to 0 or 1 than that are taken for that: an n-best is too short to tell.
_LEAST_DOUBT = 1e-3


class Calibration(NamedTuple):
    """The map from shares to confidences.

    Args:
        slope: At least 0.
        offset: Of the logit.
    """

    slope: float = 1.0
    offset: float = 0.0


UNCALIBRATED = Calibration()


def calibrated(shares: Sequence[float], calibration: Calibration) -> list[float]:
    """Return the confidences of words with these shares, each from 0 to 1."""
    if calibration == UNCALIBRATED:
        return list(shares)
    logits = calibration.slope * _logits(shares) + calibration.offset
    confidences: list[float] = (1 / (1 + np.exp(-logits))).tolist()
    return confidences


def fit_calibration(shares: Sequence[float], correct: Sequence[bool]) -> Calibration:
    """Find the map under which what was right and what was wrong is the most probable.

    The slope has the prior N(1, 1), the offset N(0, 1): few words change little.

    Args:
        shares: (N,) from 0 to 1.
        correct: (N,) whether the word was said.

    Reference: Platt, "Probabilistic outputs for support vector machines", 1999.
    """
    from scipy.optimize import minimize  # slow to load, and only `asr tune` calibrates

    logits = _logits(shares)
    signs = np.where(np.asarray(correct, np.bool_), 1.0, -1.0)

    def loss(parameters: _Doubles) -> tuple[float, _Doubles]:
        slope, offset = parameters
        margins = signs * (slope * logits + offset)
        value = np.logaddexp(0, -margins).sum() + ((slope - 1) ** 2 + offset**2) / 2
        # d/dm of log(1 + exp(-m)).
        slopes = -signs / (1 + np.exp(margins))
        gradient = np.array([slopes @ logits + slope - 1, slopes.sum() + offset])
        return float(value), gradient

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=[(0, None), (None, None)])
    slope, offset = found.x.tolist()
    return Calibration(slope, offset)


def _logits(shares: Sequence[float]) -> _Doubles:
    clipped = np.clip(np.asarray(shares, np.float64), _LEAST_DOUBT, 1 - _LEAST_DOUBT)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
