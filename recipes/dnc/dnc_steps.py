"""The memory's part of a step of `dnc_cell.DncCell`, compiled, forwards and backwards.

A step is some hundred products of a few numbers each: torch takes most of its time to begin them.
Here they are loops over the sequences of a batch.  `DncCell.reference_step` says what is computed.
"""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["memory_step"]

Array = NDArray[Any]  # of float32 or float64

_compiled = numba.njit(cache=True, fastmath=True, error_model="numpy", nogil=True)


def memory_step(
    state: tuple[Tensor, ...], told: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return memory, usage, links, precedence, write weights, read weights and what was read.

    Args:
        state: the first six of them, before the step.
        told: numbers, strengths, gates and modes; see `dnc_cell.Interface.activate`.
    """
    outputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
    outputs = _MemoryStep.apply(*state, *told)  # type: ignore[no-untyped-call]
    return outputs


class _MemoryStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        arrays = _arrays(inputs)
        memory, read_weights = arrays[0], arrays[5]
        n_sequences, n_slots, word_size = memory.shape
        n_heads, dtype = read_weights.shape[1], memory.dtype
        reads = np.zeros((n_sequences, n_heads, word_size), dtype)
        outputs = (*(np.empty_like(array) for array in arrays[:6]), reads)
        saved = (
            np.empty((2, n_sequences, 1 + n_heads, n_slots), dtype),
            np.empty((n_sequences, n_slots), dtype),
            np.empty((n_sequences, n_slots), np.int64),
            np.zeros((2, n_sequences, n_heads, n_slots), dtype),
        )
        _forward(arrays, outputs, saved)
        ctx.kept = arrays, outputs, saved
        return tuple(torch.from_numpy(output) for output in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        arrays, outputs, saved = ctx.kept
        found = tuple(np.zeros_like(array) for array in arrays)
        _backward(arrays, outputs, saved, _arrays(gradients), found)
        return tuple(torch.from_numpy(gradient) for gradient in found)


def _arrays(tensors: tuple[Tensor, ...]) -> tuple[Array, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


@_compiled
def _look_up(memory: Array, key: Array, strength: float, cosines: Array, weights: Array) -> None:
    """Fill cosines and weights, (N,); see `dnc_cell.content_weights`."""
    small, one = memory.dtype.type(1e-6), memory.dtype.type(1)
    key_scale = small
    for k in range(len(key)):
        key_scale += key[k] * key[k]
    key_scale = one / np.sqrt(key_scale)
    largest = -np.inf
    for i in range(len(memory)):
        scale, product = small, one - one
        for k in range(len(key)):
            scale += memory[i, k] * memory[i, k]
            product += memory[i, k] * key[k]
        cosines[i] = product * key_scale / np.sqrt(scale)
        largest = max(largest, strength * cosines[i])
    total = one - one
    for i in range(len(memory)):
        weights[i] = np.exp(strength * cosines[i] - largest)
        total += weights[i]
    for i in range(len(memory)):
        weights[i] /= total


@_compiled
def _look_up_backward(
    memory: Array,
    key: Array,
    strength: float,
    cosines: Array,
    weights: Array,
    weights_gradient: Array,
    memory_gradient: Array,
    key_gradient: Array,
) -> float:
    """Add to the gradients of memory and key; returns that of the strength."""
    small, one = memory.dtype.type(1e-6), memory.dtype.type(1)
    key_scale, mean = small, one - one
    for k in range(len(key)):
        key_scale += key[k] * key[k]
    key_scale = one / np.sqrt(key_scale)
    for i in range(len(memory)):
        mean += weights[i] * weights_gradient[i]
    strength_gradient = one - one
    for i in range(len(memory)):
        scaled_gradient = weights[i] * (weights_gradient[i] - mean)
        strength_gradient += scaled_gradient * cosines[i]
        scale = small
        for k in range(len(key)):
            scale += memory[i, k] * memory[i, k]
        scale = one / np.sqrt(scale)
        g = strength * scaled_gradient
        both = g * scale * key_scale
        of_memory, of_key = g * cosines[i] * scale * scale, g * cosines[i] * key_scale * key_scale
        for k in range(len(key)):
            memory_gradient[i, k] += both * key[k] - of_memory * memory[i, k]
            key_gradient[k] += both * memory[i, k] - of_key * key[k]
    return strength_gradient


@_compiled
def _forward(inputs: Any, outputs: Any, saved: Any) -> None:
    memory, usage, links, precedence, written, read, numbers, strengths, gates, modes = inputs
    memory2, usage2, links2, precedence2, written2, read2, reads = outputs
    looked_up, allocation, order, moved = saved
    one = memory.dtype.type(1)
    n_sequences, N, W = memory.shape
    R = read.shape[1]
    for b in range(n_sequences):
        free = gates[b, W : W + R]
        allocation_gate, write_gate = gates[b, W + R], gates[b, W + R + 1]
        for i in range(N):
            u = usage[b, i] + written[b, i] - usage[b, i] * written[b, i]
            for h in range(R):
                u *= one - free[h] * read[b, h, i]
            usage2[b, i] = u
        order[b] = np.argsort(usage2[b], kind="mergesort")
        before = one
        for i in order[b]:
            allocation[b, i] = (one - usage2[b, i]) * before
            before *= usage2[b, i]

        cosines, weights = looked_up[0, b], looked_up[1, b]
        key = numbers[b, R * W : (R + 1) * W]
        _look_up(memory[b], key, strengths[b, R], cosines[R], weights[R])
        total = one - one
        for i in range(N):
            w = allocation_gate * allocation[b, i] + (one - allocation_gate) * weights[R, i]
            written2[b, i] = write_gate * w
            total += written2[b, i]

        vector = numbers[b, (R + 1) * W :]
        for i in range(N):
            w = written2[b, i]
            for k in range(W):
                memory2[b, i, k] = memory[b, i, k] * (one - w * gates[b, k]) + w * vector[k]
            for j in range(N):
                kept = (one - w - written2[b, j]) * links[b, i, j]
                links2[b, i, j] = kept + w * precedence[b, j]
            links2[b, i, i] = 0
            precedence2[b, i] = (one - total) * precedence[b, i] + w

        for h in range(R):
            backward, forward = moved[0, b, h], moved[1, b, h]
            for i in range(N):
                r, sum_forward = read[b, h, i], one - one
                for j in range(N):
                    backward[j] += r * links2[b, i, j]
                    sum_forward += links2[b, i, j] * read[b, h, j]
                forward[i] = sum_forward
            key = numbers[b, h * W : (h + 1) * W]
            _look_up(memory2[b], key, strengths[b, h], cosines[h], weights[h])
            mode = modes[b, 3 * h : 3 * h + 3]
            for i in range(N):
                r = mode[0] * backward[i] + mode[1] * weights[h, i] + mode[2] * forward[i]
                read2[b, h, i] = r
                for k in range(W):
                    reads[b, h, k] += r * memory2[b, i, k]


@_compiled
def _backward(inputs: Any, outputs: Any, saved: Any, gradients: Any, found: Any) -> None:
    """Add to `found`, zeros, the gradients of the inputs, from those of the outputs."""
    memory, usage, links, precedence, written, read, numbers, strengths, gates, modes = inputs
    memory2, usage2, links2, _, written2, read2, _ = outputs
    looked_up, allocation, order, moved = saved
    d_memory2, d_usage2, d_links2, d_precedence2, d_written2, d_read2, d_reads = gradients
    d_memory, d_usage, d_links, d_precedence, d_written, d_read = found[:6]
    d_numbers, d_strengths, d_gates, d_modes = found[6:]
    one = memory.dtype.type(1)
    n_sequences, N, W = memory.shape
    R = read.shape[1]
    d_back, d_looked, d_forth = np.empty_like(usage[0]), np.empty_like(usage[0]), usage[0].copy()
    for b in range(n_sequences):
        cosines, weights = looked_up[0, b], looked_up[1, b]
        d_m, d_l, d_w = d_memory2[b].copy(), d_links2[b].copy(), d_written2[b].copy()

        for h in range(R):
            mode, d_mode = modes[b, 3 * h : 3 * h + 3], d_modes[b, 3 * h : 3 * h + 3]
            for i in range(N):
                d_r = d_read2[b, h, i]
                for k in range(W):
                    d_r += d_reads[b, h, k] * memory2[b, i, k]
                    d_m[i, k] += read2[b, h, i] * d_reads[b, h, k]
                d_mode[0] += d_r * moved[0, b, h, i]
                d_mode[1] += d_r * weights[h, i]
                d_mode[2] += d_r * moved[1, b, h, i]
                d_back[i], d_looked[i], d_forth[i] = d_r * mode[0], d_r * mode[1], d_r * mode[2]
            key = slice(h * W, (h + 1) * W)
            d_strengths[b, h] = _look_up_backward(
                memory2[b], numbers[b, key], strengths[b, h], cosines[h], weights[h],
                d_looked, d_m, d_numbers[b, key],
            )  # fmt: skip
            for i in range(N):
                for j in range(N):
                    d_l[i, j] += read[b, h, i] * d_back[j] + d_forth[i] * read[b, h, j]
                    d_read[b, h, i] += links2[b, i, j] * d_back[j]
                    d_read[b, h, j] += links2[b, i, j] * d_forth[i]

        total, d_total = one - one, one - one
        for i in range(N):
            total += written2[b, i]
            d_total += precedence[b, i] * d_precedence2[b, i]
        vector = numbers[b, (R + 1) * W :]
        d_vector = d_numbers[b, (R + 1) * W :]
        for i in range(N):
            w = written2[b, i]
            d_w[i] += d_precedence2[b, i] - d_total
            d_precedence[b, i] += (one - total) * d_precedence2[b, i]
            d_l[i, i] = 0
            for j in range(N):
                d_links[b, i, j] = (one - w - written2[b, j]) * d_l[i, j]
                d_w[i] += d_l[i, j] * (precedence[b, j] - links[b, i, j])
                d_w[j] -= d_l[i, j] * links[b, i, j]
                d_precedence[b, j] += d_l[i, j] * w
            for k in range(W):
                d_memory[b, i, k] = d_m[i, k] * (one - w * gates[b, k])
                d_w[i] += d_m[i, k] * (vector[k] - gates[b, k] * memory[b, i, k])
                d_gates[b, k] -= d_m[i, k] * w * memory[b, i, k]
                d_vector[k] += d_m[i, k] * w

        allocation_gate, write_gate = gates[b, W + R], gates[b, W + R + 1]
        d_allocation = d_forth
        for i in range(N):
            difference = allocation[b, i] - weights[R, i]
            d_gates[b, W + R] += d_w[i] * write_gate * difference
            d_gates[b, W + R + 1] += d_w[i] * (weights[R, i] + allocation_gate * difference)
            d_allocation[i] = d_w[i] * write_gate * allocation_gate
            d_looked[i] = d_w[i] * write_gate * (one - allocation_gate)
        key = slice(R * W, (R + 1) * W)
        d_strengths[b, R] = _look_up_backward(
            memory[b], numbers[b, key], strengths[b, R], cosines[R], weights[R],
            d_looked, d_memory[b], d_numbers[b, key],
        )  # fmt: skip

        # Of the slots from the j-th freest on, the sum of their weights' gradients times the
        # weights as they were if the j-th were the freest.
        d_u, following = d_usage2[b].copy(), one - one
        before = d_back
        before[0] = one
        for j in range(1, N):
            before[j] = before[j - 1] * usage2[b, order[b, j - 1]]
        for j in range(N - 1, -1, -1):
            i = order[b, j]
            d_u[i] += before[j] * (following - d_allocation[i])
            following = d_allocation[i] * (one - usage2[b, i]) + usage2[b, i] * following

        for i in range(N):
            in_use = usage[b, i] + written[b, i] - usage[b, i] * written[b, i]
            kept = one
            for h in range(R):
                others = one
                for other in range(R):
                    if other != h:
                        others *= one - gates[b, W + other] * read[b, other, i]
                d_gates[b, W + h] -= d_u[i] * in_use * read[b, h, i] * others
                d_read[b, h, i] -= d_u[i] * in_use * gates[b, W + h] * others
                kept *= one - gates[b, W + h] * read[b, h, i]
            d_usage[b, i] = d_u[i] * kept * (one - written[b, i])
            d_written[b, i] = d_u[i] * kept * (one - usage[b, i])
