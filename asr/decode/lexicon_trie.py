"""A lexicon as a trie in flat arrays that a beam walks token by token.

Its nodes are the beginnings of words in the order of a sorted word list.  Its arcs are tokens: a
token of several characters jumps over as many nodes, and every way to spell a word with tokens
leads to the same node.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decode.beam_arrays import Records, make_records
from asr.decode.compiled import inner
from asr.decode.spelling import Spelling
from asr.errors import LanguageModelError
from lm.array_file import read_arrays, write_arrays
from lm.automaton import compiled
from lm.backoff import Floats, Ints
from lm.compressed import PathName

__all__ = [
    "ROOT",
    "Trie",
    "build_trie",
    "ends_word",
    "find_node",
    "load_trie",
    "save_trie",
    "token_bit",
    "trie_of_words",
]

_logger = logging.getLogger(__name__)

_ARRAYS = ("arc_starts", "arc_tokens", "arc_nodes", "word_starts", "word_ids", "look_ahead")

# The node between words.
ROOT = 0

_Mask = NDArray[np.bool_]


class Trie(NamedTuple):
    """The arrays of a trie with N nodes, A arcs and E words.

    Args:
        nodes: (N + 1,) records: the first of a node's arcs, `arc_start`; the first of the words
            that end at it, `word_start`; the largest log-probability of the words that it is the
            beginning of, `look_ahead`, and of those that go on from it, `longer`; the tokens of
            its arcs as a set of bits, `tokens`, see `token_bit`
        arcs: (A,) records: `token`, rising within a node, the `node` that follows and its
            `look_ahead`; tokens that start words are at the root only
        word_ids: (E,) the language model's id of each word
    """

    nodes: Records
    arcs: Records
    word_ids: Ints


@inner
def find_node(trie: Trie, node: int, token: int) -> int:
    """The node after a token, -1 where no word goes on so."""
    arcs = trie.arcs
    low = trie.nodes[node]["arc_start"]
    end = trie.nodes[node + 1]["arc_start"]
    high = end
    while low < high:
        middle = (low + high) >> 1
        if arcs[middle]["token"] < token:
            low = middle + 1
        else:
            high = middle
    if low < end and arcs[low]["token"] == token:
        return int(arcs[low]["node"])
    return -1


@inner
def token_bit(token: int) -> np.uint64:
    """The bit that stands for a token in a set; tokens 64 apart share theirs."""
    return np.uint64(1) << np.uint64(token & 63)


@inner
def ends_word(trie: Trie, node: int) -> bool:
    """Whether a word ends at a node."""
    return bool(trie.nodes[node]["word_start"] < trie.nodes[node + 1]["word_start"])


def trie_of_words(
    words: Sequence[str], word_ids: Ints, log_probs: Floats, spelling: Spelling
) -> tuple[Trie, int]:
    """Build the trie of the words that tokens can spell.

    Args:
        words: in any order, each once
        word_ids: (E,) the language model's id of each word
        log_probs: (E,) for the look-ahead
        spelling: how the tokens spell words

    Returns:
        The trie, and how many words it leaves out because no tokens spell them.
    """
    characters = set("".join(spelling.texts))
    spelled = [i for i, word in enumerate(words) if word and characters.issuperset(word)]
    spelled.sort(key=words.__getitem__)
    trie = build_trie(
        [_code_points(words[index]) for index in spelled],
        word_ids[spelled],
        log_probs[spelled],
        [_code_points(text) for text in spelling.texts],
        spelling.starts,
    )
    return trie, len(words) - len(spelled)


def build_trie(
    words: Sequence[Ints],
    word_ids: Ints,
    log_probs: Floats,
    token_texts: Sequence[Ints],
    starts: Sequence[bool],
) -> Trie:
    """Build a trie of words that are sequences of characters or of any other units.

    Args:
        words: the units of each word, in the order of the units; words may be alike
        word_ids: (E,) the language model's id of each word
        log_probs: (E,) for the look-ahead
        token_texts: the units of each token
        starts: whether each token starts a word, so that it is an arc of the root only
    """
    parents, units, word_nodes = _insert(*_flat(words))
    look_ahead = np.full(len(parents), -np.inf, np.float32)
    np.maximum.at(look_ahead, word_nodes, log_probs)
    _raise_to_parents(look_ahead, parents)
    tokens = [token for token, text in enumerate(token_texts) if len(text)]
    tokens.sort(key=lambda token: token_texts[token].tolist())
    token_parents, token_units, token_nodes = _insert(*_flat([token_texts[t] for t in tokens]))
    arcs = _join(
        _children(parents),
        units,
        _children(token_parents),
        token_units,
        _offsets(token_nodes, len(token_parents)),
        np.array([starts[token] for token in tokens], np.bool_),
    )
    arc_tokens = np.array(tokens, np.int32)[arcs[1]]
    order = np.lexsort((arc_tokens, arcs[0]))
    return _trie(
        arc_starts=_offsets(arcs[0], len(parents)),
        arc_tokens=arc_tokens[order],
        arc_nodes=arcs[2][order],
        word_starts=_offsets(word_nodes, len(parents)),
        word_ids=word_ids.astype(np.int32),
        look_ahead=look_ahead,
    )


def save_trie(
    trie: Trie, path: PathName, made_from: int, more: Mapping[str, NDArray[Any]] | None = None
) -> None:
    """Write a trie to a file for `load_trie`.

    Args:
        trie: what to write
        path: the file
        made_from: a checksum of what it was made from
        more: further arrays, of the types that `lm.array_file` knows
    """
    nodes, arcs = trie.nodes, trie.arcs
    arrays = {
        "arc_starts": nodes["arc_start"],
        "arc_tokens": arcs["token"],
        "arc_nodes": arcs["node"],
        "word_starts": nodes["word_start"],
        "word_ids": trie.word_ids,
        "look_ahead": nodes["look_ahead"][:-1],
    }
    try:
        write_arrays(path, arrays | dict(more or {}), {"lexicon_made_from": made_from})
    except LanguageModelError as error:
        _logger.info("the lexicon's tables are not kept: %s", error)


def load_trie(path: PathName, made_from: int) -> tuple[Trie, dict[str, NDArray[Any]]] | None:
    """Read what `save_trie` wrote, and the further arrays.

    None where there is nothing, or it was made from something else.

    Raises:
        LanguageModelError: another format or version, or damage
    """
    if not Path(path).exists():
        return None
    arrays, fields = read_arrays(path)
    if fields.get("lexicon_made_from") != made_from:
        return None
    return _trie(**{name: arrays.pop(name) for name in _ARRAYS}), arrays


def _trie(
    arc_starts: Ints,
    arc_tokens: Ints,
    arc_nodes: Ints,
    word_starts: Ints,
    word_ids: Ints,
    look_ahead: Floats,
) -> Trie:
    node_fields = {
        "tokens": "u8",
        "arc_start": "i4",
        "word_start": "i4",
        "look_ahead": "f4",
        "longer": "f4",
    }
    nodes = make_records((len(arc_starts),), node_fields)
    nodes["arc_start"] = arc_starts
    nodes["word_start"] = word_starts
    nodes["look_ahead"][:-1] = look_ahead
    nodes["longer"] = -np.inf
    inner_nodes = np.flatnonzero(np.diff(arc_starts))
    if len(inner_nodes):
        first_arcs = arc_starts[inner_nodes]
        bits = np.uint64(1) << (arc_tokens.astype(np.uint64) & np.uint64(63))
        nodes["tokens"][inner_nodes] = np.bitwise_or.reduceat(bits, first_arcs)
        nodes["longer"][inner_nodes] = np.maximum.reduceat(look_ahead[arc_nodes], first_arcs)
    arcs = make_records((len(arc_tokens),), {"token": "i4", "node": "i4", "look_ahead": "f4"})
    arcs["token"] = arc_tokens
    arcs["node"] = arc_nodes
    arcs["look_ahead"] = look_ahead[arc_nodes]
    word_ids = np.ascontiguousarray(word_ids)
    for array in (nodes, arcs, word_ids):
        # One compiled version of every function serves built and loaded tries.
        array.setflags(write=False)
    return Trie(nodes, arcs, word_ids)


def _code_points(text: str) -> Ints:
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def _flat(sequences: Sequence[Ints]) -> tuple[Ints, Ints]:
    """All sequences one after the other, and (N + 1,) where each begins."""
    ends = np.cumsum([0, *map(len, sequences)]).astype(np.int32)
    return (np.concatenate(sequences) if sequences else np.zeros(0, np.int32)), ends


def _offsets(rising: Ints, n: int) -> Ints:
    """(n + 1,) where each of n values begins in a sorted array."""
    return np.searchsorted(rising, np.arange(n + 1)).astype(np.int32)


def _children(parents: Ints) -> tuple[Ints, Ints]:
    """(N + 1,) where each node's children begin in the list of all children."""
    order = np.argsort(parents[1:], kind="stable").astype(np.int32) + np.int32(1)
    return _offsets(parents[order], len(parents)), order


@compiled
def _insert(units: Ints, starts: Ints) -> tuple[Ints, Ints, Ints]:
    """Each node's parent and unit, and the node of each of the sorted sequences."""
    parents = np.full(len(units) + 1, -1, np.int32)
    node_units = np.full(len(units) + 1, -1, np.int32)
    ends = np.empty(len(starts) - 1, np.int32)
    path = np.zeros(len(units) + 1, np.int32)  # the nodes of the sequence before
    n_nodes = 1
    depth = 0
    for sequence in range(len(starts) - 1):
        length = starts[sequence + 1] - starts[sequence]
        shared = 0
        while (
            shared < depth
            and shared < length
            and node_units[path[shared + 1]] == units[starts[sequence] + shared]
        ):
            shared += 1
        for position in range(shared, length):
            parents[n_nodes] = path[position]
            node_units[n_nodes] = units[starts[sequence] + position]
            path[position + 1] = n_nodes
            n_nodes += 1
        depth = length
        ends[sequence] = path[length]
    return parents[:n_nodes].copy(), node_units[:n_nodes].copy(), ends


@compiled
def _raise_to_parents(values: Floats, parents: Ints) -> None:
    for node in range(len(parents) - 1, 0, -1):
        values[parents[node]] = max(values[parents[node]], values[node])


@compiled
def _join(
    children: tuple[Ints, Ints],
    units: Ints,
    token_children: tuple[Ints, Ints],
    token_units: Ints,
    token_starts: Ints,
    starts: _Mask,
) -> tuple[Ints, Ints, Ints]:
    """The node, token and following node of each arc, nodes rising.

    Walks down from each node and, at the same time, the trie of the tokens' texts.
    """
    found = np.empty((3, 4 * len(units) + len(starts)), np.int32)
    n_found = 0
    pairs = np.empty((len(units) + 1, 2), np.int32)
    for node in range(len(units)):
        pairs[0, 0], pairs[0, 1] = node, 0
        n_pairs = 1
        while n_pairs:
            n_pairs -= 1
            below, token_node = pairs[n_pairs, 0], pairs[n_pairs, 1]
            for token in range(token_starts[token_node], token_starts[token_node + 1]):
                if node == 0 or not starts[token]:
                    if n_found == found.shape[1]:
                        wider = np.empty((3, 2 * n_found), np.int32)
                        for row in range(3):
                            for arc in range(n_found):
                                wider[row, arc] = found[row, arc]
                        found = wider
                    found[0, n_found], found[1, n_found], found[2, n_found] = node, token, below
                    n_found += 1
            # Both lists of children rise.
            here, end = children[0][below], children[0][below + 1]
            there, token_end = token_children[0][token_node], token_children[0][token_node + 1]
            while here < end and there < token_end:
                unit = units[children[1][here]]
                token_unit = token_units[token_children[1][there]]
                if unit == token_unit:
                    pairs[n_pairs, 0] = children[1][here]
                    pairs[n_pairs, 1] = token_children[1][there]
                    n_pairs += 1
                here += unit <= token_unit
                there += token_unit <= unit
    return found[0, :n_found].copy(), found[1, :n_found].copy(), found[2, :n_found].copy()
