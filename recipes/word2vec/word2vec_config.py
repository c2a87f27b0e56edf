"""The configuration of this recipe, and the models it can train."""

from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from asr.toml_config import Section

__all__ = [
    "MODELS",
    "CorpusConfig",
    "MapConfig",
    "Model",
    "ModelConfig",
    "SmallConfig",
    "TrainingConfig",
    "Word2vecConfig",
]


class Model(NamedTuple):
    """A kind of model.

    Args:
        bags: CBOW; else skip-gram
        softmax: over the whole vocabulary; else negative sampling
        small: on the text and vocabulary of the section [small]
    """

    bags: bool
    softmax: bool
    small: bool


MODELS = {
    "skipgram": Model(bags=False, softmax=False, small=False),
    "cbow": Model(bags=True, softmax=False, small=False),
    "small-skipgram": Model(bags=False, softmax=False, small=True),
    "small-skipgram-softmax": Model(bags=False, softmax=True, small=True),
    "small-cbow": Model(bags=True, softmax=False, small=True),
    "small-cbow-softmax": Model(bags=True, softmax=True, small=True),
}


class CorpusConfig(Section):
    """What of the text is used."""

    min_count: int = Field(default=5, ge=1, description="rarer words are left out of the text")
    n_words: int = Field(default=0, ge=0, description="of the text that are read; 0: all")
    held_out: int = Field(default=500, ge=2, description="every so-many-th sentence is held out")


class ModelConfig(Section):
    """The vectors and what they learn from."""

    size: int = Field(default=100, ge=1)
    window: int = Field(default=5, ge=1, description="most words on either side")
    negatives: int = Field(default=5, ge=1, description="drawn beside each target")
    sample: float = Field(
        default=1e-3,
        ge=0,
        description="words above this share of the text are thinned out; 0: none",
    )
    cbow_gradient: Literal["mean", "sum"] = Field(
        default="sum", description="sum: as in word2vec.c, which does not divide it by the bag"
    )


class TrainingConfig(Section):
    """Stochastic gradient descent with a rate that falls linearly."""

    epochs: int = Field(default=5, ge=1)
    threads: int = Field(default=2, ge=1, description="1: the same vectors for the same seed")
    learning_rate: float = Field(default=0.025, gt=0)
    cbow_learning_rate: float = Field(default=0.05, gt=0)
    final_learning_rate: float = Field(default=1e-4, ge=0)
    save_seconds: float = Field(default=60, gt=0, description="between states to go on from")


class SmallConfig(Section):
    """The small vocabulary, where a softmax over all of it can be afforded."""

    vocabulary: int = Field(default=2000, ge=2, description="most frequent words")
    n_words: int = Field(default=1_000_000, ge=1, description="of the text in this vocabulary")
    epochs: int = Field(default=3, ge=1)


class MapConfig(Section):
    """The picture: some words with their neighbours among the others."""

    model: str = Field(default="skipgram", description="one of the models")
    words: tuple[str, ...] = Field(
        default=("KING", "MOTHER", "HORSE", "LONDON", "RED", "WINTER", "SEVEN", "HAND"),
        min_length=1,
    )
    neighbours: int = Field(default=9, ge=0, description="of each, named in its colour")
    background: int = Field(default=1000, ge=0, description="the most frequent words, as dots")


class Word2vecConfig(Section):
    """Everything."""

    seed: int = Field(default=0, ge=0)
    models: tuple[str, ...] = tuple(MODELS)
    corpus: CorpusConfig = CorpusConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    small: SmallConfig = SmallConfig()
    map: MapConfig = MapConfig()

    @field_validator("models")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in MODELS]
        if unknown or not names:
            raise ValueError(f"unknown model {unknown}; known: {', '.join(MODELS)}")
        return names
