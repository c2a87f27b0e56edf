"""A neural language model as a folder: network, units and configuration."""

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from asr import __version__
from asr.checkpoint import Precision, read_tensors, write_json, write_tensors
from asr.errors import CheckpointError
from asr.nn.cells import State
from asr.search import Sampling, sample
from lm.backoff import Floats
from lm.neural import END, LstmLM, NeuralNetwork, Nplm
from lm.neural_config import (
    NeuralConfig,
    NeuralModelConfig,
    dump_neural_config,
    load_neural_config,
)
from lm.perplexity import Perplexity
from lm.units import Units, load_units

__all__ = [
    "NeuralLanguageModel",
    "build_network",
    "measure_neural_perplexity",
    "sample_tokens",
    "sentence_log_probs",
]

_BATCH_TOKENS = 8192


def build_network(config: NeuralModelConfig, n_tokens: int) -> LstmLM | Nplm:
    """Make the network that a configuration describes."""
    if config.kind == "nplm":
        return Nplm(
            n_tokens,
            order=config.order,
            embedding_size=config.embedding_size,
            hidden_size=config.hidden_size,
            dropout=config.dropout,
            direct=config.direct,
            tied=config.tied,
            cutoffs=config.cutoffs,
        )
    return LstmLM(
        n_tokens,
        embedding_size=config.embedding_size,
        hidden_size=config.hidden_size,
        n_layers=config.n_layers,
        cell=config.cell,
        dropout=config.dropout,
        layer_norm=config.layer_norm,
        tied=config.tied,
        cutoffs=config.cutoffs,
    )


class NeuralLanguageModel(nn.Module):
    """A network with what its tokens stand for.

    Batches of a beam search go by

        state = model.start(n)
        log_probs, state = model.step(state, tokens)    # tokens of the first step: 0

    Args:
        config: what built it; kept for saving.
        units: what tokens stand for.
    """

    def __init__(self, config: NeuralConfig, units: Units) -> None:
        super().__init__()
        self.config = config
        self.units = units
        self.network: LstmLM | Nplm = build_network(config.model, len(units.symbols))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.network.parameters()).device

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbol of each token; the first is "</s>"."""
        return self.units.symbols

    def start(self, n_sequences: int) -> State:
        """Return the state before the first token, which is 0."""
        return self.network.start(n_sequences)

    @torch.inference_mode()
    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        """Read one token of each sequence.

        Args:
            state: before it, see `lm.neural.select_state`.
            tokens: (B,) int64.

        Returns:
            log-probabilities of what may follow, (B, V), 0 the end; and the state after.
        """
        return self.network.step(state, tokens)

    def log_probs(self, sentences: Sequence[Sequence[int]]) -> list[Floats]:
        """Return log P of each token and of the end, (U + 1,) for each sentence of U tokens."""
        return sentence_log_probs(self.network, sentences)

    def save(
        self,
        folder: Path,
        metrics: Mapping[str, Any],
        *,
        precision: Precision = "float32",
    ) -> None:
        """Write config.toml, model.safetensors, the units and metrics.json into a folder.

        Args:
            folder: exists already.
            metrics: figures to keep with the model.
            precision: of the weights in the file; see `asr.checkpoint.write_tensors`.
        """
        (folder / "config.toml").write_text(dump_neural_config(self.config), encoding="utf-8")
        tensors = self.network.state_dict()
        write_tensors(folder / "model.safetensors", tensors, precision=precision)
        self.units.save(folder)
        made_by = {"version": __version__, "torch": torch.__version__}
        write_json(folder / "metrics.json", {**made_by, **metrics})

    @classmethod
    def load(
        cls, name: str | os.PathLike[str], device: torch.device | str = "cpu"
    ) -> "NeuralLanguageModel":
        """Read a model folder, in eval mode; an experiment folder stands for its `best`.

        Raises:
            CheckpointError: the folder is missing, damaged or inconsistent.
        """
        folder = Path(name)
        if not (folder / "model.safetensors").exists() and (folder / "best").is_dir():
            folder = folder / "best"
        if not (folder / "config.toml").is_file():
            raise CheckpointError(
                f"{folder}: no neural language model (it has no config.toml); make one with "
                "`python -m lm train --kind lstm`"
            )
        model = cls(load_neural_config(folder / "config.toml"), load_units(folder))
        tensors = read_tensors(folder / "model.safetensors")
        try:
            model.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(
                f"{folder}: weights and config.toml do not belong together "
                f"({' '.join(str(error).split())[:120]}); copy the whole folder anew"
            ) from None
        return model.to(device).eval()


@torch.no_grad()
def sentence_log_probs(network: NeuralNetwork, sentences: Sequence[Sequence[int]]) -> list[Floats]:
    """Score sentences in batches of similar length, each from the start state.

    Args:
        network: in eval mode.
        sentences: tokens without the end.

    Returns:
        For each, log P of its tokens and its end, (U + 1,).
    """
    if not sentences:
        return []
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    results: list[Floats] = [np.zeros(0, np.float32)] * len(sentences)
    bounds = [0]
    for position, index in enumerate(order):
        n_tokens = (len(sentences[index]) + 1) * (position + 1 - bounds[-1])
        if n_tokens > _BATCH_TOKENS and position > bounds[-1]:
            bounds.append(position)
    for first, last in pairwise([*bounds, len(order)]):
        group = order[first:last]
        targets = pad_sequence(
            [torch.tensor([*sentences[index], END]) for index in group], batch_first=True
        )
        state = network.start(len(group))
        targets = targets.to(state[0].device)
        inputs = torch.cat([torch.full_like(targets[:, :1], END), targets[:, :-1]], dim=1)
        hidden, _ = network.hidden(inputs, state)
        log_probs = network.output.target_log_probs(hidden, targets).cpu().numpy()
        for row, index in zip(log_probs, group, strict=True):
            results[index] = row[: len(sentences[index]) + 1].copy()
    return results


def measure_neural_perplexity(
    model: NeuralLanguageModel, sentences: Sequence[str]
) -> tuple[Perplexity, int]:
    """Score a text.

    Returns:
        the sums, whose words are the model's units, and the number of words parted by spaces.
    """
    tokens = [model.units.encode(sentence) for sentence in sentences]
    known = unknown = end = 0.0
    n_unknown = 0
    for ids, log_probs in zip(tokens, model.log_probs(tokens), strict=True):
        is_unknown = np.array([token == model.units.unknown for token in ids], np.bool_)
        values = log_probs.astype(np.float64)
        n_unknown += int(is_unknown.sum())
        unknown += float(values[:-1][is_unknown].sum())
        known += float(values[:-1][~is_unknown].sum())
        end += float(values[-1])
    n_units = sum(map(len, tokens))
    measured = Perplexity(len(tokens), n_units, n_unknown, known, unknown, end)
    return measured, sum(len(sentence.split()) for sentence in sentences)


@torch.inference_mode()
def sample_tokens(
    model: NeuralLanguageModel,
    generator: np.random.Generator,
    *,
    prefix: Sequence[int] = (),
    max_tokens: int = 100,
    temperature: float = 1.0,
) -> list[int]:
    """Draw tokens from P(w | before)^(1 / temperature) until the end; unknown is never drawn.

    Args:
        model: the model.
        generator: the source of chance.
        prefix: tokens that stand first.
        max_tokens: length at most, with the prefix.
        temperature: > 0; below 1 likely tokens become likelier still.
    """
    tokens = list(prefix)
    state = model.start(1)
    for token in [END, *tokens][:-1]:
        _, state = model.step(state, torch.tensor([token], device=model.device))
    if len(tokens) >= max_tokens:
        return tokens
    (found,) = sample(
        model,
        state,
        [max_tokens - len(tokens)],
        generator=torch.Generator().manual_seed(int(generator.integers(2**62))),
        sampling=Sampling(temperature=temperature),
        first=[tokens[-1] if tokens else END],
        forbidden=() if model.units.unknown is None else (model.units.unknown,),
    )
    return [*tokens, *found.tokens]
