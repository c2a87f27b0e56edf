"""A neural language model's configuration: TOML in, strict frozen dataclasses out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import Field

from asr.config import TrainingConfig
from asr.toml_config import Override, Section, dump_toml, load_toml, parse_toml

__all__ = [
    "NeuralConfig",
    "NeuralModelConfig",
    "NeuralTextConfig",
    "NeuralTrainingConfig",
    "dump_neural_config",
    "load_neural_config",
    "parse_neural_config",
]


class NeuralTextConfig(Section):
    """The text, a sentence a line, and what its tokens are."""

    train: list[str] = Field(default=[], description="files: plain, gzip or xz")
    dev: list[str] = Field(default=[], description="files; empty: lines of the training text")
    held_out: int = Field(default=500, ge=2, description="without dev: every so many-th line is it")
    dev_sentences: int = Field(default=2000, ge=1, description="of dev at most")
    units: Literal["characters", "pieces", "words", "tokenizer"] = "characters"
    n_units: int = Field(default=0, ge=0, description="pieces (1000) or words (20000)")
    words: str = Field(default="", description="word list, instead of the most frequent words")
    tokenizer: str = Field(default="", description="folder, for units = 'tokenizer'")
    normalize: bool = Field(default=False, description="bring the text to A-Z and '")


class NeuralModelConfig(Section):
    """The network; see `lm.neural.LstmLM` and `lm.neural.Nplm`."""

    kind: Literal["lstm", "nplm"] = "lstm"
    embedding_size: int = Field(default=256, ge=1)
    hidden_size: int = Field(default=512, ge=1)
    n_layers: int = Field(default=2, ge=1, description="lstm")
    cell: Literal["lstm", "gru", "rnn"] = Field(default="lstm", description="lstm")
    dropout: float = Field(default=0.1, ge=0, lt=1)
    layer_norm: bool = Field(default=False, description="lstm")
    tied: bool = Field(default=True, description="the output shares the embedding's vectors")
    order: int = Field(default=5, ge=2, description="nplm")
    direct: bool = Field(default=True, description="nplm")
    cutoffs: list[int] = Field(default=[], description="of an adaptive softmax, for many words")


class NeuralTrainingConfig(TrainingConfig):
    """Optimisation; see `asr.fit.fit`."""

    epochs: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=200, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    batch_size: int = Field(default=64, ge=1, description="streams per process")
    segment: int = Field(default=128, ge=1, description="tokens that gradients flow back over")
    n_samples: int = Field(default=0, ge=0, description="of a sampled softmax; 0: the exact loss")
    vectors: Literal["random", "cooccurrence"] = Field(
        default="random", description="token vectors to start from"
    )


class NeuralConfig(Section):
    """Everything that defines a neural language model and its training."""

    seed: int = Field(default=0, ge=0)
    text: NeuralTextConfig = NeuralTextConfig()
    model: NeuralModelConfig = NeuralModelConfig()
    training: NeuralTrainingConfig = NeuralTrainingConfig()


def parse_neural_config(
    text: str, *, source: str, overrides: Iterable[Override] = ()
) -> NeuralConfig:
    """Read a configuration from TOML text; see `asr.toml_config.parse_toml`."""
    return parse_toml(NeuralConfig, text, source=source, overrides=overrides)


def load_neural_config(path: Path, overrides: Iterable[Override] = ()) -> NeuralConfig:
    """Read a configuration file; see `asr.toml_config.load_toml`."""
    return load_toml(NeuralConfig, path, overrides)


def dump_neural_config(config: NeuralConfig) -> str:
    """Write a configuration as TOML that `parse_neural_config` reads back to an equal one."""
    return dump_toml(config)
