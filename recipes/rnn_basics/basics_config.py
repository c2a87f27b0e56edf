"""The configuration of this recipe: one section a lesson."""

from typing import Literal

from pydantic import Field

from asr.toml_config import Section

__all__ = ["BasicsConfig", "CountingConfig", "GradientConfig", "MemoryConfig"]

Activation = Literal["identity", "relu", "tanh", "sigmoid"]


class CountingConfig(Section):
    """Counting ones with a recurrence whose gradient is written by hand."""

    activation: Activation = "identity"
    hidden_size: int = Field(default=1, ge=1)
    train_length: int = Field(default=20, ge=1, description="bits of a training sequence")
    test_length: int = Field(default=100, ge=1)
    n_train: int = Field(default=200, ge=1)
    n_test: int = Field(default=1000, ge=1)
    steps: int = Field(default=600, ge=1, description="updates, each on all training sequences")


class GradientConfig(Section):
    """Gradients over time and over updates, of several activations, with and without cures."""

    hidden_size: int = Field(default=32, ge=1)
    length: int = Field(default=100, ge=2, description="steps that gradients flow back over")
    radii: list[float] = Field(default=[0.7, 1.0, 1.3], min_length=1)
    task_length: int = Field(default=60, ge=2, description="bits to count while training")
    steps: int = Field(default=300, ge=1, description="updates")
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=0.05, gt=0, description="of plain gradient descent")
    clip_norm: float = Field(default=1.0, gt=0)


class MemoryConfig(Section):
    """The adding problem and the copy task."""

    tasks: list[Literal["adding", "copy"]] = Field(default=["adding", "copy"], min_length=1)
    cells: list[Literal["rnn", "gru", "lstm", "lstm-chrono"]] = Field(
        default=["rnn", "gru", "lstm", "lstm-chrono"], min_length=1
    )
    delays: list[int] = Field(default=[10, 100, 500], min_length=1)
    max_steps: list[int] = Field(default=[5000, 3000, 1000], description="for each delay")
    hidden_size: int = Field(default=64, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    clip_norm: float = Field(default=1.0, gt=0)
    evaluate_every: int = Field(default=50, ge=1)
    n_test: int = Field(default=200, ge=1)
    n_symbols: int = Field(default=5, ge=1, description="to copy, drawn from 8")


class BasicsConfig(Section):
    """All lessons."""

    seed: int = Field(default=0, ge=0)
    counting: CountingConfig = CountingConfig()
    gradients: GradientConfig = GradientConfig()
    memory: MemoryConfig = MemoryConfig()
