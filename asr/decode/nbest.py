"""The best prefixes of a beam as token sequences with their scores."""

from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Beam, Doubles, Records
from asr.decode.compiled import compiled
from asr.decode.engine import settle
from asr.decode.fusion import TOKENS, Fusion, finish, word_bonus
from asr.decode.lexicon_trie import ROOT
from lm.backoff import Ints

__all__ = ["NBest", "read_nbest"]


class NBest(NamedTuple):
    """N hypotheses, best first.

    Args:
        tokens: all token sequences, one after the other
        starts: (N + 1,) where each begins
        scores: (N,) what the search maximises
        acoustic: (N,) log p_ctc, as far as the beam has added it up
        ngram: (N,) log-probability by the n-gram model, not weighted
        neural: (N,) log-probability by the neural model, not weighted
        bonus: (N,) scores of words, unknown words and hotwords
        n_neural_steps: tokens that the neural model has read for them
    """

    tokens: Ints
    starts: Ints
    scores: Doubles
    acoustic: Doubles
    ngram: Doubles
    neural: Doubles
    bonus: Doubles
    n_neural_steps: int = 0


def read_nbest(fusion: Fusion, prefixes: Records, beam: Beam) -> NBest:
    """End the beam's prefixes; those that may not end are left out.

    Where none may end, because all are in the middle of a word, those words are left out instead;
    log p_ctc is that of the prefixes with them.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam after the last frame, its neural rows known
    """
    n_active = int(beam.status[0]["n_active"])
    table = np.empty((5, n_active))
    rows = np.empty(n_active, np.int32)
    n_found = _end(fusion, prefixes, beam, table, rows)
    if not n_found:
        _leave_out_last_words(prefixes, beam)
        n_found = _end(fusion, prefixes, beam, table, rows)
    order = np.argsort(-table[0, :n_found], kind="stable")
    rows = rows[order]
    starts = np.zeros(len(rows) + 1, np.int32)
    _measure(prefixes, rows, starts)
    tokens = np.empty(starts[-1], np.int32)
    _spell(prefixes, rows, starts, tokens)
    return NBest(tokens, starts, *table[:, order])


@compiled
def _end(fusion: Fusion, prefixes: Records, beam: Beam, table: Doubles, rows: Ints) -> int:
    """Fill in the scores and rows of the prefixes that may end; returns how many there are."""
    status, slots, lists = beam.status[0], beam.slots, beam.lists
    settle(beam)
    n_found = 0
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        neural = slot["word_neural"]
        if fusion.neural_units == TOKENS:
            neural = beam.neural[number, 0]
        prefix = prefixes[slot["prefix"]]
        if prefix["slot"] == number and finish(fusion, prefix, neural):
            acoustic = slot["total"] + status["offset"]
            table[0, n_found] = acoustic + prefix["added"]
            table[1, n_found] = acoustic
            table[2, n_found] = prefix["ngram"]
            table[3, n_found] = prefix["neural"]
            table[4, n_found] = word_bonus(fusion, prefix)
            rows[n_found] = slot["prefix"]
            n_found += 1
    return n_found


@compiled
def _leave_out_last_words(prefixes: Records, beam: Beam) -> None:
    """Go back to where the words that are being spelled began."""
    slots, lists = beam.slots, beam.lists
    n_active = beam.status[0]["n_active"]
    for position in range(n_active):
        slot = slots[lists[position]["active"]]
        while prefixes[slot["prefix"]]["node"] != ROOT:
            slot["prefix"] = prefixes[slot["prefix"]]["parent"]
        prefixes[slot["prefix"]]["slot"] = -1
    # Of those that are equal now, the best stands for all.
    for position in range(n_active):
        number = lists[position]["active"]
        prefix = prefixes[slots[number]["prefix"]]
        if prefix["slot"] < 0 or slots[number]["total"] > slots[prefix["slot"]]["total"]:
            prefix["slot"] = number


@compiled
def _measure(prefixes: Records, rows: Ints, starts: Ints) -> None:
    for index in range(len(rows)):
        length = 0
        row = rows[index]
        while row > 0:
            length += 1
            row = prefixes[row]["parent"]
        starts[index + 1] = starts[index] + length


@compiled
def _spell(prefixes: Records, rows: Ints, starts: Ints, tokens: Ints) -> None:
    for index in range(len(rows)):
        position = starts[index + 1]
        row = rows[index]
        while row > 0:
            position -= 1
            tokens[position] = prefixes[row]["token"]
            row = prefixes[row]["parent"]
