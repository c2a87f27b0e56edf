"""What language models, word counts and hotwords add to a prefix, for the compiled beam search.

    added(y) = alpha * log p_ngram(y) + gamma * log p_neural(y) + beta * |y|
               + unknown_score * unknown words + hotword bonuses + expected(y)

expected(y) foresees the word that is being spelled: the log-probability of the likeliest word by
the unigrams, weighed as all models of words together, and the part of a hotword's bonus that its
beginning has earned.  It is part of no final score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from asr.decode.beam_arrays import Records, make_records
from asr.decode.compiled import inner
from asr.decode.hotwords import Hotwords
from asr.decode.lexicon_trie import ROOT, Trie, ends_word
from asr.decode.spelling import Spelling
from lm.automaton import Automaton, lookup

__all__ = [
    "NO_MODEL",
    "TOKENS",
    "UNKNOWN_NODE",
    "WORDS",
    "Fusion",
    "Word",
    "begins_word",
    "complete_word",
    "expected_word",
    "extend",
    "final_score",
    "finish",
    "make_tokens",
    "token_gain",
    "word_bonus",
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
        ahead: weight of the log-probability of the word that is being spelled
        unknown_score: score of a word outside the lexicon
        unknown_expected: what such a word is expected to add; -inf where there is none
        closed: whether there are no such words
        ngram_units: NO_MODEL, WORDS or TOKENS
        neural_units: NO_MODEL, WORDS or TOKENS
        simple: whether there are no models of tokens and no hotwords
        token_bound: the most that those add with one token
        start_bound: the most that the lexicon and the word model add with a token that begins a
            word, beside the word before it
    """

    trie: Trie
    automaton: Automaton
    hotwords: Hotwords
    tokens: Records
    alpha: float
    beta: float
    gamma: float
    ahead: float
    unknown_score: float
    unknown_expected: float
    closed: bool
    ngram_units: int
    neural_units: int
    simple: bool
    token_bound: float
    start_bound: float


class Word(NamedTuple):
    """The word that a prefix ends with: whether it may end, and what it adds.

    Args:
        possible: whether it may end here
        n_unknown: whether it is outside the lexicon
        log_prob: by an n-gram model of words
        state: of that model, after it
        neural: log-probability by a neural model of words
        history: number of the words up to it, for the neural model
    """

    possible: bool
    n_unknown: int
    log_prob: float
    state: int
    neural: float
    history: int


@inner
def complete_word(fusion: Fusion, node: int, state: int) -> Word:
    """Complete the word that is being spelled, with the n-gram model's score of words alone."""
    if node == ROOT:
        return Word(True, 0, 0.0, state, 0.0, 0)
    word_id, n_unknown = 0, 1
    if node >= 0 and ends_word(fusion.trie, node):
        word_id, n_unknown = int(fusion.trie.word_ids[fusion.trie.nodes[node]["word_start"]]), 0
    if n_unknown and fusion.closed:
        return Word(False, 0, 0.0, state, 0.0, 0)
    log_prob = 0.0
    if fusion.ngram_units == WORDS:
        log_prob, state = lookup(fusion.automaton, state, word_id)
    return Word(True, n_unknown, log_prob, state, 0.0, 0)


@inner
def expected_word(fusion: Fusion, node: int) -> float:
    """What is foreseen of the word that is being spelled."""
    if node == ROOT:
        return 0.0
    if node < 0:
        return fusion.unknown_expected
    look_ahead = fusion.ahead * fusion.trie.nodes[node]["look_ahead"]
    return float(max(fusion.unknown_expected, look_ahead))


@inner
def token_gain(fusion: Fusion, prefix: np.void, token: int, neural: float) -> float:
    """What models of tokens and hotwords add with a token.

    Args:
        fusion: what scores
        prefix: the prefix before it
        token: the token, not the blank
        neural: log-probability of the token by a neural model of tokens
    """
    added = fusion.gamma * neural
    if fusion.ngram_units == TOKENS:
        token_id = int(fusion.tokens[token]["id"])
        added += fusion.alpha * lookup(fusion.automaton, int(prefix["state"]), token_id)[0]
    before = fusion.hotwords.states[prefix["hotword_state"]]
    after = fusion.hotwords.states[fusion.hotwords.following[prefix["hotword_state"], token]]
    if fusion.tokens[token]["starts"]:
        added += before["complete"]
    return float(added + after["expected"] - before["expected"])


@inner
def extend(
    fusion: Fusion,
    prefix: np.void,
    longer: np.void,
    token: int,
    node: int,
    word: Word,
    neural: float,
) -> None:
    """Fill in what models and counts say of a prefix with one token more that may be.

    Args:
        fusion: what scores
        prefix: the prefix
        longer: the row of the longer prefix
        token: the token, not the blank
        node: where it leads in the lexicon
        word: the prefix's last word complete, if the token starts a word
        neural: log-probability of the token by a neural model of tokens
    """
    state, ngram, history = int(prefix["state"]), prefix["ngram"], int(prefix["history"])
    n_unknown, hotword_score = prefix["n_unknown"], prefix["hotword_score"]
    if fusion.tokens[token]["starts"]:
        state = word.state
        ngram += word.log_prob
        neural += word.neural
        if prefix["node"] != ROOT:
            history = word.history
        n_unknown += word.n_unknown
        hotword_score += fusion.hotwords.states[prefix["hotword_state"]]["complete"]
    if fusion.ngram_units == TOKENS:
        log_prob, state = lookup(fusion.automaton, state, int(fusion.tokens[token]["id"]))
        ngram += log_prob
    hotword_state = fusion.hotwords.following[prefix["hotword_state"], token]
    longer["node"] = node
    longer["state"] = state
    longer["history"] = history
    longer["hotword_state"] = hotword_state
    longer["n_words"] = prefix["n_words"] + begins_word(fusion, int(prefix["node"]), token)
    longer["n_unknown"] = n_unknown
    longer["ngram"] = ngram
    longer["neural"] = prefix["neural"] + neural
    longer["hotword_score"] = hotword_score
    expected = expected_word(fusion, node) + fusion.hotwords.states[hotword_state]["expected"]
    longer["added"] = final_score(fusion, longer) + expected


@inner
def begins_word(fusion: Fusion, node: int, token: int) -> bool:
    """Whether a token begins a word that counts, after a prefix that has reached a node."""
    this = fusion.tokens[token]
    return this["has_text"] != 0 and (node == ROOT or this["starts"] != 0)


@inner
def final_score(fusion: Fusion, prefix: np.void) -> float:
    """Weigh what models and counts say of a prefix, without what is expected."""
    models = fusion.alpha * prefix["ngram"] + fusion.gamma * prefix["neural"]
    return float(models + word_bonus(fusion, prefix))


@inner
def word_bonus(fusion: Fusion, prefix: np.void) -> float:
    """The scores of words, unknown words and hotwords."""
    words = fusion.beta * prefix["n_words"] + fusion.unknown_score * prefix["n_unknown"]
    return float(words + prefix["hotword_score"])


@inner
def finish(fusion: Fusion, prefix: np.void, neural: float) -> bool:
    """End a prefix with </s>: the row becomes that of the finished sequence.

    Args:
        fusion: what scores
        prefix: the prefix
        neural: the neural model's log-probability of the end, and of the last word if it is a
            model of words

    Returns:
        Whether it may end.
    """
    word = complete_word(fusion, int(prefix["node"]), int(prefix["state"]))
    if not word.possible:
        return False
    prefix["ngram"] += word.log_prob
    if fusion.ngram_units != NO_MODEL:
        prefix["ngram"] += fusion.automaton.final_log_probs[word.state]
    prefix["neural"] += neural
    prefix["n_unknown"] += word.n_unknown
    prefix["hotword_score"] += fusion.hotwords.states[prefix["hotword_state"]]["complete"]
    prefix["added"] = final_score(fusion, prefix)
    return True


def make_tokens(
    spelling: Spelling, trie: Trie, ids: Sequence[int], ahead: float, beta: float, unknown: float
) -> Records:
    """The table of tokens.

    Args:
        spelling: how tokens spell words
        trie: the lexicon
        ids: the n-gram model's id of each token, if it is a model of tokens
        ahead: weight of a word's log-probability
        beta: score of a word
        unknown: what a word outside the lexicon is expected to add; -inf where there is none

    Returns:
        (V,) records: `starts` and `has_text` as in `Spelling`; `id`; `node`, where the token leads
        from between words, and `gain`, what the lexicon and the word model add there.
    """
    fields = {"starts": "i4", "has_text": "i4", "id": "i4", "node": "i4", "gain": "f8"}
    tokens = make_records((len(ids),), fields)
    tokens["starts"] = spelling.starts
    tokens["has_text"] = [bool(text) for text in spelling.texts]
    tokens["id"] = ids
    # Tokens without text stay between words.
    tokens["node"] = np.where(tokens["has_text"], UNKNOWN_NODE, ROOT)
    tokens["gain"] = np.where(tokens["has_text"], beta + unknown, 0.0)
    arcs = trie.arcs[: trie.nodes[1]["arc_start"]]
    tokens["node"][arcs["token"]] = arcs["node"]
    tokens["gain"][arcs["token"]] = np.maximum(ahead * arcs["look_ahead"], unknown) + beta
    tokens.setflags(write=False)
    return tokens
