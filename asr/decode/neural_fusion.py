"""A neural language model inside the beam search: asked in batches, of new prefixes only."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from asr.decode.beam_arrays import Beam, Records
from asr.decode.fusion import TOKENS, Fusion
from asr.errors import LanguageModelError
from asr.nn.cells import State
from asr.text import Tokens
from lm.backoff import Ints
from lm.corpus import SPACE
from lm.neural import END, select_state
from lm.neural_model import NeuralLanguageModel

__all__ = ["Asking", "NeuralFusion", "NeuralStates", "NeuralTokens", "neural_token_ids"]


class Asking(NamedTuple):
    """A beam that may want to know what a neural model says.

    Args:
        number: of the beam
        prefixes: all prefixes of its utterance
        beam: its arrays, as the search left them
        ended: whether it has read all frames
    """

    number: int
    prefixes: Records
    beam: Beam
    ended: bool


class NeuralStates(Protocol):
    """The states of a neural model for the prefixes of several beams."""

    def start(self, number: int) -> None:
        """Begin an utterance in a beam."""

    def answer(self, asking: Sequence[Asking]) -> list[int]:
        """Fill in what beams need to know.

        Returns:
            How many tokens the model has read for each.
        """


class NeuralFusion(Protocol):
    """A neural model that can be part of a beam search.

    Attributes:
        units: TOKENS or WORDS.
    """

    units: int

    def states(self, fusion: Fusion, n_beams: int, width: int) -> NeuralStates:
        """Return room for the states of so many beams of so many prefixes."""


class NeuralTokens:
    """A neural model of the tokenizer's tokens.

    Args:
        model: In eval mode.
        tokenizer: That of the acoustic model.

    Raises:
        LanguageModelError: The model is not one of the tokenizer's tokens.
    """

    units = TOKENS

    def __init__(self, model: NeuralLanguageModel, tokenizer: Tokens) -> None:
        self._model, self._token_ids = model, neural_token_ids(model, tokenizer)

    def states(self, fusion: Fusion, n_beams: int, width: int) -> NeuralStates:
        """Return room for the states of beams."""
        return _TokenStates(self._model, self._token_ids, n_beams, width)


def neural_token_ids(model: NeuralLanguageModel, tokenizer: Tokens) -> Ints:
    """The model's id of each of the tokenizer's tokens, (V,); 0, the end, for the blank.

    Raises:
        LanguageModelError: The model is not one of the tokenizer's tokens.
    """
    ids = {symbol: index for index, symbol in enumerate(model.symbols)}
    symbols = [SPACE if symbol == " " else symbol for symbol in tokenizer.symbols[1:]]
    missing = [symbol for symbol in symbols if symbol not in ids]
    if missing:
        raise LanguageModelError(
            f"the neural language model has no token {missing[0]!r}, one of {len(missing)} of the "
            f"tokenizer's {len(symbols)} that it lacks; train it on the tokenizer's tokens "
            "(--units tokenizer)"
        )
    return np.array([END, *(ids[symbol] for symbol in symbols)], np.int32)


class _TokenStates:
    """The model's states for the prefixes of several beams, in one pool.

    A beam of W prefixes needs W states at most, each before a prefix's last token if the prefix
    is still to be asked, else after it; W more are made in one step.

    Args:
        model: In eval mode.
        token_ids: (V,) see `neural_token_ids`.
        n_beams: Beams that are asked together.
        width: Prefixes of a beam, W.
    """

    def __init__(
        self, model: NeuralLanguageModel, token_ids: Ints, n_beams: int, width: int
    ) -> None:
        self._model, self._token_ids = model, token_ids
        self._n_rows = 2 * width
        self._pool: State = tuple(
            part.repeat_interleave(n_beams * self._n_rows, dim=1) for part in model.start(1)
        )

    def start(self, number: int) -> None:
        """Begin an utterance in a beam: state 0 is the one before the first token."""
        for part, fresh in zip(self._pool, self._model.start(1), strict=True):
            part[:, number * self._n_rows] = fresh[:, 0]

    def answer(self, asking: Sequence[Asking]) -> list[int]:
        """Fill in the neural model's log-probabilities for the slots that beams need."""
        beams = [each.beam for each in asking]
        needed = [beam.lists["needed"][: beam.status["n_needed"][0]].copy() for beam in beams]
        if not any(map(len, needed)):
            return [0] * len(asking)
        before, after, tokens = [], [], []
        for (index, _, beam, _), numbers in zip(asking, needed, strict=True):
            rows = self._free_rows(beam, len(numbers))
            before.append(beam.slots["neural_before"][numbers] + index * self._n_rows)
            after.append(rows + index * self._n_rows)
            tokens.append(self._token_ids[beam.slots["token"][numbers]])
            beam.slots["neural_after"][numbers] = rows
            beam.slots["neural_known"][numbers] = 1
        log_probs = self._step(before, after, tokens)
        ends = np.cumsum([len(numbers) for numbers in needed])[:-1]
        for beam, numbers, part in zip(beams, needed, np.split(log_probs, ends), strict=True):
            beam.neural[numbers] = part
        return [len(numbers) for numbers in needed]

    def _free_rows(self, beam: Beam, n_rows: int) -> Ints:
        """Rows of a beam's part of the pool that no prefix needs any more."""
        slots = beam.slots[beam.lists["active"][: beam.status["n_active"][0]]]
        is_free = np.ones(self._n_rows, np.bool_)
        is_free[np.where(slots["neural_known"], slots["neural_after"], slots["neural_before"])] = 0
        return np.flatnonzero(is_free)[:n_rows].astype(np.int32)

    def _step(
        self, before: Iterable[Ints], after: Iterable[Ints], tokens: Iterable[Ints]
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        device = self._model.device

        def joined(parts: Iterable[Ints]) -> torch.Tensor:
            return torch.from_numpy(np.concatenate(list(parts)).astype(np.int64)).to(device)

        state = select_state(self._pool, joined(before))
        log_probs, state = self._model.step(state, joined(tokens))
        rows = joined(after)
        for part, new in zip(self._pool, state, strict=True):
            part.index_copy_(1, rows, new)
        wanted = log_probs.cpu().numpy()[:, self._token_ids]
        return np.ascontiguousarray(wanted, np.float32)
