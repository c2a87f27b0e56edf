"""Smaller models: entropy pruning, and restriction to a vocabulary.

Pruning by count happens when a model is estimated (`lm.kneser_ney.Smoothing`), since a model no
longer knows its counts.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm import automaton as walk
from lm.automaton import Automaton, arc_log_prob, compiled, lookup
from lm.backoff import END, START, UNKNOWN, BackoffModel, Ngrams
from lm.table import NgramTable

__all__ = ["perplexity_changes", "prune_by_entropy", "renormalized", "restrict"]


def prune_by_entropy(model: BackoffModel, threshold: float) -> BackoffModel:
    """Leave out the n-grams whose loss raises the model's own perplexity least.

    Every n-gram above the unigrams goes whose removal alone raises the perplexity by a factor of
    less than 1 + threshold, the longest first, contexts of longer n-grams that stay excepted.
    Then the back-off weights are computed anew.

    Args:
        model: the model
        threshold: relative, > 0; 1e-8 leaves out little, 1e-6 most of a large model

    Raises:
        LanguageModelError: a threshold below 0, or a damaged model

    Reference: Stolcke 1998, Entropy-based Pruning of Backoff Language Models.
    """
    if not threshold >= 0:
        raise LanguageModelError(f"threshold {threshold}: a number of at least 0 is needed")
    table = NgramTable.from_model(model)
    arrays = table.automaton
    keep = perplexity_changes(table) >= threshold
    keep[: table.n_words] = True
    n_states = len(arrays.backoff_states)
    states = np.repeat(np.arange(n_states), np.diff(arrays.arc_starts))
    n_longer = np.zeros(n_states, np.int64)
    ends = np.cumsum(table.n_ngrams)
    # The first state of 1, 2, ... words.
    first_states = np.cumsum(table.n_states)
    for order in range(table.order, 1, -1):
        arcs = slice(ends[order - 2], ends[order - 1])
        following = arrays.arc_states[arcs]
        # What is itself a context that is still needed stays.
        keep[arcs] |= (following >= first_states[order - 1]) & (n_longer[following] > 0)
        n_longer += np.bincount(states[arcs], keep[arcs], n_states).astype(np.int64)
    orders = [
        ngrams.select(mask)
        for ngrams, mask in zip(table.to_model().orders, np.split(keep, ends[:-1]), strict=True)
    ]
    return renormalized(BackoffModel(table.vocabulary, tuple(orders)))


def perplexity_changes(table: NgramTable) -> NDArray[np.float64]:
    """The factor, less 1, by which removing each n-gram alone raises the model's perplexity, (A,).

    The unigrams' are 0.
    """
    return _perplexity_changes(table.automaton, np.cumsum(table.n_states))


@compiled
def _perplexity_changes(
    automaton: Automaton, first_states: NDArray[np.int64]
) -> NDArray[np.float64]:
    n_states = len(automaton.backoff_states)
    changes = np.zeros(len(automaton.arc_words), np.float64)
    context_log_probs = np.zeros(n_states, np.float64)
    length = 0
    for state in range(n_states):
        while state >= first_states[length]:
            length += 1
        arcs = range(automaton.arc_starts[state], automaton.arc_starts[state + 1])
        left, below = 1.0, 1.0
        for arc in arcs:
            word = automaton.arc_words[arc]
            log_prob = arc_log_prob(automaton, arc)
            following = automaton.arc_states[arc]
            if following >= first_states[length]:
                # The sentence start is as frequent as the sentence end.
                joint = arc_log_prob(automaton, END) if state == 0 and word == START else log_prob
                context_log_probs[following] = context_log_probs[state] + joint
            left -= np.exp(log_prob)
            if state > 0:
                below -= np.exp(lookup(automaton, automaton.backoff_states[state], word)[0])
        if state == 0:
            continue
        left, below = max(left, 1e-12), max(below, 1e-12)
        for arc in arcs:
            log_prob = arc_log_prob(automaton, arc)
            lower = lookup(automaton, automaton.backoff_states[state], automaton.arc_words[arc])[0]
            weight = np.log((left + np.exp(log_prob)) / (below + np.exp(lower)))
            loss = np.exp(log_prob) * (log_prob - lower - weight)
            loss += left * (automaton.backoff_log_probs[state] - weight)
            changes[arc] = np.expm1(np.exp(context_log_probs[state]) * loss)
    return changes


def restrict(
    model: BackoffModel, words: Iterable[str], *, renormalize: bool = True
) -> BackoffModel:
    """Keep only the n-grams of a vocabulary.

    Args:
        model: the model
        words: the words to keep; those that the model lacks are passed over
        renormalize: give <unk> the other words' unigram probabilities and compute the back-off
            weights anew; else all scores of the words that stay are as before

    Raises:
        LanguageModelError: the model knows none of the words
    """
    listed = set(words)
    allowed = np.array([word in listed for word in model.vocabulary], np.bool_)
    allowed[[UNKNOWN, START, END]] = True
    if np.count_nonzero(allowed) == 3:
        raise LanguageModelError("the model knows none of the words of the vocabulary")
    ids = (np.cumsum(allowed) - 1).astype(np.int32)
    masks = [np.all(allowed[order.words], axis=1) for order in model.orders]
    kept = [order.select(mask) for order, mask in zip(model.orders, masks, strict=True)]
    orders = [Ngrams(ids[k.words], k.log_probs, k.log_backoffs) for k in kept]
    vocabulary = tuple(word for word, stays in zip(model.vocabulary, allowed, strict=True) if stays)
    if not renormalize:
        return BackoffModel(vocabulary, tuple(orders))
    unigrams = model.orders[0]
    lost = np.exp(unigrams.log_probs[~allowed[unigrams.words[:, 0]]].astype(np.float64)).sum()
    log_probs = orders[0].log_probs.copy()
    unknown = np.flatnonzero(orders[0].words[:, 0] == UNKNOWN)
    log_probs[unknown] = np.log(np.exp(log_probs[unknown].astype(np.float64)) + lost)
    orders[0] = Ngrams(orders[0].words, log_probs, orders[0].log_backoffs)
    return renormalized(BackoffModel(vocabulary, tuple(orders)))


def renormalized(model: BackoffModel) -> BackoffModel:
    """The same n-grams with back-off weights that make every state's probabilities sum to 1."""
    table = NgramTable.from_model(model)
    automaton = table.automaton._replace(backoff_log_probs=table.automaton.backoff_log_probs.copy())
    walk.renormalize(automaton)
    return NgramTable(automaton, table.vocabulary_bytes, table.n_states).to_model()
