"""Entropy pruning against its definition, and restriction to a vocabulary."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from lm.arpa import read_arpa
from lm.backoff import BackoffModel
from lm.perplexity import measure_perplexity
from lm.prune import perplexity_changes, prune_by_entropy, renormalized, restrict
from lm.table import NgramTable
from tests.lm_models import (
    GOLDEN,
    assert_same_model,
    backoff_log_prob,
    golden_lines,
    small_model,
    sums_to_one,
    texts,
)


@pytest.fixture(scope="module")
def golden() -> BackoffModel:
    return read_arpa(GOLDEN / "order-3.arpa.gz")


def _without(model: BackoffModel, order: int, row: int) -> BackoffModel:
    kept = np.ones(len(model.orders[order - 1]), np.bool_)
    kept[row] = False
    orders = list(model.orders)
    orders[order - 1] = orders[order - 1].select(kept)
    return BackoffModel(model.vocabulary, tuple(orders))


def test_changes_are_the_divergence_that_removal_causes() -> None:
    """P(h) sum_w P(w | h) log(P(w | h) / P'(w | h)), summed up word by word."""
    model = small_model([list("ABACA"), list("BACAB"), list("ABBA")], 3)
    table = NgramTable.from_model(model)
    model = table.to_model()
    changes = np.split(perplexity_changes(table), np.cumsum(table.n_ngrams)[:-1])
    assert not changes[0].any()
    n_checked = 0
    for order in (2, 3):
        contexts = {tuple(w[:-1]) for w in model.orders[2].words.tolist()} if order == 2 else set()
        for row, words in enumerate(model.orders[order - 1].words.tolist()):
            if tuple(words) in contexts:
                continue  # the trigrams that it leads to would be lost with it
            context = words[:-1]
            pruned = renormalized(_without(model, order, row))
            divergence = 0.0
            for word in [0, *range(2, len(model.vocabulary))]:
                before = backoff_log_prob(model, context, word)
                after = backoff_log_prob(pruned, context, word)
                divergence += exp(before) * (before - after)
            # The sentence start counts as often as the sentence end.
            joint = sum(
                backoff_log_prob(model, context[:place], 2 if word == 1 else word)
                for place, word in enumerate(context)
            )
            expected = exp(exp(joint) * divergence) - 1
            assert changes[order - 1][row] == pytest.approx(expected, rel=1e-3, abs=1e-7)
            n_checked += 1
    assert n_checked > 10


def test_pruning_takes_what_matters_least(golden: BackoffModel) -> None:
    sizes, perplexities = [], []
    for threshold in (0.0, 1e-6, 1e-5, 1e-4, 1.0):
        pruned = prune_by_entropy(golden, threshold)
        sizes.append(sum(map(len, pruned.orders)))
        table = NgramTable.from_model(pruned)
        perplexities.append(measure_perplexity(table, golden_lines()).perplexity())
        sums_to_one(table, 2e-4)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 5
    # The first leaves out what raises nothing at all; the last leaves unigrams.
    assert sizes[-1] == len(golden.vocabulary)
    assert perplexities == sorted(perplexities)


@settings(max_examples=25)
@given(texts, st.integers(2, 4), st.floats(0, 0.1))
def test_pruned_models_sum_to_one(sentences: list[list[str]], order: int, threshold: float) -> None:
    pruned = prune_by_entropy(small_model(sentences, order), threshold)
    sums_to_one(NgramTable.from_model(pruned), 1e-4)


def test_renormalising_a_normal_model_changes_nothing() -> None:
    model = small_model([list("ABACA"), list("BACAB")], 3)
    assert_same_model(renormalized(model), model, 1e-5)


def test_restricted_to_a_vocabulary(golden: BackoffModel) -> None:
    words = [word for word in golden.vocabulary[3:] if word < "M"]
    restricted = restrict(golden, [*words, "UNHEARD"])
    assert restricted.vocabulary == ("<unk>", "<s>", "</s>", *words)
    sums_to_one(NgramTable.from_model(restricted), 2e-4)
    unknown = restricted.orders[0].log_probs[restricted.orders[0].words[:, 0] == 0]
    gone = [i for i, word in enumerate(golden.vocabulary) if i == 0 or word >= "M"]
    unigrams = golden.orders[0]
    lost = np.exp(unigrams.log_probs[np.isin(unigrams.words[:, 0], gone)]).sum()
    assert unknown[0] == pytest.approx(log(lost), abs=1e-5)


def test_restricted_with_the_old_scores(golden: BackoffModel) -> None:
    words = {word for line in golden_lines()[:40] for word in line}
    restricted = NgramTable.from_model(restrict(golden, words, renormalize=False))
    whole = NgramTable.from_model(golden)
    lines = golden_lines()[:40]
    assert restricted.n_words < whole.n_words
    for own, other in zip(
        restricted.score_sentences(lines), whole.score_sentences(lines), strict=True
    ):
        np.testing.assert_allclose(own, other, atol=1e-6)


def test_nonsense_is_refused(golden: BackoffModel) -> None:
    with pytest.raises(LanguageModelError, match="none of the words"):
        restrict(golden, ["UNHEARD"])
    for threshold in (-1.0, float("nan")):
        with pytest.raises(LanguageModelError, match="at least 0"):
            prune_by_entropy(golden, threshold)
