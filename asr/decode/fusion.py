"""What language models, word counts and hotwords add to a prefix, for the compiled beam search.

    added(y) = alpha * log p_ngram(y) + gamma * log p_neural(y) + beta * |y|
               + unknown_score * unknown words + hotword bonuses + expected(y)

expected(y) foresees the word that is being spelled: alpha times the log-probability of the
likeliest word by the unigrams, and the part of a hotword's bonus that its beginning has earned.
It is part of no final score.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decode.beam_arrays import Prefixes
from asr.decode.hotwords import Hotwords
from asr.decode.lexicon_trie import ROOT, Trie, find_node
from lm.automaton import Automaton, compiled, lookup
from lm.backoff import Ints

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
    "expected",
    "extend",
    "finish",
]

# The units of a language model.
NO_MODEL, WORDS, TOKENS = 0, 1, 2

# Where a word is that is no beginning of a word in the lexicon.
UNKNOWN_NODE = -1

_Booleans = NDArray[np.bool_]
_Doubles = NDArray[np.float64]


class Fusion(NamedTuple):
    """Everything that scores prefixes; V tokens.

    Args:
        trie: the lexicon
        automaton: the n-gram model
        hotwords: the hotwords
        starts: (V,) whether a token starts a word
        has_text: (V,) whether a token adds text to a word
        root_nodes: (V,) the node after a token that starts a word, UNKNOWN_NODE where no word
            starts so
        token_ids: (V,) the n-gram model's id of each token, if it is a model of tokens
        alpha: weight of the n-gram model
        beta: score of a word
        gamma: weight of the neural model
        unknown_score: score of a word outside the lexicon
        unknown_look_ahead: what the n-gram model expects to give such a word
        closed: whether there are no such words
        ngram_units: NO_MODEL, WORDS or TOKENS
        neural_units: NO_MODEL or TOKENS
        hotword_bound: the most that one token adds for hotwords
        start_bound: the most that a token adds that starts a word, beside the word before it
    """

    trie: Trie
    automaton: Automaton
    hotwords: Hotwords
    starts: _Booleans
    has_text: _Booleans
    root_nodes: Ints
    token_ids: Ints
    alpha: float
    beta: float
    gamma: float
    unknown_score: float
    unknown_look_ahead: float
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
    word_id, n_unknown = 0, 1
    if node >= 0 and fusion.trie.word_starts[node] < fusion.trie.word_starts[node + 1]:
        word_id, n_unknown = fusion.trie.word_ids[fusion.trie.word_starts[node]], 0
    if n_unknown and fusion.closed:
        return Word(False, 0, 0.0, state)
    log_prob = 0.0
    if fusion.ngram_units == WORDS:
        log_prob, state = lookup(fusion.automaton, state, word_id)
    return Word(True, n_unknown, log_prob, state)


@compiled
def expected(fusion: Fusion, node: int, hotword_state: int) -> float:
    """What is foreseen of the word and the hotword that are being spelled."""
    score = fusion.hotwords.expected[hotword_state]
    if node == ROOT:
        return score
    word_score = -np.inf if fusion.closed else fusion.unknown_look_ahead
    if node > ROOT:
        word_score = max(word_score, fusion.alpha * fusion.trie.look_ahead[node])
    return score + word_score


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
    fusion: Fusion, prefixes: Prefixes, prefix: int, token: int, word: Word, neural: float
) -> Extension:
    """Append a token to a prefix.

    Args:
        fusion: what scores
        prefixes: the prefixes
        prefix: row of the prefix
        token: the token, not the blank
        word: the prefix's last word complete, if the token starts a word
        neural: the neural model's log-probability of the token

    Returns:
        The longer prefix; its `added` is -inf if there may be none.
    """
    node, state = prefixes.node[prefix], prefixes.state[prefix]
    ngram, n_unknown = prefixes.ngram[prefix], prefixes.n_unknown[prefix]
    n_words = prefixes.n_words[prefix]
    hotword_state = prefixes.hotword_state[prefix]
    hotword_score = prefixes.hotword_score[prefix]
    possible = True
    if fusion.starts[token]:
        possible = word.possible
        ngram, state = ngram + word.log_prob, word.state
        n_unknown += word.n_unknown
        n_words += fusion.has_text[token]
        hotword_score += fusion.hotwords.complete[hotword_state]
        node = fusion.root_nodes[token]
    else:
        n_words += node == ROOT
        node = find_node(fusion.trie, node, token) if node >= 0 else UNKNOWN_NODE
    hotword_state = fusion.hotwords.following[hotword_state, token]
    if fusion.ngram_units == TOKENS:
        log_prob, state = lookup(fusion.automaton, state, fusion.token_ids[token])
        ngram += log_prob
    neural += prefixes.neural[prefix]
    added = -np.inf
    if possible and (node >= 0 or not fusion.closed):
        added = added_score(fusion, ngram, neural, n_words, n_unknown, hotword_score)
        added += expected(fusion, node, hotword_state)
    return Extension(
        node, state, n_words, n_unknown, hotword_state, ngram, neural, hotword_score, added
    )


@compiled
def finish(fusion: Fusion, prefixes: Prefixes, prefix: int, neural: float) -> Extension:
    """End a prefix with </s>; `added` is -inf if it may not end, and expects nothing.

    Args:
        fusion: what scores
        prefixes: the prefixes
        prefix: row of the prefix
        neural: the neural model's log-probability of the end
    """
    word = complete_word(fusion, prefixes.node[prefix], prefixes.state[prefix])
    ngram = prefixes.ngram[prefix] + word.log_prob
    if fusion.ngram_units != NO_MODEL:
        ngram += fusion.automaton.final_log_probs[word.state]
    neural += prefixes.neural[prefix]
    n_words = prefixes.n_words[prefix]
    n_unknown = prefixes.n_unknown[prefix] + word.n_unknown
    hotword_state = prefixes.hotword_state[prefix]
    hotword_score = prefixes.hotword_score[prefix] + fusion.hotwords.complete[hotword_state]
    added = -np.inf
    if word.possible:
        added = added_score(fusion, ngram, neural, n_words, n_unknown, hotword_score)
    return Extension(
        ROOT, word.state, n_words, n_unknown, 0, ngram, neural, hotword_score, added
    )
