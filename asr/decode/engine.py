"""The compiled CTC beam search over flat arrays, equal to `asr.decode.reference`.

A beam holds its prefixes in slots, which they keep while they survive; prefixes with one parent
are told apart by their last tokens, so that equal prefixes meet without being compared.  Of each
frame only such new prefixes are looked at as can enter the beam: a bound on what a token can add
is known before anything is looked up, and what is looked up is kept in the prefix's slot.
"""

import math

import numpy as np

from asr.decode.beam_arrays import (
    FRAME,
    N_ACTIVE,
    N_FREE,
    N_NEEDED,
    N_PREFIXES,
    SKIPPED,
    Beam,
    Candidates,
    Limits,
    Prefixes,
)
from asr.decode.fusion import NO_MODEL, Fusion, Word, complete_word, expected, extend
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
def start(fusion: Fusion, prefixes: Prefixes, beam: Beam) -> None:
    """Begin an utterance with the empty prefix."""
    width = len(beam.active)
    beam.counts[:] = 0
    beam.met[:] = -1
    beam.offset[0] = 0.0
    for slot in range(width):
        beam.free[slot] = width - 1 - slot
    beam.counts[N_FREE] = width
    beam.counts[N_PREFIXES] = 1
    prefixes.parent[0] = prefixes.child[0] = prefixes.sibling[0] = -1
    prefixes.token[0] = 0
    prefixes.node[0] = ROOT
    prefixes.state[0] = fusion.automaton.arc_states[START] if fusion.ngram_units else 0
    prefixes.n_words[0] = prefixes.n_unknown[0] = prefixes.hotword_state[0] = 0
    prefixes.ngram[0] = prefixes.neural[0] = prefixes.hotword_score[0] = prefixes.added[0] = 0.0
    _place(fusion, prefixes, beam, 0, 0.0, -math.inf, 0)


@compiled
def search(
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    candidates: Candidates,
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
    counts = beam.counts
    counts[N_NEEDED] = 0
    while counts[FRAME] < len(log_probs):
        frame = log_probs[counts[FRAME]]
        if frame[0] > limits.blank_threshold:
            beam.offset[0] += frame[0]
            counts[SKIPPED] = 1
        else:
            if counts[N_PREFIXES] + limits.width > len(prefixes.parent):
                return MORE_PREFIXES
            settle(beam)
            if _read_frame(fusion, prefixes, beam, candidates, limits, frame):
                return NEURAL_SCORES
        counts[FRAME] += 1
    return DONE


@compiled
def settle(beam: Beam) -> None:
    """After frames of nothing but blank, all alignments end in a blank."""
    if beam.counts[SKIPPED]:
        beam.counts[SKIPPED] = 0
        for position in range(beam.counts[N_ACTIVE]):
            slot = beam.active[position]
            beam.blank[slot] = beam.total[slot]
            beam.label[slot] = -math.inf


@compiled
def _read_frame(
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    candidates: Candidates,
    limits: Limits,
    frame: Floats,
) -> bool:
    """One frame; true if the neural model is needed first, and nothing is changed then."""
    best, worst, inside_room, start_room = _carry_over(prefixes, beam, frame)
    floor = best - limits.score_threshold
    if beam.counts[N_ACTIVE] == limits.width:
        floor = max(floor, worst)
    n_inside, n_starting = _likely_tokens(
        fusion, beam, limits, frame, floor - inside_room, floor - start_room
    )
    n_candidates = 0
    if n_inside + n_starting:
        n_candidates, floor = _propose(
            fusion, prefixes, beam, candidates, frame, n_inside, n_starting, floor
        )
        if fusion.neural_units != NO_MODEL:
            _need_neural(beam, candidates, frame, n_inside, n_starting, n_candidates, floor)
            if beam.counts[N_NEEDED]:
                return True
    _select(fusion, prefixes, beam, candidates, limits, n_candidates)
    return False


@compiled
def _carry_over(
    prefixes: Prefixes, beam: Beam, frame: Floats
) -> tuple[float, float, float, float]:
    """What becomes of the prefixes in the beam.

    Returns:
        The best and the worst rank; the most that a likely token inside a word, and one that
        starts a word, can rank over its own log-probability.
    """
    best, worst, inside_room, start_room = -np.inf, np.inf, -np.inf, -np.inf
    now = beam.counts[FRAME]
    for position in range(beam.counts[N_ACTIVE]):
        slot = beam.active[position]
        token = beam.token[slot]
        total = beam.total[slot]
        added = beam.added[slot]
        blank = total + frame[0]
        label = beam.label[slot] + frame[token]
        parent = prefixes.parent[beam.prefix[slot]]
        if parent >= 0 and prefixes.slot[parent] >= 0:
            before = prefixes.slot[parent]
            mass = beam.blank[before] if beam.token[before] == token else beam.total[before]
            label = log_add(label, mass + frame[token])
            beam.met[before, token] = now
        beam.new_blank[slot] = blank
        beam.new_label[slot] = label
        beam.new_total[slot] = log_add(blank, label)
        rank = beam.new_total[slot] + added
        beam.rank[slot] = rank
        best = max(best, rank)
        worst = min(worst, rank)
        inside_room = max(inside_room, total + added + beam.inside_bound[slot])
        start_room = max(start_room, total + added + beam.start_bound[slot])
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
    """Fill `beam.inside` and `beam.starting` with tokens above a floor, likeliest first."""
    threshold = limits.token_threshold
    if 0 < limits.top_tokens < len(frame) - 1:
        for token in range(1, len(frame)):
            beam.scratch[token - 1] = frame[token]
        least = nth_largest(beam.scratch, len(frame) - 1, limits.top_tokens)
        threshold = max(threshold, least)
    n_inside = n_starting = 0
    for token in range(1, len(frame)):
        log_prob = frame[token]
        if log_prob >= threshold:
            if fusion.starts[token]:
                if log_prob > start_floor:
                    beam.starting[n_starting] = token
                    n_starting += 1
            elif log_prob > inside_floor:
                beam.inside[n_inside] = token
                n_inside += 1
    sort_descending(beam.inside, n_inside, frame)
    sort_descending(beam.starting, n_starting, frame)
    return n_inside, n_starting


@compiled
def _propose(
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    candidates: Candidates,
    frame: Floats,
    n_inside: int,
    n_starting: int,
    floor: float,
) -> tuple[int, float]:
    """Collect the new prefixes that rank above a floor, which rises as they fill the beam."""
    n_candidates = 0
    for position in range(beam.counts[N_ACTIVE]):
        slot = beam.active[position]
        if fusion.neural_units != NO_MODEL and not beam.neural_known[slot]:
            continue
        head = beam.total[slot] + beam.added[slot]
        for kind in range(2):
            tokens = beam.starting if kind else beam.inside
            bound = head + (beam.start_bound[slot] if kind else beam.inside_bound[slot])
            for index in range(n_starting if kind else n_inside):
                token = tokens[index]
                if not bound + frame[token] > floor:
                    break
                if kind and not beam.word_known[slot]:
                    _complete(fusion, prefixes, beam, slot)
                    bound = head + beam.start_bound[slot]
                    if not bound + frame[token] > floor:
                        break
                if beam.met[slot, token] == beam.counts[FRAME]:
                    continue
                gain = beam.gains[slot, token]
                if gain != gain:
                    gain = _gain(fusion, prefixes, beam, slot, token)
                mass = beam.blank[slot] if token == beam.token[slot] else beam.total[slot]
                mass += frame[token]
                rank = mass + beam.added[slot] + gain
                if rank > floor:
                    candidates.slot[n_candidates] = slot
                    candidates.token[n_candidates] = token
                    candidates.mass[n_candidates] = mass
                    candidates.rank[n_candidates] = rank
                    n_candidates += 1
                    if n_candidates == len(candidates.slot):
                        n_candidates, floor = _thin_out(beam, candidates)
    return n_candidates, floor


@compiled
def _need_neural(
    beam: Beam,
    candidates: Candidates,
    frame: Floats,
    n_inside: int,
    n_starting: int,
    n_candidates: int,
    floor: float,
) -> None:
    """Note the slots of which a new prefix could come, had the neural model been asked."""
    width = len(beam.active)
    if beam.counts[N_ACTIVE] + n_candidates >= width:
        floor = max(floor, _nth_rank(beam, candidates, n_candidates, width))
    for position in range(beam.counts[N_ACTIVE]):
        slot = beam.active[position]
        if not beam.neural_known[slot]:
            best = -np.inf
            for index in range(n_inside):
                if beam.met[slot, beam.inside[index]] != beam.counts[FRAME]:
                    best = max(best, beam.inside_bound[slot] + frame[beam.inside[index]])
                    break
            for index in range(n_starting):
                if beam.met[slot, beam.starting[index]] != beam.counts[FRAME]:
                    best = max(best, beam.start_bound[slot] + frame[beam.starting[index]])
                    break
            if beam.total[slot] + beam.added[slot] + best > floor:
                beam.needed[beam.counts[N_NEEDED]] = slot
                beam.counts[N_NEEDED] += 1


@compiled
def _complete(fusion: Fusion, prefixes: Prefixes, beam: Beam, slot: int) -> None:
    """Look the last word of a prefix up, once."""
    prefix = beam.prefix[slot]
    node = prefixes.node[prefix]
    word = complete_word(fusion, node, prefixes.state[prefix])
    beam.word_known[slot] = True
    beam.word_possible[slot] = word.possible
    beam.word_n_unknown[slot] = word.n_unknown
    beam.word_state[slot] = word.state
    beam.word_log_prob[slot] = word.log_prob
    if word.possible:
        score = fusion.alpha * word.log_prob + fusion.unknown_score * word.n_unknown
        beam.start_bound[slot] = fusion.start_bound + score - expected(fusion, node, 0)
    else:
        beam.start_bound[slot] = -np.inf


@compiled
def _known_word(beam: Beam, slot: int) -> Word:
    return Word(
        beam.word_possible[slot] != 0,
        beam.word_n_unknown[slot],
        beam.word_log_prob[slot],
        beam.word_state[slot],
    )


@compiled
def _gain(fusion: Fusion, prefixes: Prefixes, beam: Beam, slot: int, token: int) -> float:
    """Look up what a token adds to a prefix, once."""
    neural = beam.neural[slot, token] if fusion.neural_units != NO_MODEL else 0.0
    prefix = beam.prefix[slot]
    longer = extend(fusion, prefixes, prefix, token, _known_word(beam, slot), neural)
    gain = longer.added - beam.added[slot]
    beam.gains[slot, token] = gain
    return gain


@compiled
def _nth_rank(beam: Beam, candidates: Candidates, n_candidates: int, n: int) -> float:
    """The n-th best rank of prefixes that stay and new ones."""
    n_active = beam.counts[N_ACTIVE]
    for position in range(n_active):
        beam.scratch[position] = beam.rank[beam.active[position]]
    for index in range(n_candidates):
        beam.scratch[n_active + index] = candidates.rank[index]
    return nth_largest(beam.scratch, n_active + n_candidates, n)


@compiled
def _thin_out(beam: Beam, candidates: Candidates) -> tuple[int, float]:
    """Make room: leave only candidates that would enter the beam as things stand.

    Returns:
        How many are left; the rank that others have to pass.
    """
    width = len(beam.active)
    floor = _nth_rank(beam, candidates, len(candidates.rank), width)
    kept = 0
    for index in range(len(candidates.rank)):
        if candidates.rank[index] >= floor and kept < width:
            _move(candidates, index, kept)
            kept += 1
    return kept, floor


@compiled
def _move(candidates: Candidates, source: int, target: int) -> None:
    candidates.slot[target] = candidates.slot[source]
    candidates.token[target] = candidates.token[source]
    candidates.mass[target] = candidates.mass[source]
    candidates.rank[target] = candidates.rank[source]


@compiled
def _select(
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    candidates: Candidates,
    limits: Limits,
    n_candidates: int,
) -> None:
    """Leave the best prefixes in the beam, old and new."""
    n_active = beam.counts[N_ACTIVE]
    best = -np.inf
    for position in range(n_active):
        best = max(best, beam.rank[beam.active[position]])
    for index in range(n_candidates):
        best = max(best, candidates.rank[index])
    floor, n_ties = -np.inf, limits.width
    if n_active + n_candidates > limits.width:
        floor = _nth_rank(beam, candidates, n_candidates, limits.width)
        # Those that equal the last that has room: some of them may not have.
        for position in range(n_active):
            n_ties -= beam.rank[beam.active[position]] > floor
        for index in range(n_candidates):
            n_ties -= candidates.rank[index] > floor
    least = best - limits.score_threshold
    n_new = 0
    for index in range(n_candidates):
        rank = candidates.rank[index]
        if rank > floor or (rank == floor and n_ties > 0):
            n_ties -= rank == floor
            if rank >= least:
                _move(candidates, index, n_new)
                n_new += 1
    # Rows first: they need what is in the slots that others are about to leave.
    for index in range(n_new):
        slot, token = candidates.slot[index], candidates.token[index]
        candidates.prefix[index] = _longer_prefix(fusion, prefixes, beam, slot, token)
        candidates.neural_before[index] = beam.neural_after[slot]
    n_stay = 0
    for position in range(n_active):
        slot = beam.active[position]
        rank = beam.rank[slot]
        stays = rank > floor or (rank == floor and n_ties > 0)
        n_ties -= rank == floor
        if stays and rank >= least and rank > -np.inf:
            beam.active[n_stay] = slot
            n_stay += 1
            beam.blank[slot] = beam.new_blank[slot]
            beam.label[slot] = beam.new_label[slot]
            beam.total[slot] = beam.new_total[slot]
        else:
            prefixes.slot[beam.prefix[slot]] = -1
            beam.free[beam.counts[N_FREE]] = slot
            beam.counts[N_FREE] += 1
    beam.counts[N_ACTIVE] = n_stay
    for index in range(n_new):
        before = candidates.neural_before[index]
        mass = candidates.mass[index]
        _place(fusion, prefixes, beam, candidates.prefix[index], -np.inf, mass, before)


@compiled
def _longer_prefix(
    fusion: Fusion, prefixes: Prefixes, beam: Beam, slot: int, token: int
) -> int:
    """The row of a prefix with one token more; a new one unless there is one already."""
    parent = beam.prefix[slot]
    row = prefixes.child[parent]
    while row >= 0:
        if prefixes.token[row] == token:
            return int(row)
        row = prefixes.sibling[row]
    row = beam.counts[N_PREFIXES]
    beam.counts[N_PREFIXES] += 1
    neural = beam.neural[slot, token] if fusion.neural_units != NO_MODEL else 0.0
    longer = extend(fusion, prefixes, parent, token, _known_word(beam, slot), neural)
    prefixes.parent[row] = parent
    prefixes.token[row] = token
    prefixes.child[row] = -1
    prefixes.sibling[row] = prefixes.child[parent]
    prefixes.child[parent] = row
    prefixes.node[row] = longer.node
    prefixes.state[row] = longer.state
    prefixes.n_words[row] = longer.n_words
    prefixes.n_unknown[row] = longer.n_unknown
    prefixes.hotword_state[row] = longer.hotword_state
    prefixes.ngram[row] = longer.ngram
    prefixes.neural[row] = longer.neural
    prefixes.hotword_score[row] = longer.hotword_score
    prefixes.added[row] = longer.added
    return int(row)


@compiled
def _place(
    fusion: Fusion,
    prefixes: Prefixes,
    beam: Beam,
    prefix: int,
    blank: float,
    label: float,
    neural_before: int,
) -> None:
    """Put a prefix into a free slot."""
    beam.counts[N_FREE] -= 1
    slot = beam.free[beam.counts[N_FREE]]
    beam.active[beam.counts[N_ACTIVE]] = slot
    beam.counts[N_ACTIVE] += 1
    prefixes.slot[prefix] = slot
    beam.prefix[slot] = prefix
    beam.token[slot] = prefixes.token[prefix]
    beam.blank[slot] = blank
    beam.label[slot] = label
    beam.total[slot] = max(blank, label)  # one of them is nothing
    beam.added[slot] = prefixes.added[prefix]
    beam.gains[slot] = np.nan
    beam.neural_known[slot] = False
    beam.neural_before[slot] = neural_before
    beam.word_known[slot] = False
    node = prefixes.node[prefix]
    beam.inside_bound[slot] = fusion.hotword_bound
    beam.start_bound[slot] = fusion.start_bound
    if node == ROOT:
        beam.inside_bound[slot] = fusion.start_bound
        beam.word_known[slot] = True
        beam.word_possible[slot] = True
        beam.word_n_unknown[slot] = 0
        beam.word_state[slot] = prefixes.state[prefix]
        beam.word_log_prob[slot] = 0.0
    elif fusion.closed and fusion.trie.word_starts[node] == fusion.trie.word_starts[node + 1]:
        beam.start_bound[slot] = -np.inf
    else:
        beam.start_bound[slot] += max(0.0, fusion.unknown_score) - expected(fusion, node, 0)
