"""What language models, word counts and hotwords add to a prefix, for the compiled beam search.

    added(y) = alpha * log p_ngram(y) + gamma * log p_neural(y) + beta * |y|
               + unknown_score * unknown words + hotword bonuses + expected(y)

expected(y) foresees the word that is being spelled: alpha times the log-probability of the
likeliest word by the unigrams, and the part of a hotword's bonus that its beginning has earned.
It is part of no final score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Records
from asr.decode.hotwords import Hotwords
from asr.decode.lexicon_trie import ROOT, Trie, find_node
from asr.decode.spelling import Spelling
from lm.automaton import Automaton, compiled, lookup

__all__ = [
    "NO_MODEL",
    "TOKENS",
    "UNKNOWN_NODE",
    "WORDS",
    "Extension",
    "Fusion",
    "Word",
    "added_score",
    "complete_word",
    "expected_word",
    "extend",
    "finish",
    "make_tokens",
]

# The units of a language model.
NO_MODEL, WORDS, TOKENS = 0, 1, 2

# Where a word is that is no beginning of a word in the lexicon.
UNKNOWN_NODE = -1


class Fusion(NamedTuple):
    """Everything that scores prefixes; V tokens.

    Args:
        trie: the lexicon
        automaton: the n-gram model
        hotwords: the hotwords
        tokens: (V,) records, see `make_tokens`
        alpha: weight of the n-gram model
        beta: score of a word
        gamma: weight of the neural model
        unknown_score: score of a word outside the lexicon
        unknown_expected: what such a word is expected to add
        closed: whether there are no such words
        ngram_units: NO_MODEL, WORDS or TOKENS
        neural_units: NO_MODEL or TOKENS
        hotword_bound: the most that one token adds for hotwords
        start_bound: the most that a token adds that starts a word, beside the word before it
    """

    trie: Trie
    automaton: Automaton
    hotwords: Hotwords
    tokens: Records
    alpha: float
    beta: float
    gamma: float
    unknown_score: float
    unknown_expected: float
    closed: bool
    ngram_units: int
    neural_units: int
    hotword_bound: float
    start_bound: float


class Word(NamedTuple):
    """The word that a prefix ends with: whether it may end, and what it adds."""

    possible: bool
    n_unknown: int
    log_prob: float
    state: int


class Extension(NamedTuple):
    """A prefix with one token more; the fields are those of `Prefixes`."""

    node: int
    state: int
    n_words: int
    n_unknown: int
    hotword_state: int
    ngram: float
    neural: float
    hotword_score: float
    added: float


@compiled
def complete_word(fusion: Fusion, node: int, state: int) -> Word:
    """Complete the word that is being spelled, with the n-gram model's score of words."""
    if node == ROOT:
        return Word(True, 0, 0.0, state)
    trie = fusion.trie
    word_id, n_unknown = 0, 1
    if node >= 0 and trie.word_starts[node] < trie.word_starts[node + 1]:
        word_id, n_unknown = trie.word_ids[trie.word_starts[node]], 0
    if n_unknown and fusion.closed:
        return Word(False, 0, 0.0, state)
    log_prob = 0.0
    if fusion.ngram_units == WORDS:
        log_prob, state = lookup(fusion.automaton, state, word_id)
    return Word(True, n_unknown, log_prob, state)


@compiled
def expected_word(fusion: Fusion, node: int) -> float:
    """What is foreseen of the word that is being spelled."""
    if node == ROOT:
        return 0.0
    score = -np.inf if fusion.closed else fusion.unknown_expected
    if node > ROOT:
        score = max(score, fusion.alpha * fusion.trie.look_ahead[node])
    return score


@compiled
def added_score(
    fusion: Fusion,
    ngram: float,
    neural: float,
    n_words: int,
    n_unknown: int,
    hotword_score: float,
) -> float:
    """Weigh what models and counts say, without what is expected."""
    return (
        fusion.alpha * ngram
        + fusion.gamma * neural
        + fusion.beta * n_words
        + fusion.unknown_score * n_unknown
        + hotword_score
    )


@compiled
def extend(
    fusion: Fusion, prefixes: Records, prefix: int, token: int, word: Word, neural: float
) -> Extension:
    """Append a token to a prefix.

    Args:
        fusion: what scores
        prefixes: all prefixes
        prefix: row of the prefix
        token: the token, not the blank
        word: the prefix's last word complete, if the token starts a word
        neural: the neural model's log-probability of the token

    Returns:
        The longer prefix; its `added` is -inf if there may be none.
    """
    old = prefixes[prefix]
    this = fusion.tokens[token]
    node, state, ngram = old["node"], old["state"], old["ngram"]
    n_words, n_unknown = old["n_words"], old["n_unknown"]
    hotword_state, hotword_score = old["hotword_state"], old["hotword_score"]
    possible = True
    if this["starts"]:
        possible = word.possible
        ngram += word.log_prob
        state = word.state
        n_unknown += word.n_unknown
        n_words += this["has_text"]
        hotword_score += fusion.hotwords.complete[hotword_state]
        node = this["root_node"]
    else:
        n_words += node == ROOT
        node = find_node(fusion.trie, node, token) if node >= 0 else UNKNOWN_NODE
    hotword_state = fusion.hotwords.following[hotword_state, token]
    if fusion.ngram_units == TOKENS:
        log_prob, state = lookup(fusion.automaton, state, this["id"])
        ngram += log_prob
    neural += old["neural"]
    added = -np.inf
    if possible and (node >= 0 or not fusion.closed):
        added = added_score(fusion, ngram, neural, n_words, n_unknown, hotword_score)
        added += expected_word(fusion, node) + fusion.hotwords.expected[hotword_state]
    return Extension(
        node, state, n_words, n_unknown, hotword_state, ngram, neural, hotword_score, added
    )


@compiled
def finish(fusion: Fusion, prefixes: Records, prefix: int, neural: float) -> Extension:
    """End a prefix with </s>; `added` is -inf if it may not end, and expects nothing.

    Args:
        fusion: what scores
        prefixes: all prefixes
        prefix: row of the prefix
        neural: the neural model's log-probability of the end
    """
    old = prefixes[prefix]
    word = complete_word(fusion, old["node"], old["state"])
    ngram = old["ngram"] + word.log_prob
    if fusion.ngram_units != NO_MODEL:
        ngram += fusion.automaton.final_log_probs[word.state]
    neural += old["neural"]
    n_unknown = old["n_unknown"] + word.n_unknown
    hotword_score = old["hotword_score"] + fusion.hotwords.complete[old["hotword_state"]]
    added = -np.inf
    if word.possible:
        added = added_score(fusion, ngram, neural, old["n_words"], n_unknown, hotword_score)
    return Extension(
        ROOT, word.state, old["n_words"], n_unknown, 0, ngram, neural, hotword_score, added
    )


def make_tokens(spelling: Spelling, trie: Trie, ids: Sequence[int]) -> Records:
    """The table of tokens.

    Args:
        spelling: how tokens spell words
        trie: the lexicon
        ids: the n-gram model's id of each token, if it is a model of tokens
    """
    fields = [("starts", "i4"), ("has_text", "i4"), ("root_node", "i4"), ("id", "i4")]
    tokens = np.zeros(len(ids), fields)
    tokens["starts"] = spelling.starts
    tokens["has_text"] = [bool(text) for text in spelling.texts]
    tokens["id"] = ids
    # Where a token that starts a word leads: tokens without text stay between words.
    tokens["root_node"] = [
        find_node(trie, ROOT, token) if text else ROOT for token, text in enumerate(spelling.texts)
    ]
    tokens.setflags(write=False)
    return tokens
