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
    "make_records",
]

Doubles = NDArray[np.float64]
# Rows with named fields.  A few arrays of records compile faster than many arrays, and what is
# used together lies together.
Records = NDArray[np.void]


class Limits(NamedTuple):
    """What is left out to be fast; natural logarithms.

    Args:
        width: prefixes in the beam
        score_threshold: prefixes are dropped that are further than this below the best
        token_threshold: less likely tokens make no new prefixes
        top_tokens: nor do tokens beyond so many of a frame, the blank not counted; 0 for all
        blank_threshold: frames whose blank is likelier are taken as nothing but blank
        merge: of prefixes from which all models go on alike only the best stays in the beam
    """

    width: int
    score_threshold: float
    token_threshold: float
    top_tokens: int
    blank_threshold: float
    merge: bool


class Beam(NamedTuple):
    """A beam of W slots over V tokens; see `make_beam` for the fields of the records.

    Args:
        status: (1,) records
        slots: (W,) records
        lists: (W,) records
        met: (W, V) the last frame in which the prefix with the token more was in the beam
        gains: (W, V) what models of tokens and hotwords add with a token; NaN if not asked yet
        neural: (W, V) the neural model's log-probabilities of the tokens that follow
        likely: (V,) tokens of a frame, those that go on with a word first
        scratch: for the selection
        futures: (2^n,) records, a hash table of slots by what may follow; see asr.decode.merging
    """

    status: Records
    slots: Records
    lists: Records
    met: Ints
    gains: Doubles
    neural: Floats
    likely: Ints
    scratch: Doubles
    futures: Records


def make_beam(width: int, n_tokens: int, *, neural: bool) -> Beam:
    """An empty beam; without a neural model there is no room for its log-probabilities."""
    status = {
        "frame": "i8",  # the next
        "n_prefixes": "i8",
        "n_active": "i8",
        "n_free": "i8",
        "n_needed": "i8",
        "skipped": "i8",  # whether the frames just before were skipped
        "stamp": "i8",  # marks the entries of `futures` that hold, never the same again
        "token_threshold": "f8",  # of the frame
        "offset": "f8",  # log-probability of all skipped frames, which all prefixes share
    }
    slots = {
        "total": "f8",  # log mass of all alignments of the prefix
        "blank": "f8",  # of those that end in a blank
        "label": "f8",  # of those that end in its last token
        "added": "f8",  # what language models and counts add, as in the prefix
        "new_total": "f8",  # the masses after the frame
        "new_blank": "f8",
        "new_label": "f8",
        "rank": "f8",  # new_total + added
        "inside_bound": "f8",  # the most that a token adds that goes on with the word
        "start_bound": "f8",  # the most that a token adds that starts one
        "unknown_gain": "f8",  # what a token adds that makes the word an unknown one
        "expected": "f8",  # what is expected of the word that is being spelled
        "prefix": "i4",
        "token": "i4",
        "node": "i4",
        "word_known": "i4",  # whether the fields of the last word, complete, are set
        "word_possible": "i4",
        "word_n_unknown": "i4",
        "word_state": "i4",
        "neural_known": "i4",  # whether the row of `neural`, or `word_neural`, is set
        "neural_before": "i4",  # number of the neural model's state before the last token
        "neural_after": "i4",  # and after it
        "word_log_prob": "f8",
        "word_gain": "f8",  # what the complete word adds over what was expected
        "word_neural": "f8",  # its log-probability by a neural model of words
        "word_history": "i4",  # number of the words up to it, for such a model
    }
    lists = {
        "active": "i4",  # slots in use
        "free": "i4",  # slots not in use
        "needed": "i4",  # slots for which the neural model is to be asked
    }
    return Beam(
        status=make_records((1,), status),
        slots=make_records((width,), slots),
        lists=make_records((width,), lists),
        met=np.zeros((width, n_tokens), np.int32),
        gains=np.zeros((width, n_tokens)),
        neural=np.zeros((width, n_tokens) if neural else (1, 1), np.float32),
        likely=np.zeros(n_tokens, np.int32),
        scratch=np.zeros(3 * width + 64 + n_tokens),
        futures=make_records((1 << (4 * width).bit_length(),), {"stamp": "i8", "slot": "i4"}),
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
        "history": "i4",  # number of its complete words, for a neural model of words
        "hotword_state": "i4",
        "n_words": "i4",  # the one being spelled included
        "n_unknown": "i4",  # complete words outside the lexicon
        "ngram": "f8",  # log-probability by the n-gram model
        "neural": "f8",  # log-probability by the neural model
        "hotword_score": "f8",  # bonuses of complete hotwords
        "added": "f8",  # what all that adds to the acoustic score, with what is expected
        "hash": "i8",  # of its tokens, see asr.decode.nbest
        "better": "i4",  # the prefix that it gave way to, -1 for none; see asr.decode.merging
        "worse": "i4",  # the last prefix that gave way to it, -1 for none
        "next_worse": "i4",  # the one that gave way before it to the same
        "loss": "f8",  # by how much its score was less
    }
    return make_records((n_rows,), fields)


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
        "node": "i4",  # where it leads in the lexicon
        "prefix": "i4",  # the longer prefix, once it is to enter the beam
        "neural_before": "i4",  # see `make_beam`
    }
    return make_records((2 * width + 64,), fields)


def make_records(shape: tuple[int, ...], fields: dict[str, str]) -> Records:
    """Rows of zeros with named fields of given types."""
    return np.zeros(shape, np.dtype(list(fields.items()), align=True))
