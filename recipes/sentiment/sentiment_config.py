"""The configurations of this recipe: of an experiment, and of a saved classifier."""

from typing import Literal

from pydantic import Field, PositiveInt

from asr.config import TrainingConfig
from asr.toml_config import Section
from lm.neural_config import NeuralModelConfig, NeuralTrainingConfig

__all__ = [
    "ClassifierConfig",
    "ClassifierTrainingConfig",
    "CsvConfig",
    "FineTuningConfig",
    "HeadConfig",
    "LanguageModelConfig",
    "Model",
    "PreparationConfig",
    "SentimentConfig",
    "TextConfig",
    "TransformerConfig",
]

Model = Literal["tfidf", "lstm", "bilstm", "ulmfit", "frozen", "finetuned"]


class CsvConfig(Section):
    """The set `csv`: any CSV file with a text and a label a row; the columns are ASAD's."""

    file: str = ""
    text: str = Field(default="tweet_txt", description="column")
    label: str = Field(default="sentiment", description="column")


class TextConfig(Section):
    """What is done to texts; see `cleaning.clean`."""

    link: str = Field(default="link", description="what an address is replaced by")
    user: str = Field(default="user", description="what @somebody is replaced by")
    max_length: int = Field(default=128, ge=2, description="tokens; what follows is cut off")


class PreparationConfig(Section):
    """What `prepare.py` makes of the sets."""

    n_pieces: int = Field(default=4000, ge=10, description="word pieces of an LSTM")
    limit: dict[str, PositiveInt] = Field(default={}, description="texts of a part, by set")


class LanguageModelConfig(NeuralTrainingConfig):
    """What the language model reads, and how it is trained; see `lm.neural_train`."""

    sets: list[str] = Field(default=["arsarcasm", "astd", "ajgt"])
    held_out: int = Field(default=20, ge=2, description="every so many-th text is held out")


class HeadConfig(Section):
    """What the LSTM classifier has beside `[model]`; see `lstm_classifier.LstmNetwork`."""

    hidden_size: int = Field(default=50, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    token_dropout: float = Field(default=0.1, ge=0, lt=1, description="of whole tokens")


class ClassifierTrainingConfig(TrainingConfig):
    """How a classifier is trained: the rate rises once and falls once."""

    cycle_start: float = Field(default=0.1, ge=0, lt=1, description="fraction of rising rate")
    warmup_steps: int = Field(default=0, ge=0, le=0, description="cycle_start stands for it")
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "linear"
    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    clip_norm: float = Field(default=1.0, gt=0)
    checkpoint_every: int = Field(default=1000, ge=1)
    keep: int = Field(default=1, ge=1)
    batch_size: int = Field(default=32, ge=1)
    balance: float = Field(
        default=0.0, ge=0, le=1, description="exponent of 1 / frequency in the weight of a class"
    )
    seeds: int = Field(default=3, ge=1, description="trainings, with seeds 0, 1, ...")


class FineTuningConfig(ClassifierTrainingConfig):
    """How a language model becomes a classifier; see `lstm_classifier.fine_tune`."""

    rate_factor: float = Field(default=2.6, ge=1, description="from layer to layer, downwards")
    unfreeze_epochs: int = Field(default=1, ge=1, description="of each stage but the last")


class TransformerConfig(ClassifierTrainingConfig):
    """Which pre-trained transformer, and how it is fine-tuned."""

    model: str = Field(
        default="aubmindlab/bert-base-arabertv02",
        description="name on the hub, folder, or package:NAME for one that a package carries",
    )
    cycle_start: float = Field(default=0.3, ge=0, lt=1)
    epochs: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    batch_size: int = Field(default=64, ge=1)
    seeds: int = Field(default=1, ge=1)


class SentimentConfig(Section):
    """Sets and models, and how these are trained."""

    runs: dict[str, list[Model]] = Field(default={}, description="models by set")
    csv: CsvConfig = CsvConfig()
    text: TextConfig = TextConfig()
    preparation: PreparationConfig = PreparationConfig()
    model: NeuralModelConfig = NeuralModelConfig()
    lm: LanguageModelConfig = LanguageModelConfig()
    head: HeadConfig = HeadConfig()
    training: ClassifierTrainingConfig = ClassifierTrainingConfig()
    ulmfit: FineTuningConfig = FineTuningConfig()
    transformer: TransformerConfig = TransformerConfig()


class ClassifierConfig(Section):
    """What a saved classifier needs to know beside its weights."""

    kind: Model
    labels: list[str] = Field(min_length=2)
    text: TextConfig = TextConfig()
    model: NeuralModelConfig = NeuralModelConfig()
    head: HeadConfig = HeadConfig()
    transformer: str = Field(default="", description="of a frozen model")
