"""The back-off n-gram model as arrays: what estimators make and ARPA files hold.

P(w | h) = exp(log_probs[h w])                        if h w is listed
         = exp(log_backoffs[h]) P(w | h without its first word)   otherwise
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError

__all__ = [
    "END",
    "MISSING_UNKNOWN",
    "SPECIAL_WORDS",
    "START",
    "UNKNOWN",
    "BackoffModel",
    "Floats",
    "Ints",
    "Ngrams",
]

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

# Word ids that every model shares, as in KenLM.
UNKNOWN, START, END = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")

# KenLM's score for unknown words where a model has no <unk>: log10 P = -100.
MISSING_UNKNOWN = -100.0 * float(np.log(10.0))


@dataclass(frozen=True)
class Ngrams:
    """All listed n-grams of one order n.

    Args:
        words: (N, n) int32, word ids in the order of the text
        log_probs: (N,) natural log of P(last word | words before it)
        log_backoffs: (N,) natural log of the back-off weight; 0 at the highest order
    """

    words: Ints
    log_probs: Floats
    log_backoffs: Floats

    def __len__(self) -> int:
        return len(self.words)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Ngrams":
        """The n-grams that a mask or indices choose."""
        return Ngrams(self.words[chosen], self.log_probs[chosen], self.log_backoffs[chosen])


@dataclass(frozen=True)
class BackoffModel:
    """A back-off n-gram model; the n-grams of an order may stand in any sequence.

    Args:
        vocabulary: the word of each id; the first three are <unk>, <s> and </s>
        orders: the n-grams of order 1, 2, ...; every word has its unigram; empty orders, which
            only the highest can be, are left out

    Raises:
        LanguageModelError: a word has no unigram or more than one, or there are no n-grams
    """

    vocabulary: tuple[str, ...]
    orders: tuple[Ngrams, ...]

    def __post_init__(self) -> None:
        assert self.vocabulary[:3] == SPECIAL_WORDS
        # A short text or pruning may leave the highest orders empty.
        filled = tuple(ngrams for ngrams in self.orders if len(ngrams))
        object.__setattr__(self, "orders", filled)
        if not filled:
            raise LanguageModelError("a language model needs at least unigrams")
        listed = np.bincount(self.orders[0].words[:, 0], minlength=len(self.vocabulary))
        if (listed != 1).any():
            word = self.vocabulary[int(np.flatnonzero(listed != 1)[0])]
            raise LanguageModelError(
                f"the word {word!r} has {listed[listed != 1][0]} unigrams; one is needed"
            )

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.orders)

    def text(self, words: Sequence[int]) -> str:
        """The words of ids, with spaces between them."""
        return " ".join(self.vocabulary[word] for word in words)
