"""Numbers that stand for words, so that hypotheses are compared without writing their text."""

import itertools

import numpy as np
from numpy.typing import NDArray

from asr.decode.beam_arrays import Records, make_records
from asr.decode.spelling import Spelling
from lm.automaton import compiled
from lm.backoff import Ints

__all__ = ["Keys", "WordKeys"]

Keys = NDArray[np.int64]

_BASE = 6364136223846793005  # the multiplier of Knuth's MMIX generator


class WordKeys:
    """Gives words a key by their text, however tokens spell them.

        key(c_1 ... c_n) = sum over i of (c_i + 1) base^(n - i)  mod 2^64

    Two of the thousand words of an n-best share a key by chance with probability 1e-13.

    Args:
        spelling: How the tokens spell words.

    Reference: Karp and Rabin, "Efficient randomized pattern-matching algorithms", IBM Journal of
    Research and Development 31, 1987.
    """

    def __init__(self, spelling: Spelling) -> None:
        fields = {"factor": "u8", "key": "u8", "starts": "i4", "has_text": "i4"}
        self._tokens = make_records((len(spelling.texts),), fields)
        self._tokens["starts"] = spelling.starts
        self._tokens["has_text"] = [bool(text) for text in spelling.texts]
        for row, text in zip(self._tokens, spelling.texts, strict=True):
            key = 0
            for character in text:
                key = (key * _BASE + ord(character) + 1) % (1 << 64)
            row["factor"], row["key"] = pow(_BASE, len(text), 1 << 64), key

    def __call__(self, tokens: Ints, starts: Ints) -> list[Keys]:
        """Return the keys of the words of each of N token sequences.

        Args:
            tokens: all sequences, one after the other
            starts: (N + 1,) where each begins
        """
        keys = np.empty(len(tokens), np.int64)
        ends = np.empty(len(starts) - 1, np.int64)
        _fill(self._tokens, tokens, starts, keys, ends)
        bounds = itertools.pairwise([0, *ends.tolist()])
        return [keys[first:end] for first, end in bounds]


@compiled
def _fill(table: Records, tokens: Ints, starts: Ints, keys: Keys, ends: Keys) -> None:
    """Write the keys of all words, and where those of each sequence end."""
    n_words = 0
    for sequence in range(len(ends)):
        key, is_open = np.uint64(0), False
        for position in range(starts[sequence], starts[sequence + 1]):
            token = table[tokens[position]]
            if token["starts"] and is_open:
                keys[n_words] = np.int64(key)
                n_words += 1
                key, is_open = np.uint64(0), False
            if token["has_text"]:
                key, is_open = key * token["factor"] + token["key"], True
        if is_open:
            keys[n_words] = np.int64(key)
            n_words += 1
        ends[sequence] = n_words
