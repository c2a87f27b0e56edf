"""Vectors of tokens from the company they keep: what the training of a network may start from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["cooccurrence_vectors"]

_WINDOW = 2
# Of the contexts' frequencies, so that rare contexts count for less.
_SMOOTHING = 0.75
_N_POWERS = 2
_N_MORE = 16


def cooccurrence_vectors(
    tokens: NDArray[np.integer[Any]], n_tokens: int, size: int, *, seed: int = 0
) -> NDArray[np.float32]:
    """Return token vectors of equal length whose products tell which tokens stand close by.

        M(v, w) = max(0, log(n(v, w) n / (n(v) n(w)^0.75)));   M = U S U^T;   vectors = U |S|^(1/2)

    n(v, w) counts how often w stands within 2 places of v, on either side.

    Args:
        tokens: (N,) a text.
        n_tokens: V.
        size: E < V; further dimensions than M has are 0.
        seed: Of the random projection that the decomposition begins with.

    Returns:
        (V, E); vectors have the length that independent entries of standard deviation 1 would
        give them, on average; those of tokens without company are 0.

    Reference: Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NIPS
    2014; Halko, Martinsson and Tropp, SIAM Review 53, 2011 (the randomised decomposition).
    """
    counts = _pair_counts(tokens, n_tokens)
    rows = np.asarray(counts.sum(axis=1)).ravel()
    smoothed = rows**_SMOOTHING
    columns = smoothed / max(smoothed.sum(), 1.0)
    coo = counts.tocoo()
    values = np.log(coo.data / (rows[coo.row] * columns[coo.col]))
    kept = values > 0
    information = sparse.csr_matrix(
        (values[kept].astype(np.float32), (coo.row[kept], coo.col[kept])), counts.shape
    )
    return _factor(information, min(size, n_tokens), size, np.random.default_rng(seed))


def _pair_counts(tokens: NDArray[np.integer[Any]], n_tokens: int) -> sparse.csr_matrix:
    total = sparse.csr_matrix((n_tokens, n_tokens))
    for distance in range(1, _WINDOW + 1):
        pairs = tokens[:-distance].astype(np.int64) * n_tokens + tokens[distance:]
        keys, numbers = np.unique(pairs, return_counts=True)
        total = total + sparse.csr_matrix(
            (numbers.astype(np.float64), (keys // n_tokens, keys % n_tokens)), total.shape
        )
    return sparse.csr_matrix(total + total.T)


def _factor(
    matrix: sparse.csr_matrix, rank: int, size: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    width = min(rank + _N_MORE, matrix.shape[0])
    start = generator.standard_normal((matrix.shape[0], width)).astype(np.float32)
    basis, _ = np.linalg.qr(matrix @ start)
    for _ in range(_N_POWERS):
        basis, _ = np.linalg.qr(matrix @ basis)
    # The matrix, nearly symmetric, within the basis.
    small = basis.T @ (matrix @ basis)
    values, directions = np.linalg.eigh((small + small.T) / 2)
    order = np.argsort(-np.abs(values))[:rank]
    vectors = basis @ (directions[:, order] * np.sqrt(np.abs(values[order])))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled = np.zeros((len(vectors), size), np.float32)
    scaled[:, :rank] = vectors / np.maximum(lengths, 1e-12) * np.sqrt(size)
    scaled[lengths[:, 0] < 1e-6] = 0
    return scaled
