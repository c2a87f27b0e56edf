"""The compiled CTC beam search over flat arrays, equal to `asr.decode.reference`.

A beam holds its prefixes in slots, which they keep while they survive; prefixes with one parent
are told apart by their last tokens, so that equal prefixes meet without being compared.  Of each
frame only such new prefixes are looked at as can enter the beam: a bound on what a token can add
is known before anything is looked up, and what is looked up is kept in the prefix's slot.
"""

import math

import numpy as np

from asr.decode.beam_arrays import Beam, Limits, Records
from asr.decode.compiled import compiled, inner
from asr.decode.fusion import (
    NO_MODEL,
    UNKNOWN_NODE,
    Fusion,
    Word,
    complete_word,
    expected_word,
    extend,
    token_gain,
)
from asr.decode.lexicon_trie import ROOT
from asr.decode.selection import nth_largest, sort_descending
from lm.backoff import START, Floats

__all__ = ["DONE", "MORE_PREFIXES", "NEURAL_SCORES", "search", "settle", "start"]

# Why `search` returns.
DONE, MORE_PREFIXES, NEURAL_SCORES = 0, 1, 2

# How a prefix is continued: inside a word by the lexicon or by any token, or with a new word.
_LEXICON, _INSIDE, _STARTS = 0, 1, 2


@inner
def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    difference = b - a
    # Below exp(-37) a double does not change; not a number where both are -inf.
    if not difference > -37.0:
        return a
    return a + math.log(1.0 + math.exp(difference))


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
    status["n_active"] = 0
    status["n_free"] = width
    status["n_needed"] = 0
    status["skipped"] = 0
    status["offset"] = 0.0
    empty = prefixes[0]
    empty["parent"] = empty["child"] = empty["sibling"] = -1
    empty["token"] = 0
    empty["node"] = ROOT
    empty["state"] = fusion.automaton.arc_states[START] if fusion.ngram_units else 0
    empty["hotword_state"] = empty["n_words"] = empty["n_unknown"] = 0
    empty["ngram"] = empty["neural"] = empty["hotword_score"] = empty["added"] = 0.0
    _place(fusion, prefixes, beam, 0, 0.0, -math.inf, 0)


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
        again with the rows of `beam.neural` set that `beam.needed` names.
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
    n_inside, n_likely = _likely_tokens(
        fusion, beam, limits, frame, floor_of_all - inside_room, floor_of_all - start_room
    )
    n_candidates = 0
    if n_likely:
        n_candidates, floor = _propose(
            fusion, prefixes, beam, candidates, frame, n_inside, n_likely, floor
        )
        if fusion.neural_units != NO_MODEL:
            if n_candidates + beam.status[0]["n_active"] >= limits.width:
                floor = max(floor, _nth_rank(beam, candidates, n_candidates, limits.width))
            _need_neural(beam, frame, n_inside, n_likely, floor - fusion.token_bound)
            if beam.status[0]["n_needed"]:
                return True
    _select(fusion, prefixes, beam, candidates, limits, n_candidates)
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
                label = log_add(label, mass + frame[token])
                met[number, token] = now
        slot["new_blank"] = blank
        slot["new_label"] = label
        slot["new_total"] = log_add(blank, label)
        head = total + slot["added"]
        rank = slot["new_total"] + slot["added"]
        slot["rank"] = rank
        best = max(best, rank)
        worst = min(worst, rank)
        inside_room = max(inside_room, head + slot["inside_bound"])
        start_room = max(start_room, head + slot["start_bound"])
    return best, worst, inside_room, start_room


@inner
def _likely_tokens(
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
    n_inside = n_likely = 0
    beam.status[0]["token_threshold"] = threshold
    n_inside = n_likely = 0
    for starts in range(2):
        floor = start_floor if starts else inside_floor
        for token in range(1, n_tokens):
            if frame[token] > floor and frame[token] >= threshold:
                if tokens[token]["starts"] == starts:
                    likely[n_likely] = token
                    n_likely += 1
        if not starts:
            n_inside = n_likely
    sort_descending(likely, 0, n_inside, frame)
    sort_descending(likely, n_inside, n_likely, frame)
    return n_inside, n_likely


@inner
def _propose(
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
    options, met, tokens = beam.options, beam.met, fusion.tokens
    n_candidates = 0
    for position in range(status["n_active"]):
        number = lists[position]["active"]
        slot = slots[number]
        if fusion.neural_units != NO_MODEL and not slot["neural_known"]:
            continue
        head = slot["total"] + slot["added"]
        for kind in (_LEXICON, _INSIDE, _STARTS):
            bound = head + fusion.token_bound
            if kind == _LEXICON:
                first, end = 0, int(slot["n_options"])
            elif kind == _INSIDE:
                first, end = 0, n_inside
                bound += fusion.start_bound if slot["node"] == ROOT else slot["unknown_gain"]
            else:
                first, end = n_inside, n_likely
                bound += slot["start_bound"]
            for index in range(first, end):
                if kind == _LEXICON:
                    option = options[number, index]
                    token, node, gain = option["token"], option["node"], option["gain"]
                    if frame[token] < status["token_threshold"]:
                        continue
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
                        if _is_option(beam, number, token):
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
                        n_candidates, floor = _thin_out(beam, candidates)
    return n_candidates, floor


@inner
def _is_option(beam: Beam, number: int, token: int) -> bool:
    """Whether the lexicon goes on from the prefix in a slot with a token."""
    for index in range(beam.slots[number]["n_options"]):
        if beam.options[number, index]["token"] == token:
            return True
    return False


@inner
def _token_gain(fusion: Fusion, prefixes: Records, beam: Beam, number: int, token: int) -> float:
    """What models of tokens and hotwords add to the prefix in a slot, asked once."""
    gain = beam.gains[number, token]
    if gain != gain:
        neural = beam.neural[number, token] if fusion.neural_units != NO_MODEL else 0.0
        prefix = prefixes[beam.slots[number]["prefix"]]
        gain = token_gain(fusion, prefix, token, neural)
        beam.gains[number, token] = gain
    return gain


@inner
def _need_neural(
    beam: Beam, frame: Floats, n_inside: int, n_likely: int, floor: float
) -> None:
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


@inner
def _known_word(slot: np.void) -> Word:
    return Word(
        slot["word_possible"] != 0,
        int(slot["word_n_unknown"]),
        slot["word_log_prob"],
        int(slot["word_state"]),
    )


@inner
def _nth_rank(beam: Beam, candidates: Records, n_candidates: int, n: int) -> float:
    """The n-th best rank of prefixes that stay and new ones."""
    slots, lists, scratch = beam.slots, beam.lists, beam.scratch
    n_active = beam.status[0]["n_active"]
    for position in range(n_active):
        scratch[position] = slots[lists[position]["active"]]["rank"]
    for index in range(n_candidates):
        scratch[n_active + index] = candidates[index]["rank"]
    return nth_largest(scratch, n_active + n_candidates, n)


@inner
def _thin_out(beam: Beam, candidates: Records) -> tuple[int, float]:
    """Make room: leave only candidates that would enter the beam as things stand.

    Returns:
        How many are left; the rank that others have to pass.
    """
    width = len(beam.slots)
    floor = _nth_rank(beam, candidates, len(candidates), width)
    n_left = 0
    for index in range(len(candidates)):
        if candidates[index]["rank"] >= floor and n_left < width:
            _copy(candidates, index, n_left)
            n_left += 1
    return n_left, floor


@inner
def _copy(candidates: Records, source: int, target: int) -> None:
    old, new = candidates[source], candidates[target]
    new["slot"] = old["slot"]
    new["token"] = old["token"]
    new["node"] = old["node"]
    new["mass"] = old["mass"]
    new["rank"] = old["rank"]


@inner
def _select(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    candidates: Records,
    limits: Limits,
    n_candidates: int,
) -> None:
    """Leave the best prefixes in the beam, old and new."""
    status, slots, lists = beam.status[0], beam.slots, beam.lists
    n_active = status["n_active"]
    best = -np.inf
    for position in range(n_active):
        best = max(best, slots[lists[position]["active"]]["rank"])
    for index in range(n_candidates):
        best = max(best, candidates[index]["rank"])
    least = best - limits.score_threshold
    floor, n_ties = -np.inf, limits.width
    if n_active + n_candidates > limits.width:
        floor = _nth_rank(beam, candidates, n_candidates, limits.width)
        # Of those that equal the last that has room, some may have none.
        for position in range(n_active):
            n_ties -= slots[lists[position]["active"]]["rank"] > floor
        for index in range(n_candidates):
            n_ties -= candidates[index]["rank"] > floor
    n_new = 0
    for index in range(n_candidates):
        rank = candidates[index]["rank"]
        if rank > floor or (rank == floor and n_ties > 0):
            n_ties -= rank == floor
            if rank >= least:
                _copy(candidates, index, n_new)
                n_new += 1
    # Their rows first: those need what is in the slots that others are about to leave.
    for index in range(n_new):
        candidate = candidates[index]
        number = candidate["slot"]
        candidate["prefix"] = _longer_prefix(fusion, prefixes, beam, candidate)
        candidate["neural_before"] = slots[number]["neural_after"]
    n_stay = 0
    for position in range(n_active):
        number = lists[position]["active"]
        slot = slots[number]
        rank = slot["rank"]
        stays = rank > floor or (rank == floor and n_ties > 0)
        n_ties -= rank == floor
        if stays and rank >= least and rank > -np.inf:
            lists[n_stay]["active"] = number
            n_stay += 1
            slot["blank"] = slot["new_blank"]
            slot["label"] = slot["new_label"]
            slot["total"] = slot["new_total"]
        else:
            prefixes[slot["prefix"]]["slot"] = -1
            lists[status["n_free"]]["free"] = number
            status["n_free"] += 1
    status["n_active"] = n_stay
    for index in range(n_new):
        candidate = candidates[index]
        row, mass = int(candidate["prefix"]), candidate["mass"]
        _place(fusion, prefixes, beam, row, -np.inf, mass, int(candidate["neural_before"]))


@inner
def _longer_prefix(fusion: Fusion, prefixes: Records, beam: Beam, candidate: np.void) -> int:
    """The row of a candidate's prefix; a new one unless there is one already."""
    number, token = candidate["slot"], candidate["token"]
    slot = beam.slots[number]
    parent = slot["prefix"]
    row = prefixes[parent]["child"]
    while row >= 0:
        if prefixes[row]["token"] == token:
            return int(row)
        row = prefixes[row]["sibling"]
    row = beam.status[0]["n_prefixes"]
    beam.status[0]["n_prefixes"] += 1
    prefix, longer = prefixes[parent], prefixes[row]
    longer["parent"] = parent
    longer["token"] = token
    longer["child"] = -1
    longer["sibling"] = prefix["child"]
    prefix["child"] = row
    neural = beam.neural[number, token] if fusion.neural_units != NO_MODEL else 0.0
    node, word = int(candidate["node"]), _known_word(slot)
    extend(fusion, prefix, longer, int(token), node, word, neural)
    return int(row)


@inner
def _place(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    row: int,
    blank: float,
    label: float,
    neural_before: int,
) -> None:
    """Put a prefix into a free slot."""
    status = beam.status[0]
    status["n_free"] -= 1
    number = beam.lists[status["n_free"]]["free"]
    beam.lists[status["n_active"]]["active"] = number
    status["n_active"] += 1
    prefix, slot = prefixes[row], beam.slots[number]
    prefix["slot"] = number
    slot["prefix"] = row
    slot["token"] = prefix["token"]
    slot["node"] = prefix["node"]
    slot["blank"] = blank
    slot["label"] = label
    slot["total"] = max(blank, label)  # one of them is nothing
    slot["added"] = prefix["added"]
    slot["neural_known"] = False
    slot["neural_before"] = neural_before
    if not fusion.simple:
        for token in range(beam.gains.shape[1]):
            beam.gains[number, token] = np.nan
    _look_ahead(fusion, beam, int(number), int(prefix["state"]))


@inner
def _look_ahead(fusion: Fusion, beam: Beam, number: int, state: int) -> None:
    """Find out how the lexicon goes on from the prefix in a slot."""
    slot, options, arcs = beam.slots[number], beam.options, fusion.trie.arcs
    node = int(slot["node"])
    expected = expected_word(fusion, node)
    slot["expected"] = expected
    slot["n_options"] = 0
    slot["word_known"] = False
    slot["unknown_gain"] = fusion.unknown_expected - expected
    if node == ROOT:
        slot["inside_bound"] = slot["start_bound"] = fusion.start_bound
        slot["word_known"] = slot["word_possible"] = True
        slot["word_n_unknown"] = 0
        slot["word_state"] = state
        slot["word_log_prob"] = slot["word_gain"] = 0.0
        return
    slot["inside_bound"] = slot["unknown_gain"]
    # No word has a better log-probability than 0.
    slot["start_bound"] = fusion.start_bound + max(0.0, fusion.unknown_score) - expected
    if node > ROOT:
        this, following = fusion.trie.nodes[node], fusion.trie.nodes[node + 1]
        if fusion.closed and this["word_start"] == following["word_start"]:
            slot["start_bound"] = -np.inf
        for index in range(this["arc_start"], following["arc_start"]):
            option = options[number, slot["n_options"]]
            score = max(fusion.unknown_expected, fusion.alpha * arcs[index]["look_ahead"])
            option["gain"] = score - expected
            option["token"] = arcs[index]["token"]
            option["node"] = arcs[index]["node"]
            slot["n_options"] += 1
            slot["inside_bound"] = max(slot["inside_bound"], option["gain"])
