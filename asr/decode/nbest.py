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


def read_nbest(fusion: Fusion, prefixes: Records, beam: Beam, n_wanted: int) -> NBest:
    """End the beam's prefixes; those that may not end are left out.

    Where none may end, because all are in the middle of a word, those words are left out instead;
    log p_ctc is that of the prefixes with them.

    Args:
        fusion: what scores
        prefixes: all prefixes
        beam: the beam after the last frame, its neural rows known
        n_wanted: where prefixes have been merged, how many hypotheses to make of them; else 0
    """
    n_active = int(beam.status[0]["n_active"])
    items = make_records((max(n_active, n_wanted),), _ITEM)
    n_found = _end(fusion, prefixes, beam, items)
    if not n_found:
        _leave_out_last_words(prefixes, beam)
        n_found = _end(fusion, prefixes, beam, items)
    order = np.empty(len(items), np.int32)
    order[:n_found] = np.argsort(-items["score"][:n_found], kind="stable")
    if n_wanted:
        n_found = _replace_ways(fusion, prefixes, items, order, n_found)
    order = order[:n_found]
    tokens, starts = _spelled(prefixes, items, order)
    if n_wanted:
        # What a way was replaced by may have been said in more frames than there were for it.
        fits = _frames_needed(tokens, starts) <= beam.status[0]["frame"]
        if not fits.all():
            order = order[fits]
            tokens, starts = _spelled(prefixes, items, order)
    best = items[order]
    score, acoustic, ngram, neural, bonus = (
        np.ascontiguousarray(best[name])
        for name in ("score", "acoustic", "ngram", "neural", "bonus")
    )
    return NBest(tokens, starts, score, acoustic, ngram, neural, bonus)


def _spelled(prefixes: Records, items: Records, order: Ints) -> tuple[Ints, Ints]:
    """Return the tokens of hypotheses, one after the other, and where each begins."""
    starts = np.zeros(len(order) + 1, np.int32)
    _measure(prefixes, items, order, starts)
    tokens = np.empty(starts[-1], np.int32)
    _spell(prefixes, items, order, starts, tokens)
    return tokens, starts


def _frames_needed(tokens: Ints, starts: Ints) -> Ints:
    """Return how many frames each hypothesis takes: between equal tokens there is a blank."""
    repeats = np.zeros(len(tokens) + 1, np.int32)
    repeats[1:-1] = tokens[1:] == tokens[:-1]
    # Behind the last token of a hypothesis begins another.
    repeats[starts] = 0
    before = np.concatenate([[0], np.cumsum(repeats)])
    return np.asarray(np.diff(starts) + np.diff(before[starts]), np.int32)


@compiled
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


@compiled
def _replace_ways(
    fusion: Fusion, prefixes: Records, items: Records, order: Ints, n_found: int
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

    Returns:
        How many there are now, each with other tokens.
    """
    n_done, n_items = 0, n_found
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
                if not is_full or score > items[order[n_found - 1]]["score"]:
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
                    place = n_found
                    while place > n_done and items[order[place - 1]]["score"] < score:
                        order[place] = order[place - 1]
                        place -= 1
                    order[place] = free
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
def _measure(prefixes: Records, items: Records, order: Ints, starts: Ints) -> None:
    """Fill in where the tokens of each hypothesis end."""
    for index in range(len(order)):
        length = 0
        number, until = order[index], 0
        while number >= 0:
            length += _n_tokens(prefixes, items[number]["row"], until)
            number, until = items[number]["origin"], items[number]["better"]
        starts[index + 1] = starts[index] + length


@compiled
def _spell(prefixes: Records, items: Records, order: Ints, starts: Ints, tokens: Ints) -> None:
    """Fill in the tokens: those up to an item's prefix, then the rest of what it was made from."""
    for index in range(len(order)):
        end = starts[index]
        number, until = order[index], 0
        while number >= 0:
            row = items[number]["row"]
            end += _n_tokens(prefixes, row, until)
            position = end
            while row != until:
                position -= 1
                tokens[position] = prefixes[row]["token"]
                row = prefixes[row]["parent"]
            number, until = items[number]["origin"], items[number]["better"]


@inner
def _n_tokens(prefixes: Records, row: int, until: int) -> int:
    """The number of tokens from behind one prefix to the end of another."""
    length = 0
    while row != until:
        length += 1
        row = prefixes[row]["parent"]
    return length
