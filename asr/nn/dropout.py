"""Dropout that takes few random bits."""

import torch
from torch import Tensor, nn

from asr.errors import ConfigError

__all__ = ["Dropout", "dropout"]

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """In training, drop each value with probability p and scale the others by 1 / (1 - p).

    Args:
        p: Probability, 0 to 1.

    Raises:
        ConfigError: If p is not in that range.

    Reference: Srivastava et al., "Dropout", JMLR 15, 2014.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ConfigError(f"dropout {p}: needs a probability, 0 to 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x, any shape, with values dropped in training."""
        return dropout(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """Return what stands in the printed module's brackets."""
        return f"p={self.p}"


def dropout(x: Tensor, p: float) -> Tensor:
    """Drop each value with probability p, to the nearest 1/65536, and scale the others.

    torch's CPU dropout draws a random number a value, which took a tenth of a training step: here
    one of 64 bits serves four values.

    Args:
        x: Any shape, floating point.
        p: Probability, 0 to 1.

    Returns:
        Same shape and type; differentiable.
    """
    if p == 0:
        return x
    if x.device.type != "cpu":
        return nn.functional.dropout(x, p)
    n_dropped = round(p * _LEVELS)
    if n_dropped == _LEVELS:
        return x * 0
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    keeps = bits >= n_dropped - _LEVELS // 2
    return x * keeps.to(x.dtype).mul_(_LEVELS / (_LEVELS - n_dropped))
