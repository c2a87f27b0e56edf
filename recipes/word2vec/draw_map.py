"""Draw the words of a model on two maps: PCA and t-SNE.

    python recipes/word2vec/draw_map.py CONF.toml EXP [--set A.B=C]

writes EXP/map.png: the words of the section [map] with their nearest neighbours, a colour each,
and the most frequent words as dots.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from word2vec_config import MapConfig, Word2vecConfig
from word_vectors import WordVectors

from asr.cli import run_program
from asr.errors import DependencyError, TextError
from asr.toml_config import load_toml

__all__ = ["Places", "choose_words", "main", "principal_components"]

_PERPLEXITY = 15


@dataclass(frozen=True)
class Places:
    """The words of a map.

    Args:
        numbers: (N,) of the words
        groups: (N,) which of the chosen words it is a neighbour of; -1: a dot
    """

    numbers: NDArray[np.int64]
    groups: NDArray[np.int64]


def choose_words(vectors: WordVectors, config: MapConfig) -> Places:
    """Take the chosen words, their neighbours and the most frequent words, each once.

    Raises:
        TextError: no chosen word has a vector
    """
    groups: dict[int, int] = {}
    for group, word in enumerate(config.words):
        number = vectors.find(word)
        if number is None:
            continue
        near = vectors.neighbours([word], n=config.neighbours)
        for member in (number, *(vectors.number(name) for name, _ in near)):
            groups.setdefault(member, group)
    if not groups:
        raise TextError(f"none of {', '.join(config.words)} has a vector; set map.words")
    for number in range(min(config.background, len(vectors.words))):
        groups.setdefault(number, -1)
    return Places(np.array(list(groups)), np.array(list(groups.values())))


def principal_components(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the two coordinates of largest variance, (N, 2), of vectors (N, D)."""
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    coordinates: NDArray[np.float32] = centred @ axes[:2].T
    return coordinates


def _neighbour_embedding(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise DependencyError("t-SNE is scikit-learn's: pip install scikit-learn") from None
    # Of vectors of length 1 the squared distance is 2 - 2 cos.
    tsne = TSNE(perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3), init="pca", random_state=seed)
    placed: NDArray[np.float32] = tsne.fit_transform(vectors)
    return placed


def _draw(vectors: WordVectors, places: Places, seed: int, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("the map is a picture: pip install matplotlib") from None
    chosen = vectors.normalized[places.numbers]
    maps = {"PCA": principal_components(chosen), "t-SNE": _neighbour_embedding(chosen, seed)}
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    for axis, (title, xy) in zip(figure.subplots(1, 2), maps.items(), strict=True):
        dots = places.groups < 0
        axis.scatter(*xy[dots].T, s=2, c="lightgray")
        for number, group, (x, y) in zip(places.numbers, places.groups, xy, strict=True):
            if group >= 0:
                colour = f"C{group % 10}"
                axis.text(
                    x, y, vectors.words[number], color=colour, size=6, ha="center", va="center"
                )
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


def _map(arguments: argparse.Namespace) -> int:
    config = load_toml(Word2vecConfig, arguments.config, arguments.overrides)
    vectors = WordVectors.load(arguments.exp / config.map.model)
    path = arguments.exp / "map.png"
    _draw(vectors, choose_words(vectors, config.map), config.seed, path)
    print(path)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Draw words on two maps.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    return run_program("map", lambda: _map(arguments))


if __name__ == "__main__":
    sys.exit(main())
