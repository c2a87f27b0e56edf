"""An n-gram model as a finite automaton in flat arrays, and the compiled walk over it.

A state is a context that some n-gram extends (or that has a back-off weight); an arc is an
n-gram, from the state of its context to the longest state that ends it.  State 0 is the empty
context, whose arc i is the unigram of word i; the states of one word follow, then those of two
words, ..., and the arcs stand in the order of their states.

    P(w | s) = P(arc of s with w)           where there is one
             = backoff(s) P(w | shorter s)  otherwise
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from lm.backoff import START, Floats, Ints

__all__ = [
    "Automaton",
    "arc_log_prob",
    "compiled",
    "distribution",
    "find_arc",
    "link",
    "lookup",
    "renormalize",
    "score_sentences",
]

_Function = TypeVar("_Function", bound=Callable[..., object])


class Automaton(NamedTuple):
    """The arrays of an n-gram automaton with S states and A arcs; natural logs.

    Args:
        arc_starts: (S + 1,) the arcs of state s are arc_starts[s] to arc_starts[s + 1]
        arc_words: (A,) word of each arc, rising within a state
        arc_log_probs: (A,) float32 log-probabilities, or uint16 or uint8 indices of `codebook`
        codebook: the log-probability of each index; empty where arcs hold their own
        arc_states: (A,) the state that follows
        backoff_log_probs: (S,) log of the back-off weight; 0 for state 0
        backoff_states: (S,) the longest shorter context; 0 for state 0
        final_log_probs: (S,) log P(</s> | s)
    """

    arc_starts: Ints
    arc_words: Ints
    arc_log_probs: Floats | NDArray[np.uint16] | NDArray[np.uint8]
    codebook: Floats
    arc_states: Ints
    backoff_log_probs: Floats
    backoff_states: Ints
    final_log_probs: Floats


def compiled(function: _Function) -> _Function:
    """Compile with Numba at the first call; later processes find the result in its cache."""
    return cast(_Function, numba.njit(cache=True, nogil=True)(function))


def _decoded(log_probs: NDArray[np.generic], codebook: Floats, arc: int) -> float:
    """The log-probability of an arc, quantised or not; chosen by type when compiled."""
    if log_probs.dtype == np.float32:
        return float(log_probs[arc])
    return float(codebook[int(log_probs[arc])])


@overload(_decoded, inline="always")
def _choose_decoded(log_probs, codebook, arc):  # type: ignore[no-untyped-def]
    if log_probs.dtype == numba.float32:
        return lambda log_probs, codebook, arc: log_probs[arc]
    return lambda log_probs, codebook, arc: codebook[log_probs[arc]]


@compiled
def arc_log_prob(automaton: Automaton, arc: int) -> float:
    """The log-probability of an arc; for compiled callers."""
    return float(_decoded(automaton.arc_log_probs, automaton.codebook, arc))


@compiled
def find_arc(automaton: Automaton, state: int, word: int) -> int:
    """The arc of a state with a word, -1 where there is none; for compiled callers."""
    if state == 0:
        return word
    low = automaton.arc_starts[state]
    end = automaton.arc_starts[state + 1]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if automaton.arc_words[middle] < word:
            low = middle + 1
        else:
            high = middle
    if low < end and automaton.arc_words[low] == word:
        return int(low)
    return -1


@compiled
def lookup(automaton: Automaton, state: int, word: int) -> tuple[float, int]:
    """log P(word | state) and the state after the word; for compiled callers.

    Args:
        automaton: the arrays
        state: 0 <= state < S; not checked
        word: word id, 0 <= word < V; not checked
    """
    log_prob = 0.0
    arc = find_arc(automaton, state, word)
    while arc < 0:
        log_prob += automaton.backoff_log_probs[state]
        state = automaton.backoff_states[state]
        arc = find_arc(automaton, state, word)
    return log_prob + arc_log_prob(automaton, arc), int(automaton.arc_states[arc])


@compiled
def link(automaton: Automaton, own_states: Ints) -> None:
    """Fill in arc_states and backoff_states.

    Args:
        automaton: the arrays, with writable ones where results go
        own_states: (A,) the state that an arc's n-gram is itself, -1 where it is none
    """
    state = 0
    for arc in range(len(own_states)):
        while arc >= automaton.arc_starts[state + 1]:
            state += 1
        # The longest state that properly ends this n-gram.
        shorter = 0
        if state > 0:
            context = automaton.backoff_states[state]
            lower = find_arc(automaton, context, automaton.arc_words[arc])
            while lower < 0:
                context = automaton.backoff_states[context]
                lower = find_arc(automaton, context, automaton.arc_words[arc])
            shorter = automaton.arc_states[lower]
        if own_states[arc] >= 0:
            automaton.backoff_states[own_states[arc]] = shorter
            automaton.arc_states[arc] = own_states[arc]
        else:
            automaton.arc_states[arc] = shorter


@compiled
def renormalize(automaton: Automaton) -> None:
    """Set the back-off weights anew so that every state's probabilities sum to one.

    backoff(s) = (1 - sum P(w | s)) / (1 - sum P(w | shorter s)),  w over the arcs of s
    """
    tiny = 1e-6
    # Shorter contexts come first, so that they are right when they are asked.
    for state in range(1, len(automaton.backoff_states)):
        left, below = 1.0, 1.0
        for arc in range(automaton.arc_starts[state], automaton.arc_starts[state + 1]):
            word = automaton.arc_words[arc]
            left -= np.exp(arc_log_prob(automaton, arc))
            below -= np.exp(lookup(automaton, automaton.backoff_states[state], word)[0])
        if left < tiny and below < tiny:
            automaton.backoff_log_probs[state] = 0.0
        else:
            ratio = max(left, 1e-12) / max(below, 1e-12)
            automaton.backoff_log_probs[state] = np.log(ratio)


@compiled
def score_sentences(
    automaton: Automaton, start: int, words: Ints, lengths: NDArray[np.int64]
) -> Floats:
    """The log-probability of every word and sentence end.

    Args:
        automaton: the arrays
        start: the state of <s>
        words: (N,) word ids, all sentences one after the other, without </s>
        lengths: (B,) words of each sentence

    Returns:
        (N + B,) for each sentence its words' log-probabilities, then its end's.
    """
    log_probs = np.empty(len(words) + len(lengths), np.float32)
    read = written = 0
    for sentence in range(len(lengths)):
        state = start
        for _ in range(lengths[sentence]):
            log_probs[written], state = lookup(automaton, state, words[read])
            read += 1
            written += 1
        log_probs[written] = automaton.final_log_probs[state]
        written += 1
    return log_probs


@compiled
def distribution(automaton: Automaton, state: int) -> NDArray[np.float64]:
    """log P(w | state) of every word w, (V,); -inf for <s>, which never follows."""
    log_probs = np.full(automaton.arc_starts[1], np.nan, np.float64)
    weight = 0.0
    last = False
    while not last:
        for arc in range(automaton.arc_starts[state], automaton.arc_starts[state + 1]):
            # Longer contexts come first.
            if np.isnan(log_probs[automaton.arc_words[arc]]):
                log_probs[automaton.arc_words[arc]] = weight + arc_log_prob(automaton, arc)
        weight += automaton.backoff_log_probs[state]
        last = state == 0
        state = automaton.backoff_states[state]
    log_probs[START] = -np.inf
    return log_probs
