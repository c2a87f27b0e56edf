"""The configuration of this recipe."""

from pydantic import Field

from asr.toml_config import Section

__all__ = ["CompareConfig", "EstimateConfig", "NgramConfig", "SampleConfig"]


class EstimateConfig(Section):
    """Which models are estimated and measured."""

    sizes: list[int] = Field(default=[0], min_length=1, description="words to train on; 0: all")
    orders: list[int] = Field(default=[1, 2, 3, 4, 5], min_length=1)


class CompareConfig(Section):
    """Which of them lmplz estimates, too."""

    size: int = Field(default=0, ge=0, description="words to train on, one of the sizes")
    orders: list[int] = Field(default=[2, 3, 4, 5], description="kenlm reads models from 2")
    memory: str = "1G"


class SampleConfig(Section):
    """Sentences drawn from the models."""

    size: int = Field(default=0, ge=0, description="words the models are trained on, of the sizes")
    sentences: int = Field(default=3, ge=0, description="of each order")
    max_words: int = Field(default=25, ge=1)


class NgramConfig(Section):
    """All of it."""

    seed: int = Field(default=0, ge=0)
    estimate: EstimateConfig = EstimateConfig()
    compare: CompareConfig = CompareConfig()
    samples: SampleConfig = SampleConfig()
