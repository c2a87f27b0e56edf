"""The best prefixes of a beam as token sequences with their scores."""

from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Beam, Doubles, Records, make_records
from asr.decode.compiled import compiled, inner
from asr.decode.engine import settle
from asr.decode.fusion import TOKENS, Fusion, finish, word_bonus
from asr.decode.lexicon_trie import ROOT
from asr.decode.survival import HASH_FACTOR
from lm.backoff import Ints

__all__ = ["NBest", "Wanted", "read_nbest"]


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


# Fields of an item: a hypothesis, which ends a prefix of the beam or is made from another one by
# going back not to a prefix on its way but to a worse one that had the same future.
_ITEM = {
    "score": "f8",
    "acoustic": "f8",
    "ngram": "f8",
    "neural": "f8",
    "bonus": "f8",
    "hash": "i8",  # of its tokens
    "power": "i8",  # HASH_FACTOR to the number of its tokens behind `row`
    "row": "i4",  # the prefix that it ends, or the worse one
    "better": "i4",  # the prefix that is replaced, of the item that it was made from
    "origin": "i4",  # that item, -1 for none
}


class Wanted(NamedTuple):
    """Which hypotheses to make where prefixes have been merged.

    Args:
        at_most: how many, those that end prefixes of the beam included; 0 makes none
        at_least: as many, if there are, however bad they are
        spread: beyond that, only such as score less than the best by no more
    """

    at_most: int
    at_least: int
    spread: float


def read_nbest(fusion: Fusion, prefixes: Records, beam: Beam, wanted: Wanted) -> NBest:
    """End the beam's prefixes; those that may not end are left out.

    Where none may end, because all are in the middle of a word, those words are left out instead;
    log p_ctc is that of the prefixes with them.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam after the last frame, its neural rows known
        wanted: what to make of merged prefixes
    """
    n_items = max(int(beam.status[0]["n_active"]), wanted.at_most)
    items = make_records((n_items,), _ITEM)
    order, starts = np.empty(n_items, np.int32), np.zeros(n_items + 1, np.int32)
    n_found = _find(fusion, prefixes, beam, items, order, starts, wanted)
    starts = starts[: n_found + 1]
    tokens, table = np.empty(starts[-1], np.int32), np.empty((5, n_found))
    _spell(prefixes, items, order, starts, tokens, table)
    return NBest(tokens, starts, *table)


@compiled
def _find(
    fusion: Fusion,
    prefixes: Records,
    beam: Beam,
    items: Records,
    order: Ints,
    starts: Ints,
    wanted: Wanted,
) -> int:
    """Fill in the hypotheses, their order, best first, and where the tokens of each begin.

    Returns:
        How many there are.
    """
    n_ended = _end(fusion, prefixes, beam, items)
    if not n_ended:
        _leave_out_last_words(fusion, prefixes, beam)
        n_ended = _end(fusion, prefixes, beam, items)
    for number in range(n_ended):
        _insert(items, order, number, 0, number)
    n_found = n_ended
    if wanted.at_most:
        n_found = _replace_ways(fusion, prefixes, items, order, n_ended, wanted)
    n_frames = beam.status[0]["frame"]
    n_fit = 0
    for index in range(n_found):
        number, until = order[index], 0
        order[n_fit] = number
        n_tokens = n_repeats = 0
        while number >= 0:
            row = items[number]["row"]
            while row != until:
                prefix = prefixes[row]
                n_tokens += 1
                n_repeats += prefix["token"] == prefixes[prefix["parent"]]["token"]
                row = prefix["parent"]
            number, until = items[number]["origin"], items[number]["better"]
        # What a way was replaced by may have been said in more frames than there were for it.
        if n_tokens + n_repeats <= n_frames:
            starts[n_fit + 1] = starts[n_fit] + n_tokens
            n_fit += 1
    return n_fit


@inner
def _insert(items: Records, order: Ints, n_items: int, first: int, number: int) -> None:
    """Put an item in its place among some in order, behind those as good."""
    place, score = n_items, items[number]["score"]
    while place > first and items[order[place - 1]]["score"] < score:
        order[place] = order[place - 1]
        place -= 1
    order[place] = number


@inner
def _end(fusion: Fusion, prefixes: Records, beam: Beam, items: Records) -> int:
    """Fill in items for the prefixes that may end; returns how many there are."""
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
        if prefix["slot"] != number:
            continue
        # The row stays as it is: others go on from it.
        before = prefix["ngram"], prefix["neural"], prefix["hotword_score"], prefix["added"]
        n_unknown = prefix["n_unknown"]
        if finish(fusion, prefix, neural):
            item = items[n_found]
            item["acoustic"] = slot["total"] + status["offset"]
            item["score"] = item["acoustic"] + prefix["added"]
            item["ngram"] = prefix["ngram"]
            item["neural"] = prefix["neural"]
            item["bonus"] = word_bonus(fusion, prefix)
            item["hash"] = prefix["hash"]
            item["power"] = 1
            item["row"] = slot["prefix"]
            item["better"] = item["origin"] = -1
            n_found += 1
        prefix["ngram"], prefix["neural"], prefix["hotword_score"], prefix["added"] = before
        prefix["n_unknown"] = n_unknown
    return n_found


@inner
def _replace_ways(
    fusion: Fusion, prefixes: Records, items: Records, order: Ints, n_found: int, wanted: Wanted
) -> int:
    """Add the best hypotheses that merged prefixes stand for.

    An item lies behind the one that it was made from, so that going through them best first, and
    keeping no more of those to come than are wanted, finds the best.

    Args:
        fusion: what scores
        prefixes: all prefixes
        items: the hypotheses found; the rest is room for more
        order: of the items, best first
        n_found: how many there are
        wanted: how many there are to be

    Returns:
        How many there are now, each with other tokens.
    """
    n_done, n_items = 0, n_found
    least = items[order[0]]["score"] - wanted.spread if n_found else 0.0
    while n_done < n_found:
        number = order[n_done]
        item = items[number]
        if _is_known(items, order, n_done):
            for place in range(n_done + 1, n_found):
                order[place - 1] = order[place]
            n_found -= 1
            continue
        n_done += 1
        power = item["power"]
        row = item["row"]
        while row >= 0:
            better = prefixes[row]
            worse = better["worse"]
            while worse >= 0:
                other = prefixes[worse]
                score = item["score"] + other["loss"]
                is_full = n_items == len(items)
                if is_full and n_found == n_done:
                    return n_found
                is_good = score >= least or n_found < wanted.at_least
                if is_good and (not is_full or score > items[order[n_found - 1]]["score"]):
                    if is_full:
                        n_found -= 1
                        free = order[n_found]
                    else:
                        free = n_items
                        n_items += 1
                    _replace_way(fusion, items[free], item, better, other)
                    made = items[free]
                    made["score"] = score
                    made["hash"] = item["hash"] + power * (other["hash"] - better["hash"])
                    made["power"] = power
                    made["row"], made["better"], made["origin"] = worse, row, number
                    _insert(items, order, n_found, n_done, free)
                    n_found += 1
                worse = other["next_worse"]
            power *= HASH_FACTOR
            row = better["parent"]
    return n_found


@inner
def _is_known(items: Records, order: Ints, n_done: int) -> bool:
    """Whether a better hypothesis has the same tokens as the next."""
    value, place = items[order[n_done]]["hash"], 0
    while place < n_done and items[order[place]]["hash"] != value:
        place += 1
    return place < n_done


@inner
def _replace_way(
    fusion: Fusion, made: np.void, item: np.void, better: np.void, worse: np.void
) -> None:
    """What models say of an item with one way in it replaced by a worse one."""
    made["ngram"] = item["ngram"] + worse["ngram"] - better["ngram"]
    made["neural"] = item["neural"] + worse["neural"] - better["neural"]
    made["bonus"] = item["bonus"] + word_bonus(fusion, worse) - word_bonus(fusion, better)
    gain = worse["added"] - better["added"]
    made["acoustic"] = item["acoustic"] + worse["loss"] - gain


@inner
def _leave_out_last_words(fusion: Fusion, prefixes: Records, beam: Beam) -> None:
    """Go back to where the words that are being spelled began."""
    slots, lists = beam.slots, beam.lists
    n_active = beam.status[0]["n_active"]
    for position in range(n_active):
        slot = slots[lists[position]["active"]]
        starts = 0
        while prefixes[slot["prefix"]]["node"] != ROOT and not starts:
            starts = fusion.tokens[prefixes[slot["prefix"]]["token"]]["starts"]
            slot["prefix"] = prefixes[slot["prefix"]]["parent"]
        prefixes[slot["prefix"]]["slot"] = -1
    # Of those that are equal now, the best stands for all.
    for position in range(n_active):
        number = lists[position]["active"]
        prefix = prefixes[slots[number]["prefix"]]
        if prefix["slot"] < 0 or slots[number]["total"] > slots[prefix["slot"]]["total"]:
            prefix["slot"] = number


@compiled
def _spell(
    prefixes: Records, items: Records, order: Ints, starts: Ints, tokens: Ints, table: Doubles
) -> None:
    """Fill in the parts of the scores, and the tokens.

    The tokens are those up to an item's prefix, then the rest of what it was made from.
    """
    for index in range(len(starts) - 1):
        item = items[order[index]]
        table[0, index] = item["score"]
        table[1, index] = item["acoustic"]
        table[2, index] = item["ngram"]
        table[3, index] = item["neural"]
        table[4, index] = item["bonus"]
        end = starts[index]
        number, until = order[index], 0
        while number >= 0:
            row = items[number]["row"]
            while row != until:
                end += 1
                row = prefixes[row]["parent"]
            position, row = end, items[number]["row"]
            while row != until:
                position -= 1
                tokens[position] = prefixes[row]["token"]
                row = prefixes[row]["parent"]
            number, until = items[number]["origin"], items[number]["better"]
