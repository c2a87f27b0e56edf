"""Gradient descent over blocks of a text, by threads that share the weights without locks."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from encoded_text import EncodedText, make_sampling
from full_softmax import train_block_softmax
from kernels import Block, Floats, Scheme, Sentences, Weights, train_block
from safetensors.numpy import load_file, save_file
from word2vec_config import Model, Word2vecConfig

from asr.checkpoint import atomic_folder, read_json, restore_replaced, write_json
from asr.errors import ConfigError

__all__ = ["Progress", "blocks", "initial_weights", "scheme_of", "train"]

# Few enough that a thread's last block is soon done, enough that taking one costs nothing.
_BLOCK_TOKENS = 10_000
# Blocks of a thread between two looks at the clock.
_BLOCKS_PER_ROUND = 20


@dataclass
class Progress:
    """How far a training is.

    Args:
        n_done: blocks learned from
        seconds: that passed
        cpu_seconds: of all threads
    """

    n_done: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


def scheme_of(model: Model, config: Word2vecConfig) -> Scheme:
    """Return what a model predicts from what."""
    settings = config.model
    is_divided = settings.cbow_gradient == "mean"
    return Scheme(settings.window, settings.negatives, model.bags, is_divided)


def initial_weights(n_words: int, size: int, seed: int) -> Weights:
    """Return input vectors evenly from -1/2D to 1/2D, and output vectors of zeros."""
    generator = np.random.default_rng(seed)
    inputs: Floats = generator.random((n_words, size), np.float32)
    inputs -= np.float32(0.5)
    inputs /= np.float32(size)
    return Weights(inputs, np.zeros((n_words, size), np.float32))


def blocks(
    sentences: Sentences, n_epochs: int, rates: tuple[float, float], seed: int
) -> list[Block]:
    """Cut a text into blocks of whole sentences, once for each reading.

    Args:
        sentences: the text
        n_epochs: readings
        rates: the first and the last learning rate; it falls linearly over all readings
        seed: each block gets its own from it
    """
    starts = sentences.starts
    n_tokens = len(sentences.tokens)
    cuts = np.searchsorted(starts, np.arange(0, n_tokens, _BLOCK_TOKENS)[1:])
    borders = np.unique([0, *cuts, len(starts) - 1]).tolist()
    first_rate, last_rate = rates

    def rate(epoch: int, sentence: int) -> float:
        done = (epoch + starts[sentence] / max(n_tokens, 1)) / n_epochs
        return float(first_rate + (last_rate - first_rate) * done)

    spans = [(epoch, *span) for epoch in range(n_epochs) for span in pairwise(borders)]
    seeds = np.random.SeedSequence(seed).generate_state(len(spans), np.uint64)
    return [
        Block(first, last, rate(epoch, first), rate(epoch, last), block_seed)
        for (epoch, first, last), block_seed in zip(spans, seeds, strict=True)
    ]


def train(
    text: EncodedText,
    model: Model,
    config: Word2vecConfig,
    folder: Path,
    on_progress: Callable[[Progress, int], None] | None = None,
) -> tuple[Weights, Progress]:
    """Train a model; go on from the state in a folder, if there is one.

    Args:
        text: whole or of the small vocabulary, as the model wants it
        model: its kind
        config: everything else
        folder: for the folder `state` in it, written now and then
        on_progress: told the progress and the number of blocks

    Returns:
        The weights, and how long it took.

    Raises:
        ConfigError: the state is of other settings
    """
    settings = config.training
    first_rate = settings.cbow_learning_rate if model.bags else settings.learning_rate
    n_epochs = config.small.epochs if model.small else settings.epochs
    rates = first_rate, settings.final_learning_rate
    todo = blocks(text.training, n_epochs, rates, config.seed)
    weights, progress = _start(folder / "state", text, config)
    sampling = make_sampling(text.counts, config.model.sample)
    scheme = scheme_of(model, config)
    learn = train_block_softmax if model.softmax else train_block
    # Compiled before the clock runs.
    learn(weights, sampling, text.training, scheme, Block(0, 0, 0.0, 0.0, np.uint64(0)))

    saved = time.monotonic()
    with ThreadPoolExecutor(settings.threads) as pool:
        for group in _rounds(todo[progress.n_done :], _BLOCKS_PER_ROUND * settings.threads):
            wall, cpu = time.monotonic(), time.process_time()
            list(
                pool.map(
                    lambda block: learn(weights, sampling, text.training, scheme, block), group
                )
            )
            progress.n_done += len(group)
            progress.seconds += time.monotonic() - wall
            progress.cpu_seconds += time.process_time() - cpu
            if on_progress is not None:
                on_progress(progress, len(todo))
            if time.monotonic() - saved > settings.save_seconds:
                _save(folder / "state", weights, progress, config)
                saved = time.monotonic()
    return weights, progress


def _rounds(todo: list[Block], n: int) -> Iterator[list[Block]]:
    for first in range(0, len(todo), n):
        yield todo[first : first + n]


def _save(folder: Path, weights: Weights, progress: Progress, config: Word2vecConfig) -> None:
    with atomic_folder(folder) as writing:
        save_file(weights._asdict(), writing / "weights.safetensors")
        write_json(writing / "progress.json", {"config": _settings(config), **asdict(progress)})


def _start(folder: Path, text: EncodedText, config: Word2vecConfig) -> tuple[Weights, Progress]:
    restore_replaced(folder)
    if not folder.exists():
        return initial_weights(len(text.words), config.model.size, config.seed), Progress()
    found = read_json(folder / "progress.json")
    if found.pop("config") != _settings(config):
        raise ConfigError(
            f"{folder}: is of other settings; remove it, or give the old ones or another folder"
        )
    return Weights(**load_file(folder / "weights.safetensors")), Progress(**found)


def _settings(config: Word2vecConfig) -> dict[str, Any]:
    """What the weights depend on."""
    return config.model_dump(
        mode="json",
        exclude={"models": True, "map": True, "training": {"threads", "save_seconds"}},
    )
