"""What the commands of `python -m lm` do for neural models."""

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from asr.errors import ConfigError, LanguageModelError
from asr.toml_config import Override
from asr.training_display import TrainingDisplay
from asr.world import select_device
from lm.neural_config import load_neural_config, parse_neural_config
from lm.neural_model import (
    NeuralLanguageModel,
    measure_neural_perplexity,
    sample_tokens,
)
from lm.neural_train import read_sentences, train
from lm.perplexity import Perplexity

__all__ = ["generate", "perplexity", "score", "train_neural"]


def train_neural(arguments: argparse.Namespace) -> None:
    """Train a neural model; the same command goes on after an interruption."""
    overrides = _overrides(arguments)
    if arguments.config is not None:
        config = load_neural_config(Path(arguments.config), overrides)
    else:
        config = parse_neural_config("", source="options", overrides=overrides)
    folder = Path(arguments.output)
    if folder.is_file():
        raise ConfigError(f"{folder}: is a file; a neural model is a folder")
    logging.getLogger("lm").setLevel(logging.INFO)
    logging.getLogger("asr.fit").setLevel(logging.INFO)
    try:
        with TrainingDisplay(_describe) as display:
            result = train(config, folder, init_from=arguments.init_from, reporter=display)
    except KeyboardInterrupt:
        print(f"lm: the state is saved in {folder}, the same command goes on", file=sys.stderr)
        raise
    loss, *_ = result.best or (math.nan,)
    print(
        f"{folder / 'best'}: perplexity {math.exp(min(loss, 700)):.3f} per token on held-out text "
        f"after update {result.best_step}; ended after {result.step} updates ({result.reason})"
    )


def _describe(values: Mapping[str, float]) -> str:
    perplexity_so_far = math.exp(min(values["loss"], 700))
    return f"perplexity {perplexity_so_far:.2f}  {values['per_second']:.0f} tokens/s"


def _overrides(arguments: argparse.Namespace) -> list[Override]:
    """What options say, in the names of the configuration; `--set` comes last."""
    overrides: list[Override] = [
        ("text.train", [str(Path(path).resolve()) for path in arguments.text]),
        ("model.kind", arguments.kind),
    ]
    if arguments.dev:
        overrides.append(("text.dev", [str(Path(path).resolve()) for path in arguments.dev]))
    if arguments.characters:
        overrides.append(("text.units", "characters"))
    if arguments.pieces:
        overrides += [("text.units", "pieces"), ("text.n_units", arguments.pieces)]
    if arguments.tokenizer:
        folder = str(Path(arguments.tokenizer).resolve())
        overrides += [("text.units", "tokenizer"), ("text.tokenizer", folder)]
    if arguments.vocabulary:
        words = str(Path(arguments.vocabulary).resolve())
        overrides += [("text.units", "words"), ("text.words", words)]
    if arguments.vocabulary_size:
        overrides += [("text.units", "words"), ("text.n_units", arguments.vocabulary_size)]
    if arguments.normalize:
        overrides.append(("text.normalize", True))
    overrides += arguments.overrides
    return overrides


def _load(arguments: argparse.Namespace) -> NeuralLanguageModel:
    return NeuralLanguageModel.load(arguments.model, select_device("auto"))


def _read(arguments: argparse.Namespace) -> list[str]:
    if arguments.characters or arguments.tokenizer:
        raise ConfigError(
            f"{arguments.model}: a neural model knows its own units; leave --characters and "
            "--tokenizer out"
        )
    sentences = read_sentences(arguments.text, normalized=arguments.normalize)
    if not sentences:
        raise LanguageModelError("no text to score: at least one sentence is needed")
    return sentences


def score(arguments: argparse.Namespace) -> None:
    """Print the log-probability of each line."""
    sentences = _read(arguments)
    model = _load(arguments)
    tokens = [model.units.encode(sentence) for sentence in sentences]
    for sentence, ids, log_probs in zip(sentences, tokens, model.log_probs(tokens), strict=True):
        print(f"{log_probs.sum(dtype=float):.4f}\t{sentence}")
        if arguments.words:
            for token, log_prob in zip([*ids, 0], log_probs, strict=True):
                mark = " (unknown)" if token == model.units.unknown else ""
                print(f"  {log_prob:.4f}\t{model.symbols[token]}{mark}")


def perplexity(arguments: argparse.Namespace) -> None:
    """Print perplexities per unit and per word."""
    sentences = _read(arguments)
    measured, n_words = measure_neural_perplexity(_load(arguments), sentences)
    total = measured.known_log_prob + measured.unknown_log_prob + measured.end_log_prob
    per_word = math.exp(min(700.0, -total / (n_words + measured.n_sentences)))
    print(
        _as_json(measured, n_words, per_word)
        if arguments.json
        else _as_text(measured, n_words, per_word)
    )


def _as_json(measured: Perplexity, n_words: int, per_word: float) -> str:
    fields = {
        **asdict(measured),
        "n_units": measured.n_words,
        "n_words": n_words,
        "perplexity": measured.perplexity(),
        "perplexity_without_unknown": measured.perplexity(unknown=False),
        "word_perplexity": per_word,
    }
    return json.dumps({k: v if math.isfinite(v) else None for k, v in fields.items()}, indent=2)


def _as_text(measured: Perplexity, n_words: int, per_word: float) -> str:
    return (
        f"sentences {measured.n_sentences:,}  units {measured.n_words:,}  words {n_words:,}  "
        f"unknown {measured.n_unknown:,}\n"
        f"perplexity per unit {measured.perplexity():.3f}, without unknown "
        f"{measured.perplexity(unknown=False):.3f}\n"
        f"perplexity per word {per_word:.2f} (all probabilities, over words and sentence ends)"
    )


def generate(arguments: argparse.Namespace) -> None:
    """Print sentences drawn from a model."""
    if not arguments.temperature > 0:
        raise LanguageModelError(f"temperature {arguments.temperature}: a number above 0 is needed")
    model = _load(arguments)
    generator = np.random.default_rng(arguments.seed)
    for _ in range(arguments.sentences):
        tokens = sample_tokens(
            model,
            generator,
            prefix=model.units.encode(arguments.prefix),
            max_tokens=arguments.max_words,
            temperature=arguments.temperature,
        )
        print(model.units.decode(tokens))
