"""The compiled part of additive attention, forwards and backwards: one pass over the keys each.

Arrays of bfloat16 come as the uint16 of their bits.  torch takes five passes over all keys to
score them, and as many backwards; a decoder does that once a step.
"""

from typing import Any

import numba
import numpy as np

from asr.nn.lstm_steps import OPTIONS, exp, load, rounded, tanh

__all__ = ["backward_attention", "forward_attention"]

_compiled = numba.njit(cache=True, **OPTIONS)
# Sums may be taken in any order: only so they use vector instructions.
_summing = numba.njit(cache=True, **(OPTIONS | {"fastmath": True}))

_ZERO = np.float32(0)
_ONE = np.float32(1)
_LOWEST = np.finfo(np.float32).min


def forward_attention(
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    mask: np.ndarray,
    vector: np.ndarray,
    weights: np.ndarray,
    context: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Score all keys, and average the values.

    Args:
        query: (B, A).
        keys: (B, T, A).
        values: (B, T, M).
        mask: (B, T) bool, True inside each sequence.
        vector: (A,) float32, v.
        weights: (B, T) float32, filled.
        context: (B, M), filled.
        scratch: (2, max(A, M)) float32, overwritten.
    """
    n_places, n_units = keys.shape[1:]
    n_values = values.shape[2]
    asked, terms = scratch[0, :n_units], scratch[1, :n_units]
    total = scratch[0, :n_values]
    for b in range(len(query)):
        q, weight = query[b], weights[b]
        for j in range(n_units):
            asked[j] = load(q[j])
        largest = _LOWEST
        for t in range(n_places):
            if mask[b, t]:
                key = keys[b, t]
                for j in range(n_units):
                    terms[j] = vector[j] * tanh(asked[j] + load(key[j]))
                weight[t] = _sum(terms)
                largest = max(largest, weight[t])
        for t in range(n_places):
            weight[t] = exp(weight[t] - largest) if mask[b, t] else _ZERO
        scale = _sum(weight)
        scale = _ONE / scale if scale > 0 else _ZERO
        total[:] = 0
        for t in range(n_places):
            weight[t] *= scale
            w, value = weight[t], values[b, t]
            if mask[b, t]:
                for j in range(n_values):
                    total[j] += w * load(value[j])
        c = context[b]
        for j in range(n_values):
            c[j] = rounded(total[j], c)


def backward_attention(
    d_context: np.ndarray,
    d_weights: np.ndarray,
    query: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    vector: np.ndarray,
    d_query: np.ndarray,
    d_keys: np.ndarray,
    d_values: np.ndarray,
    d_vector: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Return gradients of what `forward_attention` read from those of what it filled.

    Args:
        d_context: (B, M).
        d_weights: (B, T) float32; overwritten.
        query: (B, A).
        keys: (B, T, A).
        values: (B, T, M).
        weights: (B, T) float32, as `forward_attention` filled them.
        vector: (A,) float32.
        d_query: (B, A), filled.
        d_keys: (B, T, A), filled.
        d_values: (B, T, M), filled.
        d_vector: (A,) float32, which the gradient is added to.
        scratch: (4, max(A, M)) float32, overwritten.
    """
    n_places, n_units = keys.shape[1:]
    n_values = values.shape[2]
    asked, terms, d_asked = scratch[0, :n_units], scratch[1, :n_units], scratch[2, :n_units]
    products, d_read = scratch[1, :n_values], scratch[3, :n_values]
    for b in range(len(query)):
        q, d_q, d_c, weight, d_weight = query[b], d_query[b], d_context[b], weights[b], d_weights[b]
        for j in range(n_values):
            d_read[j] = load(d_c[j])
        mean = _ZERO
        for t in range(n_places):
            w, value, d_value = weight[t], values[b, t], d_values[b, t]
            for j in range(n_values):
                products[j] = d_read[j] * load(value[j])
            for j in range(n_values):
                d_value[j] = rounded(w * d_read[j], d_value)
            d_weight[t] += _sum(products)
            mean += w * d_weight[t]
        for j in range(n_units):
            asked[j] = load(q[j])
        d_asked[:] = 0
        for t in range(n_places):
            d_energy, key, d_key = weight[t] * (d_weight[t] - mean), keys[b, t], d_keys[b, t]
            for j in range(n_units):
                terms[j] = tanh(asked[j] + load(key[j]))
            for j in range(n_units):
                d_vector[j] += d_energy * terms[j]
            for j in range(n_units):
                terms[j] = d_energy * vector[j] * (_ONE - terms[j] * terms[j])
            for j in range(n_units):
                d_asked[j] += terms[j]
            for j in range(n_units):
                d_key[j] = rounded(terms[j], d_key)
        for j in range(n_units):
            d_q[j] = rounded(d_asked[j], d_q)


def _sum(x: Any) -> Any:
    """Return the sum of a float32 vector."""
    total = _ZERO
    for j in range(len(x)):
        total += x[j]
    return total


_sum = _summing(_sum)
forward_attention = _compiled(forward_attention)
backward_attention = _compiled(backward_attention)
