"""Which prefixes stay in the beam of the compiled search, and how a new one enters it."""

import numpy as np

from asr.decode.beam_arrays import Beam, Limits, Records
from asr.decode.compiled import inner
from asr.decode.fusion import TOKENS, WORDS, Fusion, Word, expected_word, extend
from asr.decode.lexicon_trie import ROOT
from asr.decode.merging import link, note_all, note_slot, slot_with_same_future, unlink
from asr.decode.selection import nth_largest

__all__ = ["HASH_FACTOR", "nth_rank", "occupy", "select", "thin_out"]

# Of the hash of a token sequence: that of the sequence without the last token times this, and it.
HASH_FACTOR = np.int64(0x5851F42D4C957F2D)

# Where a prefix goes: into a slot of its own, or, merged, into none.
_NEW_SLOT, _GAVE_WAY = -1, -2


@inner
def select(
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
        floor = nth_rank(beam, candidates, n_candidates, limits.width)
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
    if limits.merge:
        note_all(prefixes, beam)
    for index in range(n_new):
        candidate = candidates[index]
        row, mass = int(candidate["prefix"]), candidate["mass"]
        number = _NEW_SLOT
        if limits.merge:
            number = _merged(prefixes, beam, row, mass + prefixes[row]["added"])
        if number == _GAVE_WAY:
            continue
        if number == _NEW_SLOT:
            number = _take_slot(beam)
        before = int(candidate["neural_before"])
        occupy(fusion, prefixes, beam, number, row, -np.inf, mass, before)
        if limits.merge:
            note_slot(prefixes, beam, number)


@inner
def _merged(prefixes: Records, beam: Beam, row: int, rank: float) -> int:
    """The slot of a prefix with the same future that is no better, which leaves it.

    Returns:
        That; _NEW_SLOT if no prefix has the same future; or _GAVE_WAY if one has that is better.
    """
    number = slot_with_same_future(prefixes, beam, row)
    if number < 0:
        unlink(prefixes, row)
        return _NEW_SLOT
    slot = beam.slots[number]
    before = int(slot["prefix"])
    loss = rank - slot["total"] - slot["added"]
    if loss <= 0:
        link(prefixes, row, before, loss)
        return _GAVE_WAY
    prefixes[before]["slot"] = -1
    unlink(prefixes, row)
    link(prefixes, before, row, -loss)
    return number


@inner
def _take_slot(beam: Beam) -> int:
    """A free slot, now in use."""
    status, lists = beam.status[0], beam.lists
    status["n_free"] -= 1
    number = int(lists[status["n_free"]]["free"])
    lists[status["n_active"]]["active"] = number
    status["n_active"] += 1
    return number


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
    longer["hash"] = HASH_FACTOR * prefix["hash"] + token
    longer["better"] = longer["worse"] = -1
    prefix["child"] = row
    neural = beam.neural[number, token] if fusion.neural_units == TOKENS else 0.0
    node, word = int(candidate["node"]), _known_word(slot)
    extend(fusion, prefix, longer, int(token), node, word, neural)
    return int(row)


@inner
def _known_word(slot: np.void) -> Word:
    return Word(
        slot["word_possible"] != 0,
        int(slot["word_n_unknown"]),
        slot["word_log_prob"],
        int(slot["word_state"]),
        slot["word_neural"],
        int(slot["word_history"]),
    )


@inner
def occupy(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    number: int,
    row: int,
    blank: float,
    label: float,
    neural_before: int,
) -> None:
    """Put a prefix into a slot."""
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
    _look_ahead(fusion, beam, number, int(prefix["state"]))


@inner
def _look_ahead(fusion: Fusion, beam: Beam, number: int, state: int) -> None:
    """Find out how the lexicon goes on from the prefix in a slot."""
    slot = beam.slots[number]
    node = int(slot["node"])
    expected = expected_word(fusion, node)
    slot["expected"] = expected
    slot["word_known"] = False
    slot["word_neural"] = 0.0
    slot["unknown_gain"] = fusion.unknown_expected - expected
    if node == ROOT:
        slot["inside_bound"] = slot["start_bound"] = fusion.start_bound
        slot["word_known"] = slot["word_possible"] = True
        slot["neural_known"] = fusion.neural_units == WORDS
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
        if this["tokens"]:
            best = max(fusion.unknown_expected, fusion.ahead * this["longer"])
            slot["inside_bound"] = best - expected


@inner
def nth_rank(beam: Beam, candidates: Records, n_candidates: int, n: int) -> float:
    """The n-th best rank of prefixes that stay and new ones."""
    slots, lists, scratch = beam.slots, beam.lists, beam.scratch
    n_active = beam.status[0]["n_active"]
    for position in range(n_active):
        scratch[position] = slots[lists[position]["active"]]["rank"]
    for index in range(n_candidates):
        scratch[n_active + index] = candidates[index]["rank"]
    return nth_largest(scratch, n_active + n_candidates, n)


@inner
def thin_out(beam: Beam, candidates: Records) -> tuple[int, float]:
    """Make room: leave only candidates that would enter the beam as things stand.

    Returns:
        How many are left; the rank that others have to pass.
    """
    width = len(beam.slots)
    floor = nth_rank(beam, candidates, len(candidates), width)
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
