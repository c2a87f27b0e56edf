"""Attention: what a decoder reads from an encoded sequence at each of its steps."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from asr.nn.lstm_training import as_array
from asr.nn.masking import sequence_mask

__all__ = ["AdditiveAttention", "Memory"]

# Numbers of the keys from which on the compiled code is used.
_LARGE = 50_000


class Memory(NamedTuple):
    """An encoded batch, made ready for attention once and read at every step.

    Attributes:
        values: (B, T, M), the encoder's outputs.
        keys: (B, T, A), U values + b.
        mask: (B, T) bool, True inside each sequence.
    """

    values: Tensor
    keys: Tensor
    mask: Tensor


class AdditiveAttention(nn.Module):
    """Bahdanau's attention: how well a query fits each place, and the mean of what is there.

        e_t = v . tanh(W s + U h_t + b);   a = softmax(e) over the places inside
        c = sum_t a_t h_t

    Args:
        query_size: Size of s, Q.
        memory_size: Size of h_t, M.
        attention_size: Size of the space in which both are added, A.

    Reference: Bahdanau, Cho and Bengio, "Neural machine translation by jointly learning to align
    and translate", ICLR 2015, appendix A.1.2.
    """

    def __init__(self, query_size: int, memory_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, attention_size, bias=False)
        self.key = nn.Linear(memory_size, attention_size)
        self.energy = nn.Linear(attention_size, 1, bias=False)

    def remember(self, values: Tensor, lengths: Tensor) -> Memory:
        """Make encoded sequences ready: what does not depend on the query is computed once.

        Args:
            values: (B, T, M), finite in the padding, too.
            lengths: (B,) int64, 0 to T.
        """
        mask = sequence_mask(lengths.to(values.device), values.shape[1])
        return Memory(values, self.key(values), mask)

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Read the memory with one query a sequence.

        Args:
            query: (B, Q).
            memory: See `remember`.

        Returns:
            The context (B, M) and the weights (B, T), which sum to 1 and are 0 in the padding;
            of an empty sequence both are 0.
        """
        q = self.query(query)  # (B, A)
        if _is_compiled(q, memory):
            vector = self.energy.weight[0].float()
            with torch.autocast("cpu", enabled=False):
                arguments = q, memory.keys, memory.values, vector, memory.mask
                found: tuple[Tensor, Tensor] = _Attention.apply(*arguments)  # type: ignore[no-untyped-call]
            return found
        energies = self.energy(torch.tanh(q[:, None] + memory.keys))  # (B, T, 1)
        energies = energies[..., 0].float()  # (B, T)
        # The lowest finite number, not -inf, of which the softmax of an empty sequence is NaN.
        energies = energies.masked_fill(~memory.mask, torch.finfo(torch.float32).min)
        weights = energies.softmax(-1) * memory.mask  # (B, T)
        weights = weights.to(memory.values.dtype)
        context = weights[:, None] @ memory.values  # (B, 1, T) @ (B, T, M) = (B, 1, M)
        return context[:, 0], weights  # (B, M), (B, T)


def _is_compiled(query: Tensor, memory: Memory) -> bool:
    """Return whether compiled code reads the memory: on a CPU, if that is worth its loading."""
    types = {query.dtype, memory.keys.dtype, memory.values.dtype}
    return (
        query.device.type == "cpu"
        and memory.keys.numel() >= _LARGE
        and types in ({torch.float32}, {torch.bfloat16})
    )


class _Attention(torch.autograd.Function):
    """The equations of `AdditiveAttention` behind W s and U h_t + b, differentiable once."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, keys: Tensor, values: Tensor, vector: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        from asr.nn.attention_steps import forward_attention

        query, keys, values = query.contiguous(), keys.contiguous(), values.contiguous()
        weights = torch.empty(mask.shape)
        context = values.new_empty(len(values), values.shape[2])
        scratch = torch.empty(2, max(keys.shape[2], values.shape[2]))
        tensors = query, keys, values, mask, vector, weights, context, scratch
        forward_attention(*map(as_array, tensors))
        ctx.save_for_backward(query, keys, values, vector, weights)
        return context, weights.to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_context: Tensor, d_weights: Tensor) -> tuple[Tensor | None, ...]:
        from asr.nn.attention_steps import backward_attention

        query, keys, values, vector, weights = ctx.saved_tensors
        gradients = [torch.empty_like(tensor) for tensor in (query, keys, values)]
        d_vector = torch.zeros_like(vector)
        scratch = torch.empty(4, max(keys.shape[2], values.shape[2]))
        read = d_context.contiguous(), d_weights.float().clone(), query, keys, values, weights
        tensors = *read, vector, *gradients, d_vector, scratch
        backward_attention(*map(as_array, tensors))
        return *gradients, d_vector, None
