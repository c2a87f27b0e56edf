"""The best prefixes of a beam as token sequences with their scores."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decode.beam_arrays import N_ACTIVE, Beam, Prefixes
from asr.decode.fusion import NO_MODEL, Fusion, finish
from asr.decode.selection import sort_descending
from lm.automaton import compiled
from lm.backoff import Ints

__all__ = ["NBest", "read_nbest"]

_Doubles = NDArray[np.float64]


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
    scores: _Doubles
    acoustic: _Doubles
    ngram: _Doubles
    neural: _Doubles
    bonus: _Doubles


@compiled
def read_nbest(fusion: Fusion, prefixes: Prefixes, beam: Beam, n_best: int) -> NBest:
    """End the beam's prefixes; those that may not end are left out.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam after the last frame, its neural rows known
        n_best: how many hypotheses at most
    """
    n_active = beam.counts[N_ACTIVE]
    table = np.empty((5, n_active), np.float64)
    slots = np.empty(n_active, np.int32)
    n_found = 0
    for position in range(n_active):
        slot = beam.active[position]
        neural = beam.neural[slot, 0] if fusion.neural_units != NO_MODEL else 0.0
        end = finish(fusion, prefixes, beam.prefix[slot], neural)
        if end.added > -np.inf:
            acoustic = beam.total[slot] + beam.offset[0]
            table[0, n_found] = acoustic + end.added
            table[1, n_found] = acoustic
            table[2, n_found] = end.ngram
            table[3, n_found] = end.neural
            table[4, n_found] = (
                fusion.beta * end.n_words
                + fusion.unknown_score * end.n_unknown
                + end.hotword_score
            )
            slots[n_found] = slot
            n_found += 1
    order = np.arange(n_found).astype(np.int32)
    sort_descending(order, n_found, table[0])
    order = order[:n_best]
    starts = np.zeros(len(order) + 1, np.int32)
    for index in range(len(order)):
        length = 0
        prefix = beam.prefix[slots[order[index]]]
        while prefix > 0:
            length += 1
            prefix = prefixes.parent[prefix]
        starts[index + 1] = starts[index] + length
    tokens = np.empty(starts[-1], np.int32)
    for index in range(len(order)):
        end_at = starts[index + 1]
        prefix = beam.prefix[slots[order[index]]]
        while prefix > 0:
            end_at -= 1
            tokens[end_at] = prefixes.token[prefix]
            prefix = prefixes.parent[prefix]
    chosen = table[:, order]
    return NBest(tokens, starts, chosen[0], chosen[1], chosen[2], chosen[3], chosen[4])
