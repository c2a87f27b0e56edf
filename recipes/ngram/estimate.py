"""Estimate n-gram models of every order from pieces of a text, and measure them on the test.

    python recipes/ngram/estimate.py CONF.toml EXP [--set A.B=C]

reads EXP/text and writes EXP/estimates.json, model by model: run again, it goes on with those that
are missing.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ngram_config import NgramConfig
from ngram_text import beginning, ngrams_of, read_test, read_training, word_ids
from numpy.typing import NDArray
from rich.console import Console

from asr.checkpoint import read_json, write_json
from asr.cli import run_program
from asr.errors import ConfigError
from asr.toml_config import load_toml
from lm.backoff import END, START, Ints
from lm.counts import Counts, count_ngrams
from lm.kneser_ney import FALLBACK, Smoothing, estimate
from lm.sampling import sample_sentence
from lm.table import NgramTable

__all__ = ["RelativeFrequencies", "main", "relative_frequencies"]


@dataclass(frozen=True)
class RelativeFrequencies:
    """What maximum-likelihood estimates say of each token of a text.

    Attributes:
        log_probs: (N,) log c(h w) / c(h); -inf where h w never occurred in the training text.
        is_undefined: (N,) where h never did either: 0 / 0.
    """

    log_probs: NDArray[np.float64]
    is_undefined: NDArray[np.bool_]

    def figures(self) -> dict[str, float]:
        """Shares of the text, and the perplexity of the part that has a probability."""
        seen = self.log_probs[np.isfinite(self.log_probs)]
        return {
            "seen": len(seen) / len(self.log_probs),
            "undefined": float(self.is_undefined.mean()),
            "perplexity_of_seen": float(np.exp(-seen.mean())),
        }


def relative_frequencies(counts: Counts, tokens: Ints) -> RelativeFrequencies:
    """Look the n-grams of a text up among those that were counted.

        P(w | h) = c(h w) / c(h)

    Args:
        counts: of the training text, to the order of the model.
        tokens: (N,) sentences one after the other, each ended by </s>.
    """
    log_probs = np.zeros(len(tokens))
    is_undefined = np.zeros(len(tokens), np.bool_)
    # A sentence begins as often as one ends; counts have no <s>.
    n_sentences = counts.orders[0].occurrences[END]
    n_tokens = counts.orders[0].occurrences.sum()
    for places, ngrams in ngrams_of(tokens, len(counts.orders)):
        if ngrams.shape[1] == 1:
            of_contexts = np.full(len(places), n_tokens)
        else:
            of_contexts = counts.occurrences_of(ngrams[:, :-1])
            of_contexts[(ngrams[:, :-1] == START).all(axis=1)] = n_sentences
        with np.errstate(divide="ignore"):
            of_ngrams = np.log(counts.occurrences_of(ngrams))
        log_probs[places] = of_ngrams - np.log(np.maximum(of_contexts, 1))
        is_undefined[places] = of_contexts == 0
    return RelativeFrequencies(log_probs, is_undefined)


class _Test:
    """The test text, and what models of one amount of training text say of it."""

    def __init__(self, sentences: list[list[str]], config: NgramConfig) -> None:
        self.sentences, self.config = sentences, config

    def measure(self, counts: Counts, order: int, size: int) -> dict[str, Any]:
        """Estimate both models of an order; returns their figures."""
        started = time.process_time()
        counts = counts.up_to(order)
        tokens = word_ids(self.sentences, counts.vocabulary)
        smoothing = Smoothing(discount_fallback=FALLBACK)
        table = NgramTable.from_model(estimate(counts, smoothing, keep_words=True))
        log_probs = np.concatenate(table.score_sentences(self.sentences)).astype(np.float64)
        figures = {
            "size": size,
            "words": int(counts.orders[0].occurrences.sum() - counts.orders[0].occurrences[END]),
            "order": order,
            "n_ngrams": sum(table.n_ngrams),
            "perplexity": float(np.exp(-log_probs.mean())),
            "relative_frequencies": relative_frequencies(counts, tokens).figures(),
        }
        if size == self.config.samples.size:
            figures["samples"] = self._sample(table)
        return {**figures, "cpu_seconds": time.process_time() - started}

    def _sample(self, table: NgramTable) -> list[str]:
        settings = self.config.samples
        generator = np.random.default_rng(self.config.seed)
        return [
            " ".join(sample_sentence(table, generator, max_words=settings.max_words))
            for _ in range(settings.sentences)
        ]


def _estimate(arguments: argparse.Namespace) -> int:
    config = load_toml(NgramConfig, arguments.config, arguments.overrides)
    settings = config.estimate
    if config.samples.size not in settings.sizes or config.compare.size not in settings.sizes:
        raise ConfigError(
            f"{arguments.config}: samples.size = {config.samples.size} and compare.size = "
            f"{config.compare.size} must be among estimate.sizes = {settings.sizes}"
        )
    folder: Path = arguments.exp / "text"
    path: Path = arguments.exp / "estimates.json"
    done: list[dict[str, Any]] = read_json(path)["models"] if path.exists() else []
    test = _Test(read_test(folder), config)
    console = Console()
    with console.status("reading the text"):
        whole = read_training(folder)
    for size in settings.sizes:
        there = {model["order"] for model in done if model["size"] == size}
        missing = [order for order in settings.orders if order not in there]
        if not missing:
            continue
        with console.status(f"counting n-grams of {size or 'all'} words"):
            counts = count_ngrams(beginning(whole, size), max(missing))
        for order in missing:
            with console.status(f"order {order}"):
                done.append(test.measure(counts, order, size))
            write_json(path, {"models": done})
            _say(done[-1])
    return 0


def _say(figures: dict[str, Any]) -> None:
    seen = figures["relative_frequencies"]["seen"]
    print(
        f"{figures['words']:,} words, order {figures['order']}: {figures['n_ngrams']:,} n-grams, "
        f"perplexity {figures['perplexity']:.2f}; {1 - seen:.1%} of the test without smoothing "
        f"impossible; {figures['cpu_seconds']:.0f} s",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Estimate and measure n-gram models.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    return run_program("estimate", lambda: _estimate(arguments))


if __name__ == "__main__":
    sys.exit(main())
