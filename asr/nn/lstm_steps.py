"""The compiled element-wise part of an LSTM's step, forwards and backwards.

Arrays of bfloat16 come as the uint16 of their bits.  Each loop touches few arrays, so that the
compiler can prove that they don't overlap and uses vector instructions: that is ten times as fast.
"""

from typing import Any

import numba
import numpy as np
from numba.extending import overload

__all__ = ["OPTIONS", "backward_step", "exp", "forward_step", "load", "rounded", "tanh"]

# No reassociation: the exponential rounds by adding and subtracting a large number.
OPTIONS: dict[str, Any] = {
    "fastmath": {"contract", "nnan", "ninf", "nsz"},
    "error_model": "numpy",
    "nogil": True,
}
_compiled = numba.njit(cache=True, **OPTIONS)
_inline = numba.njit(inline="always", **OPTIONS)

_ONE = np.float32(1)
_TWO = np.float32(2)
_ROUND = np.float32(12582912)  # 1.5 * 2^23: what is added to it is rounded to a whole number.
_LARGEST = np.float32(87)
_PER_LN2 = np.float32(1.44269504)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)


def forward_step(
    t: int,
    recurrent: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    outputs: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Run step t from the products of the input and of the output before with their weights.

    Args:
        t: The step, 0 to T - 1.
        recurrent: (B, 4H), U h of the step before, in torch's order i, f, g, o.
        gates: (T, B, 4H), W x + b; at t replaced by the gates after their functions.
        cells: (T + 1, B, H) float32, the cells before every step; filled at t + 1.
        outputs: (T + 1, B, H), the outputs; filled at t + 1.
        scratch: (4H,) float32, overwritten.
    """
    n_units = cells.shape[2]
    i, f = scratch[:n_units], scratch[n_units : 2 * n_units]
    g, o = scratch[2 * n_units : 3 * n_units], scratch[3 * n_units :]
    for b in range(cells.shape[1]):
        gate, r = gates[t, b], recurrent[b]
        before, cell, output = cells[t, b], cells[t + 1, b], outputs[t + 1, b]
        for j in range(4 * n_units):
            scratch[j] = load(gate[j]) + load(r[j])
        for j in range(2 * n_units):
            scratch[j] = _sigmoid(scratch[j])
        for j in range(n_units):
            g[j] = tanh(g[j])
        for j in range(n_units):
            o[j] = _sigmoid(o[j])
        for j in range(4 * n_units):
            gate[j] = rounded(scratch[j], gate)
        for j in range(n_units):
            cell[j] = f[j] * before[j] + i[j] * g[j]
        for j in range(n_units):
            output[j] = rounded(o[j] * tanh(cell[j]), output)


def backward_step(
    t: int,
    d_outputs: np.ndarray,
    d_recurrent: np.ndarray,
    gates: np.ndarray,
    cells: np.ndarray,
    d_cell: np.ndarray,
    d_gates: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Run step t of backpropagation through time.

    Args:
        t: The step, T - 1 to 0.
        d_outputs: (T, B, H), gradient of every output from above.
        d_recurrent: (B, H), gradient of the output from the step after.
        gates: (T, B, 4H), as `forward_step` left them.
        cells: (T + 1, B, H) float32, the same.
        d_cell: (B, H) float32, gradient of the cell from the step after; replaced by that for the
            step before.
        d_gates: (T, B, 4H), filled at t with the gradient of the gates before their functions.
        scratch: (7H,) float32, overwritten.
    """
    n_units = cells.shape[2]
    i, f = scratch[:n_units], scratch[n_units : 2 * n_units]
    g, o = scratch[2 * n_units : 3 * n_units], scratch[3 * n_units : 4 * n_units]
    d_h, d_c = scratch[4 * n_units : 5 * n_units], scratch[5 * n_units : 6 * n_units]
    tanh_c = scratch[6 * n_units :]
    for b in range(cells.shape[1]):
        gate, d_gate, above, after = gates[t, b], d_gates[t, b], d_outputs[t, b], d_recurrent[b]
        before, cell, carried = cells[t, b], cells[t + 1, b], d_cell[b]
        d_i, d_f = d_gate[:n_units], d_gate[n_units : 2 * n_units]
        d_g, d_o = d_gate[2 * n_units : 3 * n_units], d_gate[3 * n_units :]
        for j in range(4 * n_units):
            scratch[j] = load(gate[j])
        for j in range(n_units):
            d_h[j] = load(above[j]) + load(after[j])
        for j in range(n_units):
            tanh_c[j] = tanh(cell[j])
        for j in range(n_units):
            d_c[j] = carried[j] + d_h[j] * o[j] * (_ONE - tanh_c[j] * tanh_c[j])
        for j in range(n_units):
            d_i[j] = rounded(d_c[j] * g[j] * i[j] * (_ONE - i[j]), d_i)
        for j in range(n_units):
            d_f[j] = rounded(d_c[j] * before[j] * f[j] * (_ONE - f[j]), d_f)
        for j in range(n_units):
            d_g[j] = rounded(d_c[j] * i[j] * (_ONE - g[j] * g[j]), d_g)
        for j in range(n_units):
            d_o[j] = rounded(d_h[j] * tanh_c[j] * o[j] * (_ONE - o[j]), d_o)
        for j in range(n_units):
            carried[j] = d_c[j] * f[j]


@_inline
def exp(x):  # type: ignore[no-untyped-def]
    """Return e^x to 2 units in the last place (Cody and Waite's reduction, Cephes' polynomial)."""
    x = min(max(x, -_LARGEST), _LARGEST)
    shifted = x * _PER_LN2 + _ROUND
    n = shifted - _ROUND
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + _ONE
    exponent = np.uint32(np.float32(shifted).view(np.uint32) + np.uint32(127))
    return p * np.uint32(exponent << np.uint32(23)).view(np.float32)


@_inline
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return _ONE / (_ONE + exp(-x))


@_inline
def tanh(x):  # type: ignore[no-untyped-def]
    return _TWO * _sigmoid(_TWO * x) - _ONE


def load(value: Any) -> Any:
    """Return a float32 of a float32, or of the bits of a bfloat16; chosen by type when compiled."""
    return value if isinstance(value, np.float32) else (np.uint32(value) << 16).view(np.float32)


def rounded(value: Any, target: Any) -> Any:
    """Return a float32 as the array keeps it: as it is, or the bits of the nearest bfloat16."""
    if target.dtype == np.float32:
        return value
    bits = int(np.float32(value).view(np.uint32))
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


@overload(load, inline="always")
def _load_of(value):  # type: ignore[no-untyped-def]
    if value == numba.float32:
        return lambda value: value
    return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)


@overload(rounded, inline="always")
def _round_of(value, target):  # type: ignore[no-untyped-def]
    if target.dtype == numba.float32:
        return lambda value, target: value

    def nearest(value, target):  # type: ignore[no-untyped-def]
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + odd) >> np.uint32(16))

    return nearest


forward_step = _compiled(forward_step)
backward_step = _compiled(backward_step)
