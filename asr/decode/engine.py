"""The compiled CTC beam search over flat arrays, equal to `asr.decode.reference`.

A beam holds its prefixes in slots, which they keep while they survive; prefixes with one parent
are told apart by their last tokens, so that equal prefixes meet without being compared.  Of each
frame only such new prefixes are looked at as can enter the beam: a bound on what a token can add
is known before anything is looked up, and what is looked up is kept in the prefix's slot.
"""

import math

import numpy as np

from asr.decode.beam_arrays import Beam, Limits, Records
from asr.decode.fusion import NO_MODEL, Fusion, Word, complete_word, expected_word, extend
from asr.decode.lexicon_trie import ROOT
from asr.decode.selection import nth_largest, sort_descending
from lm.automaton import compiled
from lm.backoff import START, Floats

__all__ = ["DONE", "MORE_PREFIXES", "NEURAL_SCORES", "search", "settle", "start"]

# Why `search` returns.
DONE, MORE_PREFIXES, NEURAL_SCORES = 0, 1, 2


@compiled
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
    width = len(beam.slots)
    free = beam.free
    for slot in range(width):
        free[slot] = width - 1 - slot
    beam.met[:] = -1
    status = beam.status[0]
    status["n_prefixes"] = 1
    status["n_active"] = 0
    status["n_free"] = width
    status["n_needed"] = 0
    status["frame"] = 0
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


@compiled
def settle(beam: Beam) -> None:
    """After frames of nothing but blank, all alignments end in a blank."""
    status, slots, active = beam.status[0], beam.slots, beam.active
    if status["skipped"]:
        status["skipped"] = 0
        for position in range(status["n_active"]):
            slot = slots[active[position]]
            slot["blank"] = slot["total"]
            slot["label"] = -math.inf


@compiled
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
    n_inside, n_likely = _likely_tokens(
        fusion, beam, limits, frame, floor - inside_room, floor - start_room
    )
    n_candidates = 0
    if n_likely:
        n_candidates, floor = _propose(
            fusion, prefixes, beam, candidates, frame, n_inside, n_likely, floor
        )
        if fusion.neural_units != NO_MODEL:
            _need_neural(beam, candidates, frame, n_inside, n_likely, n_candidates, floor)
            if beam.status[0]["n_needed"]:
                return True
    _select(fusion, prefixes, beam, candidates, limits, n_candidates)
    return False


@compiled
def _carry_over(
    prefixes: Records, beam: Beam, frame: Floats
) -> tuple[float, float, float, float]:
    """What becomes of the prefixes in the beam.

    Returns:
        The best and the worst rank; the most that a likely token inside a word, and one that
        starts a word, can rank over its own log-probability.
    """
    slots, active, met = beam.slots, beam.active, beam.met
    best, worst, inside_room, start_room = -np.inf, np.inf, -np.inf, -np.inf
    now = beam.status[0]["frame"]
    for position in range(beam.status[0]["n_active"]):
        slot = slots[active[position]]
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


@compiled
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
    for kind in range(2):
        floor = start_floor if kind else inside_floor
        for token in range(1, n_tokens):
            if frame[token] > floor and frame[token] >= threshold:
                if tokens[token]["starts"] == kind:
                    likely[n_likely] = token
                    n_likely += 1
        if kind == 0:
            n_inside = n_likely
    sort_descending(likely, 0, n_inside, frame)
    sort_descending(likely, n_inside, n_likely, frame)
    return n_inside, n_likely


@compiled
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
    slots, active, likely = beam.slots, beam.active, beam.likely
    met, gains = beam.met, beam.gains
    now = beam.status[0]["frame"]
    n_candidates = 0
    for position in range(beam.status[0]["n_active"]):
        number = active[position]
        slot = slots[number]
        if fusion.neural_units != NO_MODEL and not slot["neural_known"]:
            continue
        head = slot["total"] + slot["added"]
        for kind in range(2):
            bound = head + (slot["start_bound"] if kind else slot["inside_bound"])
            for index in range(n_inside if kind else 0, n_likely if kind else n_inside):
                token = likely[index]
                if not bound + frame[token] > floor:
                    break
                if kind and not slot["word_known"]:
                    _complete(fusion, prefixes, slot)
                    bound = head + slot["start_bound"]
                    if not bound + frame[token] > floor:
                        break
                if met[number, token] == now:
                    continue
                gain = gains[number, token]
                if gain != gain:
                    neural = beam.neural[number, token] if fusion.neural_units else 0.0
                    word = _known_word(slot)
                    longer = extend(fusion, prefixes, slot["prefix"], token, word, neural)
                    gain = longer.added - slot["added"]
                    gains[number, token] = gain
                mass = slot["blank"] if token == slot["token"] else slot["total"]
                mass += frame[token]
                rank = mass + slot["added"] + gain
                if rank > floor:
                    candidate = candidates[n_candidates]
                    candidate["slot"] = number
                    candidate["token"] = token
                    candidate["mass"] = mass
                    candidate["rank"] = rank
                    n_candidates += 1
                    if n_candidates == len(candidates):
                        n_candidates, floor = _thin_out(beam, candidates)
    return n_candidates, floor


@compiled
def _need_neural(
    beam: Beam,
    candidates: Records,
    frame: Floats,
    n_inside: int,
    n_likely: int,
    n_candidates: int,
    floor: float,
) -> None:
    """Note the slots of which a new prefix could come, had the neural model been asked."""
    slots, active, likely, met = beam.slots, beam.active, beam.likely, beam.met
    status = beam.status[0]
    if status["n_active"] + n_candidates >= len(slots):
        floor = max(floor, _nth_rank(beam, candidates, n_candidates, len(slots)))
    for position in range(status["n_active"]):
        number = active[position]
        slot = slots[number]
        if not slot["neural_known"]:
            best = -np.inf
            for index in range(n_likely):
                if met[number, likely[index]] != status["frame"]:
                    bound = slot["inside_bound"] if index < n_inside else slot["start_bound"]
                    best = max(best, bound + frame[likely[index]])
            if slot["total"] + slot["added"] + best > floor:
                beam.needed[status["n_needed"]] = number
                status["n_needed"] += 1


@compiled
def _complete(fusion: Fusion, prefixes: Records, slot: np.void) -> None:
    """Look the last word of a prefix up, once."""
    prefix = prefixes[slot["prefix"]]
    word = complete_word(fusion, prefix["node"], prefix["state"])
    slot["word_known"] = True
    slot["word_possible"] = word.possible
    slot["word_n_unknown"] = word.n_unknown
    slot["word_state"] = word.state
    slot["word_log_prob"] = word.log_prob
    if word.possible:
        score = fusion.alpha * word.log_prob + fusion.unknown_score * word.n_unknown
        expected = expected_word(fusion, prefix["node"])
        slot["start_bound"] = fusion.start_bound + score - expected
    else:
        slot["start_bound"] = -np.inf


@compiled
def _known_word(slot: np.void) -> Word:
    return Word(
        slot["word_possible"] != 0,
        slot["word_n_unknown"],
        slot["word_log_prob"],
        slot["word_state"],
    )


@compiled
def _nth_rank(beam: Beam, candidates: Records, n_candidates: int, n: int) -> float:
    """The n-th best rank of prefixes that stay and new ones."""
    slots, active, scratch = beam.slots, beam.active, beam.scratch
    n_active = beam.status[0]["n_active"]
    for position in range(n_active):
        scratch[position] = slots[active[position]]["rank"]
    for index in range(n_candidates):
        scratch[n_active + index] = candidates[index]["rank"]
    return nth_largest(scratch, n_active + n_candidates, n)


@compiled
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


@compiled
def _copy(candidates: Records, source: int, target: int) -> None:
    old, new = candidates[source], candidates[target]
    new["slot"] = old["slot"]
    new["token"] = old["token"]
    new["mass"] = old["mass"]
    new["rank"] = old["rank"]


@compiled
def _select(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    candidates: Records,
    limits: Limits,
    n_candidates: int,
) -> None:
    """Leave the best prefixes in the beam, old and new."""
    status, slots, active, free = beam.status[0], beam.slots, beam.active, beam.free
    n_active = status["n_active"]
    best = -np.inf
    for position in range(n_active):
        best = max(best, slots[active[position]]["rank"])
    for index in range(n_candidates):
        best = max(best, candidates[index]["rank"])
    least = best - limits.score_threshold
    floor, n_ties = -np.inf, limits.width
    if n_active + n_candidates > limits.width:
        floor = _nth_rank(beam, candidates, n_candidates, limits.width)
        # Of those that equal the last that has room, some may have none.
        for position in range(n_active):
            n_ties -= slots[active[position]]["rank"] > floor
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
        candidate["prefix"] = _longer_prefix(fusion, prefixes, beam, number, candidate["token"])
        candidate["neural_before"] = slots[number]["neural_after"]
    n_stay = 0
    for position in range(n_active):
        number = active[position]
        slot = slots[number]
        rank = slot["rank"]
        stays = rank > floor or (rank == floor and n_ties > 0)
        n_ties -= rank == floor
        if stays and rank >= least and rank > -np.inf:
            active[n_stay] = number
            n_stay += 1
            slot["blank"] = slot["new_blank"]
            slot["label"] = slot["new_label"]
            slot["total"] = slot["new_total"]
        else:
            prefixes[slot["prefix"]]["slot"] = -1
            free[status["n_free"]] = number
            status["n_free"] += 1
    status["n_active"] = n_stay
    for index in range(n_new):
        candidate = candidates[index]
        prefix, mass = candidate["prefix"], candidate["mass"]
        _place(fusion, prefixes, beam, prefix, -np.inf, mass, candidate["neural_before"])


@compiled
def _longer_prefix(
    fusion: Fusion, prefixes: Records, beam: Beam, number: int, token: int
) -> int:
    """The row of a prefix with one token more; a new one unless there is one already."""
    slot = beam.slots[number]
    parent = slot["prefix"]
    row = prefixes[parent]["child"]
    while row >= 0:
        if prefixes[row]["token"] == token:
            return int(row)
        row = prefixes[row]["sibling"]
    row = beam.status[0]["n_prefixes"]
    beam.status[0]["n_prefixes"] += 1
    neural = beam.neural[number, token] if fusion.neural_units else 0.0
    longer = extend(fusion, prefixes, parent, token, _known_word(slot), neural)
    prefix = prefixes[row]
    prefix["parent"] = parent
    prefix["token"] = token
    prefix["child"] = -1
    prefix["sibling"] = prefixes[parent]["child"]
    prefixes[parent]["child"] = row
    prefix["node"] = longer.node
    prefix["state"] = longer.state
    prefix["n_words"] = longer.n_words
    prefix["n_unknown"] = longer.n_unknown
    prefix["hotword_state"] = longer.hotword_state
    prefix["ngram"] = longer.ngram
    prefix["neural"] = longer.neural
    prefix["hotword_score"] = longer.hotword_score
    prefix["added"] = longer.added
    return int(row)


@compiled
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
    status, trie = beam.status[0], fusion.trie
    status["n_free"] -= 1
    number = beam.free[status["n_free"]]
    beam.active[status["n_active"]] = number
    status["n_active"] += 1
    beam.gains[number] = np.nan
    prefix, slot = prefixes[row], beam.slots[number]
    prefix["slot"] = number
    slot["prefix"] = row
    slot["token"] = prefix["token"]
    slot["blank"] = blank
    slot["label"] = label
    slot["total"] = max(blank, label)  # one of them is nothing
    slot["added"] = prefix["added"]
    slot["neural_known"] = False
    slot["neural_before"] = neural_before
    slot["word_known"] = False
    slot["inside_bound"] = fusion.hotword_bound
    slot["start_bound"] = fusion.start_bound
    node = prefix["node"]
    if node == ROOT:
        slot["inside_bound"] = fusion.start_bound
        slot["word_known"] = slot["word_possible"] = True
        slot["word_n_unknown"] = 0
        slot["word_state"] = prefix["state"]
        slot["word_log_prob"] = 0.0
    elif fusion.closed and trie.word_starts[node] == trie.word_starts[node + 1]:
        slot["start_bound"] = -np.inf
    else:
        slot["start_bound"] += max(0.0, fusion.unknown_score) - expected_word(fusion, node)
