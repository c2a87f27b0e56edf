"""The compiled CTC beam search over flat arrays, equal to `asr.decode.reference`.

A beam holds its prefixes in slots, which they keep while they survive; prefixes with one parent
are told apart by their last tokens, so that equal prefixes meet without being compared.
"""

import math

import numpy as np

from asr.decode.beam_arrays import Beam, Limits, Records
from asr.decode.compiled import compiled, inner
from asr.decode.fusion import NO_MODEL, TOKENS, Fusion, complete_word
from asr.decode.lexicon_trie import ROOT
from asr.decode.proposals import likely_tokens, need_neural, need_words, propose
from asr.decode.survival import nth_rank, occupy, select
from lm.backoff import START, Floats

__all__ = ["DONE", "MORE_PREFIXES", "NEURAL_SCORES", "need_all", "search", "settle", "start"]

# Why `search` returns.
DONE, MORE_PREFIXES, NEURAL_SCORES = 0, 1, 2


@compiled
def start(fusion: Fusion, prefixes: Records, beam: Beam) -> None:
    """Begin an utterance with the empty prefix."""
    width, n_tokens = beam.met.shape
    for number in range(width):
        beam.lists[number]["free"] = width - 1 - number
        for token in range(n_tokens):
            beam.met[number, token] = -1
    status = beam.status[0]
    status["frame"] = 0
    status["n_prefixes"] = 1
    status["n_active"] = 1
    status["n_free"] = width - 1
    status["n_needed"] = 0
    status["skipped"] = 0
    status["offset"] = 0.0
    empty = prefixes[0]
    empty["parent"] = empty["child"] = empty["sibling"] = -1
    empty["token"] = 0
    empty["node"] = ROOT
    empty["state"] = fusion.automaton.arc_states[START] if fusion.ngram_units else 0
    empty["history"] = empty["hotword_state"] = empty["n_words"] = empty["n_unknown"] = 0
    empty["ngram"] = empty["neural"] = empty["hotword_score"] = empty["added"] = 0.0
    empty["hash"] = 0
    empty["better"] = empty["worse"] = -1
    beam.lists[0]["active"] = 0
    occupy(fusion, prefixes, beam, 0, 0, 0.0, -math.inf, 0)


@compiled
def search(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    candidates: Records,
    limits: Limits,
    log_probs: Floats,
) -> int:
    """Go on through the frames.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam, after `start` or an earlier call
        candidates: work space
        limits: what is left out
        log_probs: (T, V) natural logs

    Returns:
        DONE; or MORE_PREFIXES: call again with more rows for prefixes; or NEURAL_SCORES: call
        again with the rows of `beam.neural` set of the slots in the list `needed`.
    """
    status = beam.status[0]
    status["n_needed"] = 0
    while status["frame"] < len(log_probs):
        frame = log_probs[status["frame"]]
        if frame[0] > limits.blank_threshold:
            status["offset"] += frame[0]
            status["skipped"] = 1
        else:
            if status["n_prefixes"] + limits.width > len(prefixes):
                return MORE_PREFIXES
            settle(beam)
            if _read_frame(fusion, prefixes, beam, candidates, limits, frame):
                return NEURAL_SCORES
        status["frame"] += 1
    return DONE


@inner
def settle(beam: Beam) -> None:
    """After frames of nothing but blank, all alignments end in a blank."""
    status, slots, lists = beam.status[0], beam.slots, beam.lists
    if status["skipped"]:
        status["skipped"] = 0
        for position in range(status["n_active"]):
            slot = slots[lists[position]["active"]]
            slot["blank"] = slot["total"]
            slot["label"] = -math.inf


@inner
def _read_frame(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    candidates: Records,
    limits: Limits,
    frame: Floats,
) -> bool:
    """One frame; true if the neural model is needed first, and nothing is changed then."""
    best, worst, inside_room, start_room = _carry_over(prefixes, beam, frame)
    floor = best - limits.score_threshold
    if beam.status[0]["n_active"] == limits.width:
        floor = max(floor, worst)
    floor_of_all = floor - fusion.token_bound
    n_inside, n_likely = likely_tokens(
        fusion, beam, limits, frame, floor_of_all - inside_room, floor_of_all - start_room
    )
    n_candidates = 0
    if n_likely:
        n_candidates, floor = propose(
            fusion, prefixes, beam, candidates, frame, n_inside, n_likely, floor
        )
        if fusion.neural_units != NO_MODEL:
            if n_candidates + beam.status[0]["n_active"] >= limits.width:
                floor = max(floor, nth_rank(beam, candidates, n_candidates, limits.width))
            bound = floor - fusion.token_bound
            if fusion.neural_units == TOKENS:
                need_neural(beam, frame, n_inside, n_likely, bound)
            else:
                need_words(fusion, prefixes, beam, frame, n_inside, n_likely, bound)
            if beam.status[0]["n_needed"]:
                return True
    select(fusion, prefixes, beam, candidates, limits, n_candidates)
    return False


@inner
def _carry_over(prefixes: Records, beam: Beam, frame: Floats) -> tuple[float, float, float, float]:
    """What becomes of the prefixes in the beam.

    Returns:
        The best and the worst rank; the most that a likely token inside a word, and one that
        starts a word, can rank over its own log-probability.
    """
    slots, lists, met = beam.slots, beam.lists, beam.met
    best, worst, inside_room, start_room = -np.inf, np.inf, -np.inf, -np.inf
    now = beam.status[0]["frame"]
    for position in range(beam.status[0]["n_active"]):
        slot = slots[lists[position]["active"]]
        token, total = slot["token"], slot["total"]
        blank = total + frame[0]
        label = slot["label"] + frame[token]
        parent = prefixes[slot["prefix"]]["parent"]
        if parent >= 0:
            number = prefixes[parent]["slot"]
            if number >= 0:
                before = slots[number]
                mass = before["blank"] if before["token"] == token else before["total"]
                label = _log_add(label, mass + frame[token])
                met[number, token] = now
        slot["new_blank"] = blank
        slot["new_label"] = label
        slot["new_total"] = _log_add(blank, label)
        head = total + slot["added"]
        rank = slot["new_total"] + slot["added"]
        slot["rank"] = rank
        best = max(best, rank)
        worst = min(worst, rank)
        inside_room = max(inside_room, head + slot["inside_bound"])
        start_room = max(start_room, head + slot["start_bound"])
    return best, worst, inside_room, start_room


@compiled
def need_all(fusion: Fusion, prefixes: Records, beam: Beam) -> None:
    """After the last frame, note the slots for which the neural model is to be asked to the end.

    That is those for which a model of tokens has not been asked, or those whose last word may end.
    """
    status, slots, lists = beam.status[0], beam.slots, beam.lists
    status["n_needed"] = 0
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        if fusion.neural_units == TOKENS:
            is_needed = not slot["neural_known"]
        else:
            state = int(prefixes[slot["prefix"]]["state"])
            is_needed = complete_word(fusion, int(slot["node"]), state).possible
        if is_needed:
            lists[status["n_needed"]]["needed"] = number
            status["n_needed"] += 1


@inner
def _log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    difference = b - a
    # Below exp(-37) a double does not change; not a number where both are -inf.
    if not difference > -37.0:
        return a
    ratio = math.exp(difference)
    # Below that, log(1 + x) is x.
    return a + (ratio if difference < -18.5 else math.log(1.0 + ratio))
