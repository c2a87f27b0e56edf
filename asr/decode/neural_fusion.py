"""A neural language model inside the beam search: asked in batches, of new prefixes only."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from asr.decode.beam_arrays import Beam
from asr.errors import LanguageModelError
from asr.nn.cells import State
from asr.text import Tokenizer
from lm.backoff import Ints
from lm.corpus import SPACE
from lm.neural import END, select_state
from lm.neural_model import NeuralLanguageModel
from lm.units import WordUnits

__all__ = ["NeuralStates", "neural_token_ids"]


def neural_token_ids(model: NeuralLanguageModel, tokenizer: Tokenizer) -> Ints:
    """The model's id of each of the tokenizer's tokens, (V,); 0, the end, for the blank.

    Raises:
        LanguageModelError: The model is not one of the tokenizer's tokens.
    """
    if isinstance(model.units, WordUnits):
        raise LanguageModelError(
            "the neural language model is one of words, which a beam of tokens cannot ask; "
            "train one of the tokenizer's tokens (--units tokenizer), or rescore the n-best with it"
        )
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


class NeuralStates:
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

    def start(self, index: int) -> None:
        """Begin an utterance in a beam: state 0 is the one before the first token."""
        for part, fresh in zip(self._pool, self._model.start(1), strict=True):
            part[:, index * self._n_rows] = fresh[:, 0]

    def answer(self, asking: Sequence[tuple[int, Beam]]) -> list[int]:
        """Fill in the neural model's log-probabilities for the slots that beams need.

        Args:
            asking: Numbers of beams and their arrays, as the search left them.

        Returns:
            How many tokens the model has read for each.
        """
        needed = [beam.lists["needed"][: beam.status["n_needed"][0]].copy() for _, beam in asking]
        if not any(map(len, needed)):
            return [0] * len(asking)
        before, after, tokens = [], [], []
        for (index, beam), numbers in zip(asking, needed, strict=True):
            rows = self._free_rows(beam, len(numbers))
            before.append(beam.slots["neural_before"][numbers] + index * self._n_rows)
            after.append(rows + index * self._n_rows)
            tokens.append(self._token_ids[beam.slots["token"][numbers]])
            beam.slots["neural_after"][numbers] = rows
            beam.slots["neural_known"][numbers] = 1
        log_probs = self._step(before, after, tokens)
        ends = np.cumsum([len(numbers) for numbers in needed])[:-1]
        for (_, beam), numbers, part in zip(asking, needed, np.split(log_probs, ends), strict=True):
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
