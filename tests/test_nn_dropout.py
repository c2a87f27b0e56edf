"""Dropout: how often, how it scales, its gradient, and that runs repeat."""

import pytest
import torch

from asr.errors import ConfigError
from asr.nn.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.93])
def test_rate_and_scale(p: float, dtype: torch.dtype) -> None:
    """Dropped as often as said, wherever a value stands, and the mean stays."""
    torch.manual_seed(0)
    x = torch.ones(1001, 1003, dtype=dtype)
    y = Dropout(p)(x)
    dropped = y == 0
    assert y.dtype == dtype
    assert float(dropped.double().mean()) == pytest.approx(p, abs=0.002)
    for start in range(4):  # The four values that one random number serves.
        assert float(dropped.flatten()[start::4].double().mean()) == pytest.approx(p, abs=0.004)
    both = (dropped.flatten()[:-1] & dropped.flatten()[1:]).double().mean()
    assert float(both) == pytest.approx(p * p, abs=0.004)
    torch.testing.assert_close(
        y[~dropped], torch.full_like(y[~dropped], 1 / (1 - p)), atol=0, rtol=0.01
    )


def test_gradient_goes_where_the_value_went() -> None:
    x = torch.randn(7, 9, requires_grad=True)
    y = Dropout(0.4)(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient * x, y)


def test_off_in_evaluation_and_the_same_from_one_seed() -> None:
    layer = Dropout(0.3)
    x = torch.randn(50, 3)
    torch.manual_seed(1)
    first = layer(x)
    torch.manual_seed(1)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0)(x), x)
    assert torch.equal(Dropout(1)(x), torch.zeros_like(x))
    assert layer.train()(x[:0]).shape == (0, 3)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ConfigError, match="dropout"):
        Dropout(p)
