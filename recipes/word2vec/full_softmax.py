"""The same models with a softmax over the whole vocabulary: what negative sampling stands for."""

import numpy as np
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
from scipy import sparse

__all__ = ["bag_matrices", "descend_softmax", "train_block_softmax"]

_BATCH = 128


def bag_matrices(
    examples: Examples, first: int, last: int, n_words: int
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Return some examples as matrices.

    Args:
        examples: B of them
        first: the first one taken
        last: the one behind the last
        n_words: V

    Returns:
        (last - first, V) each bag's mean: B V is the hidden vectors; and how often each word is
        a bag's target.
    """
    bags, sizes = _rows(examples.bags, examples.bag_starts, first, last, n_words)
    targets, _ = _rows(examples.targets, examples.target_starts, first, last, n_words)
    bags.data /= np.repeat(sizes, sizes).astype(np.float32)
    return bags, targets


def _rows(
    words: np.ndarray, starts: Offsets, first: int, last: int, n_words: int
) -> tuple[sparse.csr_matrix, Offsets]:
    begin, end = starts[first], starts[last]
    ones = np.ones(end - begin, np.float32)
    borders = starts[first : last + 1]
    matrix = sparse.csr_matrix(
        (ones, words[begin:end], borders - begin), shape=(last - first, n_words)
    )
    return matrix, np.diff(borders)


def descend_softmax(
    weights: Weights, bags: sparse.csr_matrix, targets: sparse.csr_matrix, rate: float
) -> float:
    """Go one step down the gradient of some examples' summed loss.

        H = B V;   P = softmax(H U');   loss = -sum of T log P
        G = n P - T;   U -= rate G' H;   V -= rate B' G U

    Args:
        weights: V = inputs and U = outputs, changed in place
        bags: (B, V), B above
        targets: (B, V), T above; n is the sum of each row
        rate: learning rate

    Returns:
        The loss before the step.
    """
    hidden: Floats = bags @ weights.inputs
    scores = hidden @ weights.outputs.T
    scores -= scores.max(1, keepdims=True)
    rows = np.repeat(np.arange(len(hidden)), np.diff(targets.indptr))
    # A word that is a target twice stands there twice.
    loss = -float(scores[rows, targets.indices] @ targets.data)
    slopes = np.exp(scores, out=scores)
    sums = slopes.sum(1)
    n_targets = np.asarray(targets.sum(1)).ravel()
    loss += float(np.log(sums) @ n_targets)
    slopes *= (n_targets / sums)[:, None]
    np.subtract.at(slopes, (rows, targets.indices), targets.data)
    error = slopes @ weights.outputs
    weights.outputs[...] -= np.float32(rate) * (slopes.T @ hidden)
    weights.inputs[...] -= np.float32(rate) * (bags.T @ error)
    return loss


def train_block_softmax(
    weights: Weights, sampling: Sampling, sentences: Sentences, scheme: Scheme, block: Block
) -> None:
    """Learn from a block, 128 words in the middle at a time; see `kernels.train_block`."""
    examples = collect_examples(sampling, sentences, scheme, block)
    n_examples = len(examples.bag_starts) - 1
    for first in range(0, n_examples, _BATCH):
        last = min(first + _BATCH, n_examples)
        bags, targets = bag_matrices(examples, first, last, len(weights.inputs))
        rate = block.first_rate + (block.last_rate - block.first_rate) * first / n_examples
        descend_softmax(weights, bags, targets, rate)
