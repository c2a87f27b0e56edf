"""The arrays that the compiled beam search works in; none is made while frames are read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.backoff import Floats, Ints

__all__ = [
    "FRAME",
    "N_ACTIVE",
    "N_FREE",
    "N_NEEDED",
    "N_PREFIXES",
    "SKIPPED",
    "Beam",
    "Candidates",
    "Limits",
    "Prefixes",
    "grow_prefixes",
    "make_beam",
    "make_candidates",
    "make_prefixes",
]

_Doubles = NDArray[np.float64]
_Longs = NDArray[np.int64]

# Positions in `Beam.counts`: prefixes, active and free slots, the next frame, slots that need
# the neural model, and whether the frames just before were skipped.
N_PREFIXES, N_ACTIVE, N_FREE, FRAME, N_NEEDED, SKIPPED = range(6)


class Limits(NamedTuple):
    """What is left out to be fast; natural logarithms.

    Args:
        width: prefixes in the beam
        score_threshold: prefixes are dropped that are further than this below the best
        token_threshold: less likely tokens make no new prefixes
        top_tokens: nor do tokens beyond so many of a frame, the blank not counted; 0 for all
        blank_threshold: frames whose blank is likelier are taken as nothing but blank
    """

    width: int
    score_threshold: float
    token_threshold: float
    top_tokens: int
    blank_threshold: float


class Prefixes(NamedTuple):
    """All prefixes met so far, a tree in N rows; row 0 is the empty one.

    Args:
        parent: the prefix without its last token
        token: the last token
        child: the prefix made last with one token more, -1 for none
        sibling: the prefix made before with the same parent, -1 for none
        slot: where it is in the beam, -1 if it is not
        node: node of the trie that the word being spelled has reached
        state: state of the n-gram model
        n_words: words, the one being spelled included
        n_unknown: complete words outside the lexicon
        hotword_state: state of the hotwords
        ngram: log-probability by the n-gram model
        neural: log-probability by the neural model
        hotword_score: bonuses of complete hotwords
        added: what all of it adds to the acoustic score, with what is expected
    """

    parent: Ints
    token: Ints
    child: Ints
    sibling: Ints
    slot: Ints
    node: Ints
    state: Ints
    n_words: Ints
    n_unknown: Ints
    hotword_state: Ints
    ngram: _Doubles
    neural: _Doubles
    hotword_score: _Doubles
    added: _Doubles


class Beam(NamedTuple):
    """A beam of W slots over V tokens.

    Args:
        counts: (6,) see N_PREFIXES and its neighbours
        offset: (1,) log-probability of the frames that were skipped, which all prefixes share
        active: (W,) slots in use
        free: (W,) slots not in use
        needed: (W,) slots for which the neural model is to be asked
        prefix: (W,) the prefix in each slot
        token: (W,) its last token
        blank: (W,) log mass of its alignments that end in a blank
        label: (W,) log mass of those that end in its last token
        total: (W,) log of the sum of both
        added: (W,) what language models and counts add
        inside_bound: (W,) the most that a token adds that goes on with the word
        start_bound: (W,) the most that a token adds that starts one
        new_blank, new_label, new_total, rank: (W,) the same after the frame
        gains: (W, V) what a token adds; NaN where it was not asked for yet
        met: (W, V) the last frame in which the longer prefix was in the beam
        word_known: (W,) whether the four after it hold the prefix's last word, complete
        word_possible, word_n_unknown, word_state, word_log_prob: (W,) see `fusion.Word`
        neural_known: (W,) whether the row of `neural` is set
        neural: (W, V) the neural model's log-probabilities of the tokens that follow
        neural_before, neural_after: (W,) the driver's number of the neural model's state before
            and after the last token
        inside, starting: (V,) the tokens of a frame
        scratch: (W + C + V,) for the selection
    """

    counts: _Longs
    offset: _Doubles
    active: Ints
    free: Ints
    needed: Ints
    prefix: Ints
    token: Ints
    blank: _Doubles
    label: _Doubles
    total: _Doubles
    added: _Doubles
    inside_bound: _Doubles
    start_bound: _Doubles
    new_blank: _Doubles
    new_label: _Doubles
    new_total: _Doubles
    rank: _Doubles
    gains: NDArray[np.float64]
    met: Ints
    word_known: Ints
    word_possible: Ints
    word_n_unknown: Ints
    word_state: Ints
    word_log_prob: _Doubles
    neural_known: Ints
    neural: Floats
    neural_before: Ints
    neural_after: Ints
    inside: Ints
    starting: Ints
    scratch: _Doubles


class Candidates(NamedTuple):
    """New prefixes of a frame, C at most.

    Args:
        slot: (C,) the beam's slot of the shorter prefix
        token: (C,) the token appended
        mass: (C,) log mass
        rank: (C,) mass and what is added
        prefix: (C,) its row, once it is to enter the beam
        neural_before: (C,) see `Beam`
    """

    slot: Ints
    token: Ints
    mass: _Doubles
    rank: _Doubles
    prefix: Ints
    neural_before: Ints


def make_prefixes(n_rows: int) -> Prefixes:
    """Room for prefixes."""
    integers = [np.zeros(n_rows, np.int32) for _ in range(10)]
    return Prefixes(*integers, *(np.zeros(n_rows) for _ in range(4)))


def grow_prefixes(prefixes: Prefixes) -> Prefixes:
    """The same prefixes with twice the room."""
    return Prefixes(*(np.concatenate([column, np.zeros_like(column)]) for column in prefixes))


def make_candidates(width: int) -> Candidates:
    """Room for a beam's candidates."""
    size = 2 * width + 64
    integers = [np.zeros(size, np.int32) for _ in range(4)]
    slot, token, prefix, neural_before = integers
    return Candidates(slot, token, np.zeros(size), np.zeros(size), prefix, neural_before)


def make_beam(width: int, n_tokens: int, *, neural: bool) -> Beam:
    """An empty beam; without a neural model there is no room for its log-probabilities."""

    def integers(*shape: int) -> Ints:
        return np.zeros(shape, np.int32)

    def doubles(*shape: int) -> _Doubles:
        return np.zeros(shape)

    per_slot = {name: doubles(width) for name in Beam._fields}
    return Beam(
        **{
            **per_slot,
            "counts": np.zeros(6, np.int64),
            "offset": doubles(1),
            **{name: integers(width) for name in _INTEGERS},
            "gains": doubles(width, n_tokens),
            "met": integers(width, n_tokens),
            "neural": np.zeros((width, n_tokens) if neural else (1, 1), np.float32),
            "inside": integers(n_tokens),
            "starting": integers(n_tokens),
            "scratch": doubles(3 * width + 64 + n_tokens),
        }
    )


_INTEGERS = (
    "active",
    "free",
    "needed",
    "prefix",
    "token",
    "word_known",
    "word_possible",
    "word_n_unknown",
    "word_state",
    "neural_known",
    "neural_before",
    "neural_after",
)
