"""Prefixes from which all models go on alike, merged in the compiled search.

Two prefixes that end in the same token, have reached the same node of the lexicon and left the
language model and the hotwords in the same states get the same scores for whatever follows.  The
better of them stays in the beam; the other is noted in its row, a link with how much worse it
was, from which `asr.decode.nbest` makes hypotheses again.  A row in the beam has no link upwards,
so that links make trees.

Reference: Ortmanns, Ney and Aubert 1997, A word graph algorithm for large vocabulary continuous
speech recognition.
"""

import numpy as np

from asr.decode.beam_arrays import Beam, Records
from asr.decode.compiled import inner

__all__ = ["link", "note_all", "note_slot", "slot_with_same_future", "unlink"]


@inner
def note_all(prefixes: Records, beam: Beam) -> None:
    """Begin the table of a frame with the prefixes that are in the beam."""
    beam.status[0]["stamp"] += 1
    for position in range(beam.status[0]["n_active"]):
        note_slot(prefixes, beam, int(beam.lists[position]["active"]))


@inner
def note_slot(prefixes: Records, beam: Beam, number: int) -> None:
    """Put the prefix in a slot into the table."""
    now, table = beam.status[0]["stamp"], beam.futures
    entry = _first_entry(prefixes[beam.slots[number]["prefix"]], len(table))
    while table[entry]["stamp"] == now:
        entry = (entry + 1) & (len(table) - 1)
    table[entry]["stamp"] = now
    table[entry]["slot"] = number


@inner
def slot_with_same_future(prefixes: Records, beam: Beam, row: int) -> int:
    """The slot of the prefix from which all go on as from another, -1 if there is none."""
    now, table, prefix = beam.status[0]["stamp"], beam.futures, prefixes[row]
    entry = _first_entry(prefix, len(table))
    while table[entry]["stamp"] == now:
        number = table[entry]["slot"]
        other = prefixes[beam.slots[number]["prefix"]]
        if (
            other["node"] == prefix["node"]
            and other["state"] == prefix["state"]
            and other["token"] == prefix["token"]
            and other["hotword_state"] == prefix["hotword_state"]
        ):
            return int(number)
        entry = (entry + 1) & (len(table) - 1)
    return -1


@inner
def _first_entry(prefix: np.void, size: int) -> int:
    """Where in a table of 2^n entries to look first."""
    key = np.int64(prefix["state"]) * np.int64(0x9E3779B1) + np.int64(prefix["node"])
    key = key * np.int64(0x85EBCA6B) + np.int64(prefix["token"])
    return int((key ^ (key >> np.int64(29))) & np.int64(size - 1))


@inner
def link(prefixes: Records, row: int, better: int, loss: float) -> None:
    """Note a prefix in the row of a better one; loss is the difference of their scores, <= 0."""
    prefix = prefixes[row]
    if prefix["better"] == better:
        prefix["loss"] = max(prefix["loss"], loss)
    elif prefix["better"] < 0:
        prefix["better"] = better
        prefix["loss"] = loss
        prefix["next_worse"] = prefixes[better]["worse"]
        prefixes[better]["worse"] = row


@inner
def unlink(prefixes: Records, row: int) -> None:
    """Undo the link of a prefix that enters the beam after all."""
    better = prefixes[row]["better"]
    if better < 0:
        return
    after = prefixes[row]["next_worse"]
    if prefixes[better]["worse"] == row:
        prefixes[better]["worse"] = after
    else:
        other = prefixes[better]["worse"]
        while prefixes[other]["next_worse"] != row:
            other = prefixes[other]["next_worse"]
        prefixes[other]["next_worse"] = after
    prefixes[row]["better"] = -1
