"""Single tokens asked of a neural language model, after contexts that are kept."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from asr.nn.cells import State
from lm.backoff import Floats
from lm.neural import END, select_state
from lm.neural_model import NeuralLanguageModel

__all__ = ["Contexts"]

# Rows at once of a softmax over a tail, so that its logits stay small.
_N_ROWS = 256


class Contexts:
    """What a neural model keeps of token sequences, each in a row, to tell what follows them.

    Row 0 is that of the empty sequence.  log P(w | row) costs one product of two vectors where
    the row has been asked before for a token of the same softmax (see `OutputLayer`).

    Args:
        model: In eval mode.
    """

    def __init__(self, model: NeuralLanguageModel) -> None:
        self._network = model.network
        self._device = model.device
        self._state, self._vectors = self._read(model.start(1), torch.tensor([END]))
        self._offsets, self._tails = self._first_offsets(self._vectors)
        self._free: list[int] = []

    @property
    def n_used(self) -> int:
        """Rows that are in use."""
        return len(self._vectors) - len(self._free)

    def read(self, rows: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Read a token after each of some sequences; returns the rows of the longer ones."""
        state = select_state(self._state, self._tensor(rows))
        return self._add(*self._read(state, self._tensor(tokens)))

    def release(self, rows: Iterable[int]) -> None:
        """Give rows back that are needed no more."""
        self._free.extend(rows)

    @torch.inference_mode()
    def log_probs(self, rows: Sequence[int], tokens: Sequence[int]) -> Floats:
        """log P(token | sequence) for pairs of a row and a token, (N,)."""
        output = self._network.output
        where, which = self._tensor(rows), self._tensor(tokens)
        groups = output.groups(which)
        for group in range(1, self._offsets.shape[1]):
            asked = torch.unique(where[groups == group])
            new = asked[self._offsets[asked, group].isnan()]
            if len(new):
                parts = torch.split(self._vectors[new], _N_ROWS)
                inside = [output.offsets(y, group)[:, 0] for y in parts]
                self._offsets[new, group] = torch.cat(inside) + self._tails[new, group - 1]
        logits = output.logits_of(self._vectors[where], which)
        values: Floats = (logits + self._offsets[where, groups]).cpu().numpy()
        return values

    @torch.inference_mode()
    def _read(self, state: State, tokens: Tensor) -> tuple[State, Tensor]:
        x, state = self._network.advance(state, tokens.to(self._device))
        return state, self._network.output.project(x)

    @torch.inference_mode()
    def _first_offsets(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The offsets of each softmax, of tails not known yet, and log P of each tail."""
        head = self._network.output.offsets(vectors, 0)
        offsets = torch.full_like(head, torch.nan)
        offsets[:, 0] = head[:, 0]
        return offsets, head[:, 1:].clone()

    @torch.inference_mode()
    def _add(self, state: State, vectors: Tensor) -> list[int]:
        while len(self._free) < len(vectors):
            self._grow()
        rows = [self._free.pop() for _ in range(len(vectors))]
        where = self._tensor(rows)
        for part, new in zip(self._state, state, strict=True):
            part.index_copy_(1, where, new)
        offsets, tails = self._first_offsets(vectors)
        for part, new in (
            (self._vectors, vectors), (self._offsets, offsets), (self._tails, tails)
        ):  # fmt: skip
            part.index_copy_(0, where, new)
        return rows

    def _grow(self) -> None:
        """Make room for as many rows more as there are, and some."""
        n_rows = len(self._vectors)
        n_more = max(n_rows, 63)

        def grown(part: Tensor, dimension: int) -> Tensor:
            shape = [*part.shape]
            shape[dimension] = n_more
            return torch.cat([part, part.new_zeros(shape)], dimension)

        with torch.inference_mode():
            self._state = tuple(grown(part, 1) for part in self._state)
            self._vectors, self._tails = grown(self._vectors, 0), grown(self._tails, 0)
            self._offsets = grown(self._offsets, 0)
        self._free.extend(range(n_rows + n_more - 1, n_rows - 1, -1))

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)
