"""Train the models of a configuration.

    python recipes/word2vec/train.py CONF.toml EXP [--set A.B=C]

reads EXP/text and writes, for each of `models`, the vectors EXP/NAME and EXP/NAME/metrics.json:
time, and how well held-out words are predicted.  What was stopped goes on; what has ended stays.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoded_text import EncodedText, load_text, make_sampling, noise_distribution
from held_out import held_out_examples, negative_sampling_loss, perplexity
from kernels import Weights
from rich.console import Console
from trainer import Progress, scheme_of, train
from word2vec_config import MODELS, Word2vecConfig
from word_vectors import WordVectors

from asr.checkpoint import write_json
from asr.cli import run_program
from asr.toml_config import load_toml

__all__ = ["main", "measure_held_out"]


def measure_held_out(
    name: str, weights: Weights, text: EncodedText, config: Word2vecConfig
) -> dict[str, float]:
    """Return the loss of negative sampling; for a small vocabulary the perplexity, too."""
    model, settings = MODELS[name], config.model
    sampling = make_sampling(text.counts, settings.sample)
    examples = held_out_examples(sampling, text.held_out, scheme_of(model, config))
    figures: dict[str, float] = {}
    if not model.softmax:
        figures["loss"] = negative_sampling_loss(weights, examples, text.counts, settings.negatives)
    if model.small:
        prior = None if model.softmax else noise_distribution(text.counts)
        figures["perplexity"] = perplexity(weights, examples, prior)
    return figures


def _train(arguments: argparse.Namespace) -> int:
    config = load_toml(Word2vecConfig, arguments.config, arguments.overrides)
    whole = load_text(arguments.exp / "text")
    small: EncodedText | None = None
    for name in config.models:
        folder: Path = arguments.exp / name
        if (folder / "metrics.json").exists():
            print(f"{folder}: is there")
            continue
        text = whole
        if MODELS[name].small:
            small = small or whole.limit(config.small.vocabulary, config.small.n_words)
            text = small
        weights, progress = _train_model(name, text, config, folder)
        figures = _figures(name, text, config, progress)
        figures["held_out"] = measure_held_out(name, weights, text, config)
        WordVectors(text.words, *weights).save(folder)
        write_json(folder / "metrics.json", figures)
        print(
            f"{folder}: {figures['words'] * figures['epochs'] / progress.seconds:,.0f} words/s, "
            + ", ".join(f"{key} {value:.4g}" for key, value in figures["held_out"].items())
            + " on held-out words",
            flush=True,
        )
    return 0


def _train_model(
    name: str, text: EncodedText, config: Word2vecConfig, folder: Path
) -> tuple[Weights, Progress]:
    with Console().status(name) as status:

        def show(progress: Progress, n_blocks: int) -> None:
            status.update(f"{name}: {progress.n_done / n_blocks:.0%}, {progress.seconds:.0f} s")

        return train(text, MODELS[name], config, folder, show)


def _figures(
    name: str, text: EncodedText, config: Word2vecConfig, progress: Progress
) -> dict[str, Any]:
    return {
        "vocabulary": len(text.words),
        "words": len(text.training.tokens),
        "epochs": config.small.epochs if MODELS[name].small else config.training.epochs,
        "threads": config.training.threads,
        "seconds": progress.seconds,
        "cpu_seconds": progress.cpu_seconds,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Train word vectors.")
    parser.add_argument("config", type=Path, help="TOML file, see conf/")
    parser.add_argument("exp", type=Path, help="experiment folder")
    parser.add_argument("--set", dest="overrides", metavar="A.B=C", action="append", default=[])
    arguments = parser.parse_args(argv)
    return run_program("train", lambda: _train(arguments))


if __name__ == "__main__":
    sys.exit(main())
