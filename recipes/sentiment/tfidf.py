"""Logistic regression: on TF-IDF of words and pairs of words, the baseline, or on vectors."""

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from text_training import confusion, figures
from torch import nn

__all__ = ["best_regression", "put_regression", "tfidf_predictions"]

STRENGTHS = (0.5, 2.0, 8.0, 32.0)
WEIGHTS = (None, "balanced")


def best_regression(
    train: Any, labels: Sequence[int], dev: Any, dev_labels: Sequence[int], n_labels: int
) -> LogisticRegression:
    """Return the logistic regression whose strength and class weights are best on dev.

    Args:
        train: features (N, D), dense or sparse.
        labels: (N,), 0 to C - 1.
        dev: features (M, D).
        dev_labels: (M,).
        n_labels: C.
    """
    tried = [
        LogisticRegression(C=strength, class_weight=weights, max_iter=1000, tol=1e-3)
        for weights in WEIGHTS
        for strength in STRENGTHS
    ]

    def quality(model: LogisticRegression) -> float:
        model.fit(train, labels)
        return figures(confusion(dev_labels, model.predict(dev), n_labels))["macro_f1"]

    return max(tried, key=quality)


@torch.no_grad()
def put_regression(model: LogisticRegression, layer: nn.Linear) -> None:
    """Give a linear layer (D, C) the probabilities of a logistic regression."""
    weights, biases = (torch.from_numpy(part).float() for part in (model.coef_, model.intercept_))
    if len(biases) == 1:
        # Of two classes it has one row, whose opposite is 0.
        weights, biases = (torch.cat([torch.zeros_like(p), p]) for p in (weights, biases))
    layer.weight.copy_(weights)
    layer.bias.copy_(biases)


def tfidf_predictions(
    texts: Sequence[Sequence[str]], labels: Sequence[Sequence[int]], n_labels: int
) -> list[list[int]]:
    """Return what the baseline predicts for dev and test.

    Args:
        texts: folded, of train, dev and test.
        labels: of train and dev.
        n_labels: C.
    """
    # Words are what has spaces around it: signs and emoji, too.
    vectors = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), sublinear_tf=True)
    train = vectors.fit_transform(texts[0])
    dev, test = (vectors.transform(part) for part in texts[1:])
    model = best_regression(train, labels[0], dev, labels[1], n_labels)
    return [model.predict(part).tolist() for part in (dev, test)]
