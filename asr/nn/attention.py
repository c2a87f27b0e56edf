"""Attention: what a decoder reads from an encoded sequence at each of its steps."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr.nn.masking import sequence_mask

__all__ = ["AdditiveAttention", "Memory"]


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
        q = self.query(query)[:, None]  # (B, 1, A)
        energies = self.energy(torch.tanh(q + memory.keys))  # (B, T, 1)
        energies = energies[..., 0].float()  # (B, T)
        # The lowest finite number, not -inf, of which the softmax of an empty sequence is NaN.
        energies = energies.masked_fill(~memory.mask, torch.finfo(torch.float32).min)
        weights = energies.softmax(-1) * memory.mask  # (B, T)
        weights = weights.to(memory.values.dtype)
        context = weights[:, None] @ memory.values  # (B, 1, T) @ (B, T, M) = (B, 1, M)
        return context[:, 0], weights  # (B, M), (B, T)
