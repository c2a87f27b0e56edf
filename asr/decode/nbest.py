"""The best prefixes of a beam as token sequences with their scores."""

from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Beam, Doubles, Records
from asr.decode.fusion import NO_MODEL, Fusion, finish
from asr.decode.selection import sort_descending
from lm.automaton import compiled
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
    """

    tokens: Ints
    starts: Ints
    scores: Doubles
    acoustic: Doubles
    ngram: Doubles
    neural: Doubles
    bonus: Doubles


@compiled
def read_nbest(fusion: Fusion, prefixes: Records, beam: Beam, n_best: int) -> NBest:
    """End the beam's prefixes; those that may not end are left out.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam after the last frame, its neural rows known
        n_best: how many hypotheses at most
    """
    status, active, slots = beam.status[0], beam.active, beam.slots
    n_active = status["n_active"]
    table = np.empty((5, n_active), np.float64)
    last = np.empty(n_active, np.int32)
    n_found = 0
    for position in range(n_active):
        slot = slots[active[position]]
        neural = 0.0
        if fusion.neural_units != NO_MODEL:
            neural = beam.neural[active[position], 0]
        end = finish(fusion, prefixes, slot["prefix"], neural)
        if end.added > -np.inf:
            acoustic = slot["total"] + status["offset"]
            table[0, n_found] = acoustic + end.added
            table[1, n_found] = acoustic
            table[2, n_found] = end.ngram
            table[3, n_found] = end.neural
            table[4, n_found] = (
                fusion.beta * end.n_words
                + fusion.unknown_score * end.n_unknown
                + end.hotword_score
            )
            last[n_found] = slot["prefix"]
            n_found += 1
    order = np.arange(n_found).astype(np.int32)
    sort_descending(order, 0, n_found, table[0])
    order = order[:n_best]
    starts = np.zeros(len(order) + 1, np.int32)
    for index in range(len(order)):
        length = 0
        prefix = last[order[index]]
        while prefix > 0:
            length += 1
            prefix = prefixes[prefix]["parent"]
        starts[index + 1] = starts[index] + length
    tokens = np.empty(starts[-1], np.int32)
    for index in range(len(order)):
        position = starts[index + 1]
        prefix = last[order[index]]
        while prefix > 0:
            position -= 1
            tokens[position] = prefixes[prefix]["token"]
            prefix = prefixes[prefix]["parent"]
    chosen = table[:, order]
    return NBest(tokens, starts, chosen[0], chosen[1], chosen[2], chosen[3], chosen[4])
