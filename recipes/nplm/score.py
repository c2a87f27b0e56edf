"""Perplexities of all models and of their mixtures, as EXP/score.json and the README's table.

    python recipes/nplm/score.py EXP ngram-3 ngram-5 nplm lstm
    python recipes/nplm/score.py --table EXP --readme recipes/nplm/README.md

reads EXP/text, EXP/log_probs/NAME.npz and how EXP/NAME was trained, and draws EXP/learning.png.
"perplexity" in score.json is that of the last NAME on the test; all perplexities count sentence
ends and words outside the vocabulary, these as <unk>.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError, DependencyError
from asr.recipe_programs import ScoreProgram, machine_facts, run_score, training_facts
from asr.training_log import read_metrics
from lm.corpus import read_words

__all__ = ["bootstrap_interval", "main", "mix", "mixture_weights", "summarize", "table"]

Array = NDArray[np.float64]

_N_BOOTSTRAP = 1000
_LABELS = {"nplm": "feed-forward", "lstm": "LSTM"}


def mix(log_probs: Array, weights: Array) -> Array:
    """Return log sum over k of w_k P_k(word), (N,), of K models' log-probabilities (K, N)."""
    mixed: Array = np.logaddexp.reduce(log_probs + np.log(weights)[:, None], axis=0)
    return mixed


def mixture_weights(log_probs: Array, *, n_rounds: int = 50) -> Array:
    """Return the weights (K,) that make a mixture of models likeliest on held-out words.

        w_k <- mean over the words of  w_k P_k(word) / sum over j of w_j P_j(word)

    Args:
        log_probs: (K, N).
        n_rounds: of expectation-maximisation.

    Reference: Jelinek and Mercer, "Interpolated estimation of Markov source parameters from sparse
    data", 1980.
    """
    weights = np.full(len(log_probs), 1 / len(log_probs))
    for _ in range(n_rounds):
        shares = np.exp(log_probs + np.log(weights)[:, None] - mix(log_probs, weights))
        weights = np.maximum(shares.mean(axis=1), 1e-300)
    return weights


def bootstrap_interval(log_probs: Array, lengths: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 95 % interval of a perplexity over texts of sentences drawn anew.

    Args:
        log_probs: (N,), sentence by sentence.
        lengths: of the sentences, ends included; their sum is N.
    """
    sums = np.add.reduceat(log_probs, np.cumsum(lengths) - lengths)
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(sums), size=(_N_BOOTSTRAP, len(sums)))
    low, high = np.quantile(np.exp(-sums[drawn].sum(1) / lengths[drawn].sum(1)), [0.025, 0.975])
    return float(low), float(high)


class _Text:
    """The words of dev or test that the models are measured on."""

    def __init__(self, exp: Path, part: str) -> None:
        vocabulary = set(read_words(exp / "text" / "words.txt"))
        lines = (exp / "text" / f"{part}.txt").read_text(encoding="utf-8").splitlines()
        sentences = [line.split() for line in lines]
        self.lengths = np.array([len(sentence) + 1 for sentence in sentences])
        # A sentence's end is known, too.
        known = [[*(word in vocabulary for word in words), True] for words in sentences]
        self.is_known = np.concatenate([np.array(flags) for flags in known])

    def figures(self, log_probs: Array) -> dict[str, Any]:
        """The perplexities of one model."""
        return {
            "perplexity": _perplexity(log_probs),
            "interval": bootstrap_interval(log_probs, self.lengths),
            "perplexity_of_known": _perplexity(log_probs[self.is_known]),
        }


def _perplexity(log_probs: Array) -> float:
    return float(np.exp(-log_probs.mean()))


def _read(exp: Path, name: str, n_words: dict[str, int]) -> tuple[dict[str, Array], int]:
    """What evaluate.py wrote."""
    path = exp / "log_probs" / f"{name}.npz"
    try:
        with np.load(path) as arrays:
            parts = {part: arrays[part].astype(np.float64) for part in ("dev", "test")}
            size = int(arrays["size"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); evaluate first") from None
    if n_words != {part: len(array) for part, array in parts.items()}:
        raise ConfigError(f"{path}: is of another text; evaluate the model anew")
    return parts, size


def _mixtures(names: Sequence[str]) -> list[list[str]]:
    """Each neural model with the last n-gram model, and all of them."""
    ngrams = [name for name in names if name not in _LABELS][-1:]
    neural = [name for name in names if name in _LABELS]
    pairs = [[*ngrams, name] for name in neural if ngrams]
    return [*pairs, [*ngrams, *neural]] if len(neural) > 1 else pairs


def summarize(exp: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return what score.json holds.

    Raises:
        ConfigError: no name is given, or a model is not evaluated.
    """
    if not names:
        raise ConfigError("no model to score: name those in EXP/log_probs, without .npz")
    texts = {part: _Text(exp, part) for part in ("dev", "test")}
    n_words = {part: len(text.is_known) for part, text in texts.items()}
    found = {name: _read(exp, name, n_words) for name in names}
    models: dict[str, Any] = {}
    for name, (parts, size) in found.items():
        models[name] = {
            "size": size,
            "dev_perplexity": _perplexity(parts["dev"]),
            **texts["test"].figures(parts["test"]),
        }
        if name in _LABELS:
            models[name]["training"] = training_facts(exp / name)
            models[name]["curve"] = _curve(exp / name)
    mixtures = []
    for members in _mixtures(names):
        stacked = {
            part: np.stack([found[name][0][part] for name in members]) for part in ("dev", "test")
        }
        weights = mixture_weights(stacked["dev"])
        figures = texts["test"].figures(mix(stacked["test"], weights))
        mixtures.append({"members": members, "weights": weights.tolist(), **figures})
    test = texts["test"]
    result = {
        "perplexity": models[names[-1]]["perplexity"],
        "n_sentences": len(test.lengths),
        "n_words": n_words["test"],
        "unknown": 1 - float(test.is_known.mean()),
        "n_known_words": len(read_words(exp / "text" / "words.txt")),
        "models": models,
        "mixtures": mixtures,
        "machine": machine_facts(),
    }
    _draw(models, exp / "learning.png")
    return result


def _curve(exp: Path) -> list[tuple[float, float]]:
    """Epochs and dev perplexity."""
    lines = read_metrics(exp / "metrics.jsonl")
    return [(line["epoch"], line["perplexity"]) for line in lines if line["kind"] == "dev"]


def _draw(models: dict[str, Any], path: Path) -> None:
    """Draw how the neural models pass the n-gram models."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError("the score draws a picture: pip install matplotlib") from None
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axis = figure.subplots()
    for number, (name, found) in enumerate(models.items()):
        if "curve" in found:
            epochs, perplexities = zip(*found["curve"], strict=True)
            axis.plot(epochs, perplexities, "o-", label=_label(name), markersize=3)
        else:
            axis.axhline(
                found["dev_perplexity"],
                color="gray",
                linestyle=(0, (1 + 2 * number, 2)),
                label=_label(name),
            )
    axis.set(xlabel="readings of the text", ylabel="perplexity on dev", yscale="log")
    axis.legend()
    figure.savefig(path, dpi=80)


def _label(name: str) -> str:
    return _LABELS.get(name, name.removeprefix("ngram-") + "-gram")


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine = result["machine"]
    rows = [
        f"{result['n_sentences']:,} test sentences, {result['n_words']:,} words and sentence ends, "
        f"{result['unknown']:.2%} of them <unk>; {result['n_known_words']:,} words known; "
        f"{machine['processor']}, torch {machine['torch']}.",
        "",
        "| model | size | epochs | CPU time | perplexity | 95 % | without <unk> |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in result["models"].items():
        training = found.get("training")
        unit, epochs, minutes = "n-grams", "", ""
        if training:
            unit, epochs = "parameters", f"{training['epochs']:.2g}"
            minutes = f"{training['training_cpu_seconds'] / 60:.1f} min"
        size = f"{found['size'] / 1e6:.1f} million {unit}"
        rows.append(f"| {_label(name)} | {size} | {epochs} | {minutes} | {_cells(found)} |")
    for found in result["mixtures"]:
        parts = zip(found["weights"], found["members"], strict=True)
        label = " + ".join(f"{weight:.2f} {_label(name)}" for weight, name in parts)
        rows.append(f"| {label} | | | | {_cells(found)} |")
    return "\n".join(rows)


def _cells(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return (
        f"{found['perplexity']:.1f} | {low:.1f} to {high:.1f} | {found['perplexity_of_known']:.1f}"
    )


def _headline(result: dict[str, Any]) -> str:
    return f"perplexity {result['perplexity']:.2f}, {math.log2(result['perplexity']):.3f} bits"


PROGRAM = ScoreProgram(
    description="Perplexities of all models and of their mixtures.",
    names_help="models in EXP/log_probs",
    summarize=summarize,
    table=table,
    headline=_headline,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    return run_score(PROGRAM, argv)


if __name__ == "__main__":
    sys.exit(main())
