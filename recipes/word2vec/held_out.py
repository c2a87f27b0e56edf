"""How well a model predicts the company of held-out words."""

import math

import numpy as np
from encoded_text import noise_distribution
from full_softmax import bag_matrices
from kernels import (
    Block,
    Examples,
    Floats,
    Offsets,
    Sampling,
    Scheme,
    Sentences,
    Weights,
    collect_examples,
)
from numpy.typing import NDArray

__all__ = ["held_out_examples", "negative_sampling_loss", "perplexity"]

_BATCH = 256


def held_out_examples(
    sampling: Sampling, sentences: Sentences, scheme: Scheme, *, seed: int = 1
) -> Examples:
    """Draw examples from all sentences, the same ones for every model."""
    return collect_examples(
        sampling, sentences, scheme, Block(0, len(sentences.starts) - 1, 0.0, 0.0, np.uint64(seed))
    )


def negative_sampling_loss(
    weights: Weights, examples: Examples, counts: Offsets, n_negatives: int
) -> float:
    """The mean loss of a target and its negatives, which are drawn alike for every model.

    -log s(u . h) - sum over the negatives of log s(-u_n . h)
    """
    generator = np.random.default_rng(0)
    noise = noise_distribution(counts)
    total, n_examples = 0.0, len(examples.bag_starts) - 1
    for first in range(0, n_examples, _BATCH):
        last = min(first + _BATCH, n_examples)
        bags, targets = bag_matrices(examples, first, last, len(counts))
        hidden = np.repeat(bags @ weights.inputs, np.diff(targets.indptr), axis=0)
        negatives = generator.choice(len(counts), (len(hidden), n_negatives), p=noise)
        right = np.einsum("nd,nd->n", hidden, weights.outputs[targets.indices])
        wrong = np.einsum("nd,nkd->nk", hidden, weights.outputs[negatives])
        total += float(np.logaddexp(0, -right).sum() + np.logaddexp(0, wrong).sum())
    return total / max(len(examples.targets), 1)


def perplexity(weights: Weights, examples: Examples, prior: NDArray[np.float64] | None) -> float:
    """exp of the mean -log P(target | bag), with all words as candidates.

        P(w | h) = q(w) exp(u_w . h) / sum over all w' of the same

    Args:
        weights: the model
        examples: what is predicted
        prior: (V,) q, the noise of a model from negative sampling, at whose optimum exp(u_w . h)
            is P(w | h) / (k q(w)); None for a softmax
    """
    n_words = len(weights.inputs)
    log_prior: Floats = np.zeros(n_words, np.float32)
    if prior is not None:
        log_prior = np.log(prior).astype(np.float32)
    total, n_examples = 0.0, len(examples.bag_starts) - 1
    for first in range(0, n_examples, _BATCH):
        last = min(first + _BATCH, n_examples)
        bags, targets = bag_matrices(examples, first, last, n_words)
        scores = (bags @ weights.inputs) @ weights.outputs.T + log_prior
        scores -= scores.max(1, keepdims=True)
        log_sums = np.log(np.exp(scores).sum(1))
        rows = np.repeat(np.arange(last - first), np.diff(targets.indptr))
        total += float((log_sums[rows] - scores[rows, targets.indices]).sum())
    return math.exp(total / max(len(examples.targets), 1))
