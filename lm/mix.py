"""One n-gram model from several: their probabilities mixed, as for a domain with little text.

    P(w | h) = sum over models m of lambda_m P_m(w | h)

holds for every n-gram that one of the models lists.  The back-off weights are computed anew, so
that other n-grams have about the mixture's probability and every distribution sums to one (what
SRILM's `ngram -mix-lm` does).  A word that a model lacks has no probability there.

References: Jelinek and Mercer 1980, Interpolated estimation of Markov source parameters from
sparse data; Stolcke 2002, SRILM.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from lm.automaton import Automaton, compiled, lookup
from lm.backoff import UNKNOWN, BackoffModel, Floats, Ints, Ngrams
from lm.prune import renormalized
from lm.table import NgramTable

__all__ = ["best_weights", "mix_models", "mixed_perplexity"]

_Doubles = NDArray[np.float64]
_Keys = NDArray[np.int64]

# Steps of expectation maximisation at most, and what a weight must still move by.
_N_STEPS, _LEAST_STEP = 200, 1e-5


def mix_models(tables: Sequence[NgramTable], weights: Sequence[float]) -> BackoffModel:
    """Mix models.

    Args:
        tables: the models, of any orders and vocabularies
        weights: lambda of each, above 0; they sum to 1

    Returns:
        a model of all their words and n-grams

    Raises:
        LanguageModelError: weights that do not fit
    """
    if len(tables) < 2:
        raise LanguageModelError(f"{len(tables)} model; two or more are needed for a mixture")
    if len(weights) != len(tables) or min(weights) <= 0 or abs(sum(weights) - 1) > 1e-3:
        given = " ".join(f"{weight:g}" for weight in weights)
        raise LanguageModelError(
            f"weights {given}: {len(tables)} numbers above 0 are needed that sum to 1"
        )
    vocabulary = tuple(dict.fromkeys(word for table in tables for word in table.vocabulary))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    models = [table.to_model() for table in tables]
    to_all = [np.array([numbers[word] for word in t.vocabulary], np.int32) for t in tables]
    to_own = []
    for ids in to_all:
        own = np.full(len(vocabulary), -1, np.int32)
        own[ids] = np.arange(len(ids), dtype=np.int32)
        to_own.append(own)
    words = np.arange(len(vocabulary), dtype=np.int32)[:, None]
    keys: list[_Keys] = []  # of the orders above the unigrams
    orders = []
    for order in range(1, max(model.order for model in models) + 1):
        if order > 1:
            found = [
                _keys(ids[model.orders[order - 1].words], keys, len(vocabulary))
                for model, ids in zip(models, to_all, strict=True)
                if model.order >= order
            ]
            keys.append(np.unique(np.concatenate(found)))
            contexts, last = np.divmod(keys[-1], len(vocabulary))
            words = np.column_stack([words[contexts], last.astype(np.int32)])
        mixed = np.full(len(words), -np.inf)
        for table, own, weight in zip(tables, to_own, weights, strict=True):
            log_probs = _log_probs(table.automaton, own[words])
            np.logaddexp(mixed, np.log(weight) + log_probs, out=mixed)
        backoffs = np.zeros(len(words), np.float32)
        orders.append(Ngrams(words, mixed.astype(np.float32), backoffs))
    return renormalized(BackoffModel(vocabulary, tuple(orders)))


def _keys(words: Ints, keys: Sequence[_Keys], n_words: int) -> _Keys:
    """The number of each n-gram's context among the contexts, times n_words, and its last word."""
    rows = words[:, 0].astype(np.int64)
    for column in range(1, words.shape[1]):
        if column > 1:
            rows = np.searchsorted(keys[column - 2], rows)
        rows = rows * n_words + words[:, column]
    return rows


@compiled
def _log_probs(automaton: Automaton, words: Ints) -> _Doubles:
    """log P of each n-gram's last word, -inf where the model lacks it (-1)."""
    n_ngrams, order = words.shape
    found = np.empty(n_ngrams, np.float64)
    state = 0
    for row in range(n_ngrams):
        # Neighbours share their context.
        is_new = row == 0
        for column in range(order - 1):
            is_new |= words[row, column] != words[row - 1, column]
        if is_new:
            state = 0
            for column in range(order - 1):
                state = lookup(automaton, state, max(words[row, column], UNKNOWN))[1]
        word = words[row, order - 1]
        found[row] = lookup(automaton, state, word)[0] if word >= 0 else -np.inf
    return found


def best_weights(
    tables: Sequence[NgramTable], sentences: Sequence[Sequence[str]]
) -> tuple[list[float], float]:
    """Find the weights with which a text is likeliest, by expectation maximisation.

    Words that no model knows count nothing.

    Args:
        tables: the models
        sentences: the words of each sentence of the text, none of it in what they were made from

    Returns:
        lambda of each model, and the perplexity of the mixture

    Raises:
        LanguageModelError: no word of the text is known
    """
    log_probs = _known_log_probs(tables, sentences)
    probabilities = np.exp(log_probs - log_probs.max(0))
    weights = np.full(len(tables), 1 / len(tables))
    for _ in range(_N_STEPS):
        shares = weights[:, None] * probabilities
        better = (shares / shares.sum(0)).mean(1)
        step = float(np.abs(better - weights).max())
        weights = better
        if step < _LEAST_STEP:
            break
    return weights.tolist(), _perplexity(log_probs, weights)


def mixed_perplexity(
    tables: Sequence[NgramTable], sentences: Sequence[Sequence[str]], weights: Sequence[float]
) -> float:
    """The perplexity of a text, sentence ends included, words that no model knows left out."""
    return _perplexity(_known_log_probs(tables, sentences), np.array(weights))


def _perplexity(log_probs: _Doubles, weights: _Doubles) -> float:
    with np.errstate(divide="ignore"):
        mixed = np.logaddexp.reduce(log_probs + np.log(weights)[:, None], axis=0)
    return float(np.exp(-mixed.mean()))


def _known_log_probs(tables: Sequence[NgramTable], sentences: Sequence[Sequence[str]]) -> _Doubles:
    """(M, N) log P of each word and sentence end, -inf where a model lacks the word."""
    rows = []
    for table in tables:
        found: list[Floats] = table.score_sentences(sentences)
        lacks = [
            [table.word_id(word) == UNKNOWN for word in sentence] + [False]
            for sentence in sentences
        ]
        row = np.concatenate([*found, np.zeros(0)]).astype(np.float64)
        row[np.concatenate([*lacks, []]).astype(np.bool_)] = -np.inf
        rows.append(row)
    log_probs = np.array(rows)
    # The ends are known, but tell nothing of a text without a known word.
    log_probs = log_probs[:, np.isfinite(log_probs).any(0)]
    if log_probs.shape[1] <= len(sentences):
        raise LanguageModelError(
            "the models know no word of the text; give text as they were made from (--normalize?)"
        )
    return log_probs
