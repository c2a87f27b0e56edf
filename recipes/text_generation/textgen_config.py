"""The configuration of this recipe."""

from pydantic import Field

from asr.toml_config import Section
from lm.neural_config import NeuralModelConfig, NeuralTrainingConfig

__all__ = ["ClassicConfig", "TextConfig", "TextgenConfig"]


class TextConfig(Section):
    """The text; what both models hold out is its end."""

    held_out: float = Field(default=0.1, gt=0, lt=1, description="fraction at the end")
    characters: int = Field(default=0, ge=0, description="of the text that are used; 0: all")


class ClassicConfig(Section):
    """Windows of characters and what comes next."""

    window: int = Field(default=40, ge=1)
    step: int = Field(default=3, ge=1, description="characters from window to window")
    hidden_size: int = Field(default=128, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    epochs: int = Field(default=60, ge=1)
    sample_length: int = Field(default=400, ge=1)


class TextgenConfig(Section):
    """Text, the classic model, and the modern one with its training."""

    seed: int = Field(default=0, ge=0)
    text: TextConfig = TextConfig()
    classic: ClassicConfig = ClassicConfig()
    model: NeuralModelConfig = NeuralModelConfig()
    training: NeuralTrainingConfig = NeuralTrainingConfig()
