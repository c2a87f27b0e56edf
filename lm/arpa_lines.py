"""The compiled half of reading ARPA files: lines of bytes to numbers and word ids."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.automaton import compiled
from lm.backoff import Ints

__all__ = ["Lines", "WordIndex", "index_words", "parse_lines", "word_ids"]

_Bytes = NDArray[np.uint8]
_Doubles = NDArray[np.float64]


class Lines(NamedTuple):
    """What N lines of n-grams hold.

    Args:
        numbers: (N,) which line of the block each is; blank ones are passed over
        log_probs: (N,) first field
        backoffs: (N,) last field, 0 where there is none
        starts: (N, order) where each word starts in the block
        ends: (N, order) and ends
        bad: the first line that is none of an n-gram; -1 if all are
    """

    numbers: Ints
    log_probs: _Doubles
    backoffs: _Doubles
    starts: Ints
    ends: Ints
    bad: int


class WordIndex(NamedTuple):
    """A hash table of words.

    Args:
        slots: (power of 2,) word ids, -1 where empty; a word stands at or after its hash
        starts: (V + 1,) where each word starts in `text`
        text: all words one after the other
    """

    slots: Ints
    starts: NDArray[np.int64]
    text: _Bytes


@compiled
def _number(text: _Bytes, at: int) -> tuple[float, int]:
    """A decimal number and where it ends; it ends where it starts if there is none."""
    start = at
    sign = 1.0
    if text[at] == 45 or text[at] == 43:  # - or +
        sign = -1.0 if text[at] == 45 else 1.0
        at += 1
    value, n_digits, exponent = 0.0, 0, 0
    while 48 <= text[at] <= 57:
        value = value * 10 + (text[at] - 48)
        n_digits += 1
        at += 1
    if text[at] == 46:  # .
        at += 1
        while 48 <= text[at] <= 57:
            value = value * 10 + (text[at] - 48)
            n_digits += 1
            exponent -= 1
            at += 1
    if n_digits == 0:
        return 0.0, start
    if text[at] == 101 or text[at] == 69:  # e or E
        at += 1
        direction = 1
        if text[at] == 45 or text[at] == 43:
            direction = -1 if text[at] == 45 else 1
            at += 1
        power, first = 0, at
        while 48 <= text[at] <= 57:
            power = min(power * 10 + (text[at] - 48), 9999)
            at += 1
        if at == first:
            return 0.0, start
        exponent += direction * power
    if exponent < 0:
        # A division rounds once, where a power of 0.1 would be off already.
        return sign * value / 10.0 ** min(-exponent, 300), at
    return sign * value * 10.0 ** min(exponent, 300), at


@compiled
def _is_space(byte: int) -> bool:
    return byte == 32 or byte == 9 or byte == 13


@compiled
def parse_lines(text: _Bytes, n_lines: int, order: int, highest: bool) -> Lines:
    """Parse a block of lines up to the first bad one.

    Args:
        text: whole lines; the last byte is a line feed
        n_lines: how many line feeds there are
        order: words of each n-gram
        highest: no back-off weight but 0 may follow
    """
    numbers = np.empty(n_lines, np.int32)
    log_probs = np.empty(n_lines, np.float64)
    backoffs = np.zeros(n_lines, np.float64)
    starts = np.empty((n_lines, order), np.int32)
    ends = np.empty((n_lines, order), np.int32)
    at, row, bad = 0, 0, -1
    for line in range(n_lines):
        while _is_space(text[at]):
            at += 1
        if text[at] == 10:
            at += 1
            continue
        log_prob, end = _number(text, at)
        good = end > at and _is_space(text[end]) and -1e30 < log_prob <= 0.0
        at = end
        for word in range(order):
            while _is_space(text[at]):
                at += 1
            starts[row, word] = at
            while text[at] != 10 and not _is_space(text[at]):
                at += 1
            ends[row, word] = at
            good = good and at > starts[row, word]
        while _is_space(text[at]):
            at += 1
        if text[at] != 10:
            backoff, end = _number(text, at)
            good = good and end > at and -1e30 < backoff < 1e30
            good = good and not (highest and backoff != 0.0)
            at = end
            backoffs[row] = backoff
        while _is_space(text[at]):
            at += 1
        if not good or text[at] != 10:
            bad = line
            break
        at += 1
        numbers[row] = line
        log_probs[row] = log_prob
        row += 1
    return Lines(numbers[:row], log_probs[:row], backoffs[:row], starts[:row], ends[:row], bad)


@compiled
def _slot(index: WordIndex, text: _Bytes, start: int, end: int) -> int:
    """Where a word stands in the slots, or the empty slot where it belongs."""
    mixed = np.int64(1469598103934665603)
    for at in range(start, end):
        mixed = (mixed ^ np.int64(text[at])) * np.int64(1099511628211)
    mask = len(index.slots) - 1
    slot = int(mixed ^ (mixed >> np.int64(29))) & mask
    while index.slots[slot] >= 0:
        word = index.slots[slot]
        first = index.starts[word]
        if index.starts[word + 1] - first == end - start:
            same = True
            for offset in range(end - start):
                if index.text[first + offset] != text[start + offset]:
                    same = False
                    break
            if same:
                return int(slot)
        slot = (slot + 1) & mask
    return int(slot)


@compiled
def _fill(index: WordIndex) -> None:
    for word in range(len(index.starts) - 1):
        slot = _slot(index, index.text, index.starts[word], index.starts[word + 1])
        index.slots[slot] = word


@compiled
def word_ids(index: WordIndex, text: _Bytes, starts: Ints, ends: Ints) -> Ints:
    """The ids of the words at places of a text, (N, order); -1 for words not there."""
    ids = np.empty(starts.shape, np.int32)
    for row in range(starts.shape[0]):
        for column in range(starts.shape[1]):
            slot = _slot(index, text, starts[row, column], ends[row, column])
            ids[row, column] = index.slots[slot]
    return ids


def index_words(words: Sequence[bytes]) -> WordIndex:
    """The hash table of different words, whose ids are their places."""
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    index = WordIndex(
        slots=np.full(2 << len(words).bit_length(), -1, np.int32),
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        text=np.frombuffer(b"".join(words), np.uint8),
    )
    _fill(index)
    return index
