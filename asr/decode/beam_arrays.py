"""The arrays that the compiled beam search works in; none is made while frames are read."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lm.backoff import Floats, Ints

__all__ = [
    "Beam",
    "Doubles",
    "Limits",
    "Records",
    "grow_prefixes",
    "make_beam",
    "make_candidates",
    "make_prefixes",
]

Doubles = NDArray[np.float64]
# A row has named fields, which the functions below list; compiled code is much faster with a few
# arrays of records than with many arrays.
Records = NDArray[np.void]


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


class Beam(NamedTuple):
    """A beam of W slots over V tokens.

    Args:
        status: (1,) records, see `make_beam`
        slots: (W,) records, see `make_beam`
        active: (W,) numbers of the slots in use
        free: (W,) numbers of those not in use
        needed: (W,) slots for which the neural model is to be asked
        gains: (W, V) what a token adds to the prefix in a slot; NaN where it was not asked yet
        met: (W, V) the last frame in which the prefix with the token more was in the beam
        neural: (W, V) the neural model's log-probabilities of the tokens that follow
        likely: (V,) tokens of a frame, those that go on with a word first
        scratch: for the selection
    """

    status: Records
    slots: Records
    active: Ints
    free: Ints
    needed: Ints
    gains: Doubles
    met: Ints
    neural: Floats
    likely: Ints
    scratch: Doubles


def make_beam(width: int, n_tokens: int, *, neural: bool) -> Beam:
    """An empty beam; without a neural model there is no room for its log-probabilities."""
    status = {
        "n_prefixes": "i8",
        "n_active": "i8",
        "n_free": "i8",
        "n_needed": "i8",
        "frame": "i8",  # the next
        "skipped": "i8",  # whether the frames just before it were skipped
        "offset": "f8",  # log-probability of all skipped frames, which all prefixes share
    }
    slots = {
        "total": "f8",  # log mass of all alignments of the prefix
        "blank": "f8",  # of those that end in a blank
        "label": "f8",  # of those that end in its last token
        "added": "f8",  # as in the prefix
        "token": "i4",
        "prefix": "i4",
        "new_total": "f8",  # the masses after the frame
        "new_blank": "f8",
        "new_label": "f8",
        "rank": "f8",  # new_total + added
        "inside_bound": "f8",  # the most that a token adds that goes on with the word
        "start_bound": "f8",  # the most that a token adds that starts one
        "word_known": "i4",  # whether the four fields of the last word, complete, are set
        "word_possible": "i4",
        "word_n_unknown": "i4",
        "word_state": "i4",
        "word_log_prob": "f8",
        "neural_known": "i4",  # whether the row of `neural` is set
        "neural_before": "i4",  # number of the neural model's state before the last token
        "neural_after": "i4",  # and after it
    }
    integers = [np.zeros(width, np.int32) for _ in range(3)]
    active, free, needed = integers
    return Beam(
        status=_records(1, status),
        slots=_records(width, slots),
        active=active,
        free=free,
        needed=needed,
        gains=np.zeros((width, n_tokens)),
        met=np.zeros((width, n_tokens), np.int32),
        neural=np.zeros((width, n_tokens) if neural else (1, 1), np.float32),
        likely=np.zeros(n_tokens, np.int32),
        scratch=np.zeros(3 * width + 64 + n_tokens),
    )


def make_prefixes(n_rows: int) -> Records:
    """Room for all prefixes of an utterance, a tree; row 0 is the empty prefix."""
    fields = {
        "parent": "i4",  # the prefix without its last token
        "token": "i4",  # the last token
        "child": "i4",  # the prefix made last with one token more, -1 for none
        "sibling": "i4",  # the prefix made before with the same parent, -1 for none
        "slot": "i4",  # where it is in the beam, -1 if it is not
        "node": "i4",  # the trie's, which the word being spelled has reached
        "state": "i4",  # of the n-gram model
        "hotword_state": "i4",
        "n_words": "i4",  # the one being spelled included
        "n_unknown": "i4",  # complete words outside the lexicon
        "ngram": "f8",  # log-probability by the n-gram model
        "neural": "f8",  # log-probability by the neural model
        "hotword_score": "f8",  # bonuses of complete hotwords
        "added": "f8",  # what all that adds to the acoustic score, with what is expected
    }
    return _records(n_rows, fields)


def grow_prefixes(prefixes: Records) -> Records:
    """The same prefixes with twice the room."""
    return np.concatenate([prefixes, np.zeros_like(prefixes)])


def make_candidates(width: int) -> Records:
    """Room for the new prefixes of a frame that may enter a beam."""
    fields = {
        "rank": "f8",  # mass and what is added
        "mass": "f8",  # log mass
        "slot": "i4",  # of the shorter prefix
        "token": "i4",  # the token more
        "prefix": "i4",  # the longer prefix, once it is to enter the beam
        "neural_before": "i4",  # see `make_beam`
    }
    return _records(2 * width + 64, fields)


def _records(n: int, fields: dict[str, str]) -> Records:
    return np.zeros(n, np.dtype(list(fields.items()), align=True))
