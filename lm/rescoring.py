"""Scoring many token sequences with a neural language model, shared beginnings once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lm.contexts import Contexts
from lm.neural import END
from lm.neural_model import NeuralLanguageModel

__all__ = ["SequenceScores", "score_sequences"]

# Rows of a step at most: beyond that a step gains nothing from more.
_MAX_ROWS = 512


@dataclass(frozen=True)
class SequenceScores:
    """What a model says of sequences.

    Attributes:
        log_probs: log P(sequence, end), (N,).
        n_steps: tokens that the model read for them, one for each different beginning.
    """

    log_probs: NDArray[np.float64]
    n_steps: int


def score_sequences(
    model: NeuralLanguageModel, sequences: Sequence[Sequence[int]]
) -> SequenceScores:
    """Score sequences over their prefix tree: each node is one step of the model.

    The nodes of a level are read together, so that the n-best of several utterances, given as one
    list, makes larger and faster batches than each alone.

    Args:
        model: the model.
        sequences: N sequences of tokens, without the end.

    Returns:
        the score of each, equal to that of the whole sequence read alone.
    """
    totals = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda index: tuple(sequences[index]))
    lengths = np.array([len(sequences[index]) for index in order])
    table = np.zeros((len(order), int(lengths.max(initial=0)) + 1), np.int64)
    for row, index in enumerate(order):
        table[row, : lengths[row]] = sequences[index]
    # Sorted, the sequences of a node stand together: nodes[row] is the node that a row is at.
    alive = np.arange(len(order))
    nodes = np.zeros(len(order), np.int64)
    contexts = Contexts(model)
    rows = np.zeros(1, np.int64)  # of the nodes
    n_steps = 0
    for depth in range(table.shape[1] if len(order) else 0):
        following = np.where(lengths[alive] > depth, table[alive, depth], END)
        n_steps += len(rows)
        totals[alive] += contexts.log_probs(rows[nodes].tolist(), following.tolist())
        goes_on = lengths[alive] > depth
        alive, nodes, following = alive[goes_on], nodes[goes_on], following[goes_on]
        if not len(alive):
            break
        # A node begins where the node before or the token changes.
        begins = np.append(True, (np.diff(nodes) != 0) | (np.diff(following) != 0))
        sources, tokens = rows[nodes[begins]].tolist(), following[begins].tolist()
        after: list[int] = []
        for first in range(0, len(tokens), _MAX_ROWS):
            part = slice(first, first + _MAX_ROWS)
            after += contexts.read(sources[part], tokens[part])
        if depth:
            contexts.release(rows.tolist())
        rows, nodes = np.array(after), np.cumsum(begins) - 1
    scored = np.zeros(len(sequences))
    scored[order] = totals
    return SequenceScores(scored, n_steps)
