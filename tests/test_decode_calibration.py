"""Confidences that mean what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decode.calibration import UNCALIBRATED, calibrated, fit_calibration


def test_calibration_finds_the_map_that_made_the_confidences() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(1, 2, 20_000)
    shares = 1 / (1 + np.exp(-logits))
    correct = generator.random(len(shares)) < 1 / (1 + np.exp(-(0.5 * logits - 1)))
    found = fit_calibration(shares.tolist(), correct.tolist())
    assert found == pytest.approx((0.5, -1.0), abs=0.06)
    values = np.array(calibrated(shares.tolist(), found))
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (values > low) & (values < low + 0.1)
        assert correct[inside].mean() == pytest.approx(values[inside].mean(), abs=0.04)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_calibration_orders_no_two_words_anew(words: list[tuple[float, bool]]) -> None:
    shares, correct = [share for share, _ in words], [is_right for _, is_right in words]
    found = fit_calibration(shares, correct)
    assert found.slope >= 0
    values = calibrated(sorted(shares), found)
    assert values == sorted(values)
    assert all(0 <= value <= 1 for value in values)


def test_uncalibrated_shares_stay_as_they_are() -> None:
    assert calibrated([0.0, 0.4, 1.0], UNCALIBRATED) == [0.0, 0.4, 1.0]
    assert fit_calibration([], []) == UNCALIBRATED
