"""The new prefixes of a frame that can enter the beam of the compiled search.

A bound on what a token can add is known before anything is looked up, so that of each frame only
such new prefixes are looked at as can enter the beam; what is looked up is kept in the slot of
the prefix that it goes on from.
"""

import numpy as np

from asr.decode.beam_arrays import Beam, Limits, Records
from asr.decode.compiled import inner
from asr.decode.fusion import TOKENS, UNKNOWN_NODE, WORDS, Fusion, complete_word, token_gain
from asr.decode.lexicon_trie import ROOT, find_node, token_bit
from asr.decode.selection import nth_largest, sort_descending
from asr.decode.survival import thin_out
from lm.backoff import Floats

__all__ = ["likely_tokens", "need_neural", "need_words", "propose"]

# How a prefix is continued: inside a word by the lexicon or by any token, or with a new word.
_LEXICON, _INSIDE, _STARTS = 0, 1, 2


@inner
def likely_tokens(
    fusion: Fusion,
    beam: Beam,
    limits: Limits,
    frame: Floats,
    inside_floor: float,
    start_floor: float,
) -> tuple[int, int]:
    """Fill `beam.likely` with tokens above a floor, likeliest first.

    Returns:
        How many there are that go on with a word, and how many with those that start one.
    """
    tokens, likely, scratch = fusion.tokens, beam.likely, beam.scratch
    n_tokens = len(frame)
    threshold = limits.token_threshold
    if 0 < limits.top_tokens < n_tokens - 1:
        for token in range(1, n_tokens):
            scratch[token - 1] = frame[token]
        threshold = max(threshold, nth_largest(scratch, n_tokens - 1, limits.top_tokens))
    beam.status[0]["token_threshold"] = threshold
    n_inside = n_likely = 0
    for starts in range(2):
        floor = start_floor if starts else inside_floor
        for token in range(1, n_tokens):
            is_likely = frame[token] > floor and frame[token] >= threshold
            if is_likely and tokens[token]["starts"] == starts:
                likely[n_likely] = token
                n_likely += 1
        if not starts:
            n_inside = n_likely
    sort_descending(likely, 0, n_inside, frame)
    sort_descending(likely, n_inside, n_likely, frame)
    return n_inside, n_likely


@inner
def propose(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    candidates: Records,
    frame: Floats,
    n_inside: int,
    n_likely: int,
    floor: float,
) -> tuple[int, float]:
    """Collect the new prefixes that rank above a floor, which rises as they fill the beam."""
    status, slots, lists, likely = beam.status[0], beam.slots, beam.lists, beam.likely
    met, tokens, nodes, arcs = beam.met, fusion.tokens, fusion.trie.nodes, fusion.trie.arcs
    likely_bits = np.uint64(0)
    for index in range(n_inside):
        likely_bits |= token_bit(likely[index])
    n_candidates = 0
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        if fusion.neural_units == TOKENS and not slot["neural_known"]:
            continue
        head = slot["total"] + slot["added"]
        for kind in (_LEXICON, _INSIDE, _STARTS):
            bound = head + fusion.token_bound
            if kind == _LEXICON:
                node = slot["node"]
                if node <= ROOT or not nodes[node]["tokens"] & likely_bits:
                    continue
                if not bound + slot["inside_bound"] + frame[likely[0]] > floor:
                    continue
                first, end = nodes[node]["arc_start"], nodes[node + 1]["arc_start"]
            elif kind == _INSIDE:
                first, end = 0, n_inside
                bound += fusion.start_bound if slot["node"] == ROOT else slot["unknown_gain"]
            else:
                first, end = n_inside, n_likely
                if fusion.neural_units == WORDS and not slot["neural_known"]:
                    break
                bound += slot["start_bound"]
            for index in range(first, end):
                if kind == _LEXICON:
                    token, node = arcs[index]["token"], arcs[index]["node"]
                    if frame[token] < status["token_threshold"]:
                        continue
                    ahead = fusion.ahead * arcs[index]["look_ahead"]
                    gain = max(fusion.unknown_expected, ahead) - slot["expected"]
                else:
                    token = likely[index]
                    if not bound + frame[token] > floor:
                        break
                    node, gain = tokens[token]["node"], tokens[token]["gain"]
                    if kind == _STARTS:
                        if not slot["word_known"]:
                            _complete(fusion, prefixes, slot)
                            bound = head + fusion.token_bound + slot["start_bound"]
                        gain += slot["word_gain"]
                    elif slot["node"] != ROOT:
                        if slot["node"] > ROOT and find_node(fusion.trie, slot["node"], token) >= 0:
                            continue
                        node, gain = UNKNOWN_NODE, slot["unknown_gain"]
                rank = head + frame[token] + gain
                if not rank + fusion.token_bound > floor or met[number, token] == status["frame"]:
                    continue
                mass = slot["total"] + frame[token]
                if token == slot["token"]:
                    mass = slot["blank"] + frame[token]
                    rank = mass + slot["added"] + gain
                if not fusion.simple:
                    rank += _token_gain(fusion, prefixes, beam, int(number), int(token))
                if rank > floor:
                    candidate = candidates[n_candidates]
                    candidate["slot"] = number
                    candidate["token"] = token
                    candidate["node"] = node
                    candidate["mass"] = mass
                    candidate["rank"] = rank
                    n_candidates += 1
                    if n_candidates == len(candidates):
                        n_candidates, floor = thin_out(beam, candidates)
    return n_candidates, floor


@inner
def _token_gain(fusion: Fusion, prefixes: Records, beam: Beam, number: int, token: int) -> float:
    """What models of tokens and hotwords add to the prefix in a slot, asked once."""
    gain = beam.gains[number, token]
    if gain != gain:
        neural = beam.neural[number, token] if fusion.neural_units == TOKENS else 0.0
        prefix = prefixes[beam.slots[number]["prefix"]]
        gain = token_gain(fusion, prefix, token, neural)
        beam.gains[number, token] = gain
    return float(gain)


@inner
def need_neural(beam: Beam, frame: Floats, n_inside: int, n_likely: int, floor: float) -> None:
    """Note the slots of which a new prefix could come, had the neural model been asked."""
    status, slots, lists, likely = beam.status[0], beam.slots, beam.lists, beam.likely
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        if not slot["neural_known"]:
            best = -np.inf
            for index in range(n_likely):
                token = likely[index]
                if beam.met[number, token] != status["frame"]:
                    bound = slot["inside_bound"] if index < n_inside else slot["start_bound"]
                    best = max(best, bound + frame[token])
            if slot["total"] + slot["added"] + best > floor:
                lists[status["n_needed"]]["needed"] = number
                status["n_needed"] += 1


@inner
def need_words(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    frame: Floats,
    n_inside: int,
    n_likely: int,
    floor: float,
) -> None:
    """Note the slots whose last word could end here, had a neural model of words been asked."""
    status, slots, lists, likely = beam.status[0], beam.slots, beam.lists, beam.likely
    best = -np.inf
    for index in range(n_inside, n_likely):
        best = max(best, frame[likely[index]])
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        head = slot["total"] + slot["added"] + best
        if not slot["neural_known"] and head + slot["start_bound"] > floor:
            if not slot["word_known"]:
                _complete(fusion, prefixes, slot)
            if head + slot["start_bound"] > floor:
                lists[status["n_needed"]]["needed"] = number
                status["n_needed"] += 1


@inner
def _complete(fusion: Fusion, prefixes: Records, slot: np.void) -> None:
    """Look the last word of a prefix up, once."""
    prefix = prefixes[slot["prefix"]]
    word = complete_word(fusion, int(prefix["node"]), int(prefix["state"]))
    slot["word_known"] = True
    slot["word_possible"] = word.possible
    slot["word_n_unknown"] = word.n_unknown
    slot["word_state"] = word.state
    slot["word_log_prob"] = word.log_prob
    slot["word_gain"] = -np.inf
    if word.possible:
        score = fusion.alpha * word.log_prob + fusion.unknown_score * word.n_unknown
        slot["word_gain"] = score - slot["expected"]
    slot["start_bound"] = fusion.start_bound + slot["word_gain"]
