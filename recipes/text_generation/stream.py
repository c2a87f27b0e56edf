"""The modern set-up: a stacked LSTM that reads the whole text and never forgets where it was.

The network, its batches and its truncated backpropagation are those of `lm`; what is different
here is that the text is one stream with its line breaks, not sentences, so that no state is ever
set back.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from characters import Characters, bits
from numpy.typing import NDArray
from textgen_config import TextgenConfig
from torch import Tensor, nn

from asr.errors import ConfigError
from asr.fit import FitSettings, fit, has_checkpoint
from asr.nn.cells import State
from asr.world import World, start_world
from lm.neural import LstmLM
from lm.neural_config import NeuralConfig
from lm.neural_model import NeuralLanguageModel
from lm.neural_train import TextBatches, TextTraining, start_from_text
from lm.units import TokenizerUnits

__all__ = ["StreamTask", "measure", "start_behind", "train"]


@torch.no_grad()
def measure(network: LstmLM, tokens: NDArray[np.uint8], *, n_streams: int = 16) -> float:
    """Return the mean -log2 P of the characters of a text read as some long streams.

    Args:
        network: in eval mode.
        tokens: (N,); what does not fill the last column is left out.
        n_streams: read side by side, each from the zero state.
    """
    device = network.embedding.weight.device
    n_columns = len(tokens) // n_streams
    streams = torch.from_numpy(tokens[: n_columns * n_streams].astype(np.int64))
    streams = streams.view(n_streams, n_columns).to(device)
    state, total = network.start(n_streams), 0.0
    for first in range(0, n_columns - 1, 256):
        stretch = streams[:, first : first + 257]
        hidden, state = network.hidden(stretch[:, :-1], state)
        total -= float(network.output.target_log_probs(hidden, stretch[:, 1:]).sum())
    return bits(total / (n_streams * (n_columns - 1)))


class StreamTask:
    """What `fit` trains and measures.

    Args:
        model: the language model, with its configuration.
        held_out: (N,) tokens.
    """

    def __init__(self, model: NeuralLanguageModel, held_out: NDArray[np.uint8]) -> None:
        self.model, self.held_out = model, held_out
        settings = model.config.training
        self._module = TextTraining(model.network, settings.batch_size, settings.n_samples)

    @property
    def module(self) -> nn.Module:
        """The network with its loss."""
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        """Measure bits per character on the held-out end."""
        network = self.model.network
        assert isinstance(network, LstmLM)
        value = measure(network, self.held_out)
        print(f"modern: {value:.3f} bits per character held out", flush=True)
        return {"bits": value}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write the model folder."""
        self.model.save(folder, metrics)


def train(config: TextgenConfig, text: Characters, folder: Path) -> None:
    """Train the modern model; the same call goes on after an interruption.

    Raises:
        ConfigError: the model is none that has a state.
    """
    if config.model.kind != "lstm":
        raise ConfigError(
            f"model.kind = {config.model.kind!r} reads a window, not a stream; use 'lstm' (and "
            "model.cell for other cells)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    settings = config.training
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = start_world(settings.device)
    torch.manual_seed(config.seed)
    built = NeuralConfig(seed=config.seed, model=config.model, training=settings)
    model = NeuralLanguageModel(built, TokenizerUnits(text.tokenizer))
    if not has_checkpoint(folder):
        start_from_text(model, text.training)
    batches = TextBatches(
        text.training,
        batch_size=settings.batch_size,
        segment=settings.segment,
        seed=config.seed,
    )
    fitting = FitSettings.of(settings, seed=config.seed, minimise=("bits",))
    task = StreamTask(model, text.held_out)
    result = fit(task, batches, fitting, folder, world=world)
    print(f"modern: {result.best[0]:.3f} after update {result.best_step}; {result.reason}")


@torch.inference_mode()
def start_behind(
    model: NeuralLanguageModel, prompt: list[int], n_sequences: int
) -> tuple[State, list[int]]:
    """Read a prompt; returns the state before its last token, and that token, n times."""
    state = model.start(n_sequences)
    tokens: Tensor = torch.tensor(prompt, device=model.device).expand(n_sequences, -1)
    if len(prompt) > 1:
        _, state = model.network.hidden(tokens[:, :-1], state)
    return state, [prompt[-1]] * n_sequences
