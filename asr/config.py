"""A recogniser's configuration: TOML in, strict frozen dataclasses out.

One file describes a training run; a copy lies in every model folder.  Single values are
overridden with `--set section.name=value`, where the value is read as TOML.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.toml_config import Override, Section, dump_toml, load_toml, parse_toml

__all__ = [
    "DECODING_FILES",
    "AugmentConfig",
    "Config",
    "DataConfig",
    "DecodingConfig",
    "FeatureConfig",
    "ModelConfig",
    "TokenizerConfig",
    "TrainingConfig",
    "dump_config",
    "load_config",
    "load_decoding",
    "parse_config",
]


class DataConfig(Section):
    """Where the utterances are and how they become batches."""

    train: list[str] = Field(default=[], description="manifests to train on")
    dev: list[str] = Field(default=[], description="manifests whose WER is measured and minimised")
    batch_seconds: float = Field(default=160.0, gt=0, description="audio per batch and process")
    max_batch_size: int = Field(default=64, ge=1, description="utterances per batch at most")
    min_seconds: float = Field(default=0.3, ge=0, description="shorter utterances are left out")
    max_seconds: float = Field(default=25.0, gt=0, description="longer utterances are left out")
    shortest_first: bool = Field(default=True, description="first epoch in order of duration")
    cache: Literal["none", "waveforms", "features", "device"] = Field(
        default="none",
        description="keep nothing, int16 audio, float16 features, or features on the device",
    )
    workers: int = Field(default=2, ge=1, description="threads that prepare batches")
    prefetch: int = Field(default=4, ge=1, description="batches prepared ahead")


class FeatureConfig(Section):
    """The front end; see `asr.features.FeatureExtractor`."""

    kind: Literal["logmel", "mfcc"] = "logmel"
    n_mels: int = Field(default=80, ge=8, le=256)
    n_mfcc: int = Field(default=13, ge=1, le=256)
    deltas: bool = False
    hop_ms: float = Field(
        default=10.0, ge=2.5, le=25, multiple_of=0.0625, description="from one frame to the next"
    )
    normalization: Literal["none", "global", "utterance", "sliding"] = "sliding"
    window_seconds: float = Field(default=10.0, gt=0, description="span of the sliding mean")


class AugmentConfig(Section):
    """What is done to training audio; everything is off at its neutral value."""

    speeds: list[Annotated[float, Field(ge=0.5, le=2)]] = Field(
        default=[1.0], min_length=1, description="speed factors drawn from"
    )
    noise_folder: str = ""
    noise_probability: float = Field(default=0.0, ge=0, le=1)
    noise_snr_db: tuple[float, float] = (5.0, 20.0)
    reverberation_folder: str = Field(default="", description="impulse responses; empty: simulated")
    reverberation_probability: float = Field(default=0.0, ge=0, le=1)
    gain_db: float = Field(default=0.0, ge=0, description="gain drawn from -gain_db to gain_db")
    telephone_probability: float = Field(default=0.0, ge=0, le=1)
    n_time_masks: int = Field(default=0, ge=0, description="SpecAugment; 0 switches it off")
    time_mask_frames: int = Field(default=40, ge=1)
    time_mask_fraction: float = Field(default=0.2, ge=0, le=1, description="of an utterance")
    n_frequency_masks: int = Field(default=0, ge=0)
    frequency_mask_bins: int = Field(default=27, ge=1)
    frequency_warp: float = Field(
        default=0.0, ge=0, le=0.5, description="vocal-tract length by up to this part; log-mel only"
    )

    @property
    def changes_waveforms(self) -> bool:
        """Whether audio is changed at random beyond a choice of speed."""
        return bool(
            self.noise_probability
            or self.reverberation_probability
            or self.gain_db
            or self.telephone_probability
        )


class TokenizerConfig(Section):
    """The output units; `folder` holds a tokenizer made by `asr prepare`, or is a model's.

    Characters are the default; a run that starts from a model (`--init-from`) keeps its units.
    """

    kind: Literal["characters", "folder"] = "characters"
    folder: str = ""


class ModelConfig(Section):
    """The acoustic model; see `asr.models.ctc.CtcModel`."""

    name: str = "ctc"
    subsampling: Literal[2, 3, 4, 8] = 4
    subsampling_channels: int = Field(default=32, ge=1)
    subsampling_blocks: list[Annotated[int, Field(ge=0)]] = Field(
        default=[], description="residual blocks after each convolution; empty: none"
    )
    input_size: int = Field(default=320, ge=1, description="after subsampling")
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    hidden_size: int = Field(default=320, ge=1, description="per direction")
    n_layers: int = Field(default=4, ge=1)
    projection_size: int = Field(default=0, ge=0, description="0: none")
    dropout: float = Field(default=0.2, ge=0, lt=1)
    layer_norm: bool = True
    weight_drop: float = Field(default=0.0, ge=0, lt=1, description="of recurrent weights")
    intermediate_layers: list[int] = Field(default=[], description="CTC heads after these layers")
    intermediate_weight: float = Field(default=0.3, ge=0, lt=1)
    consistency_weight: float = Field(default=0.0, ge=0, description="CR-CTC; 0 switches it off")
    crf_weight: float = Field(
        default=0.0, ge=0, le=1, description="CTC-CRF's share of the loss; 0 switches it off"
    )


class TrainingConfig(Section):
    """Optimisation; see `asr.fit.fit`."""

    epochs: int = Field(default=50, ge=1)
    max_steps: int = Field(default=0, ge=0, description="0: no limit")
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=500, ge=0)
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "cosine"
    decay_start: float = Field(default=0.0, ge=0, lt=1, description="fraction at full rate")
    weight_decay: float = Field(default=1e-2, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    accumulate: int = Field(default=1, ge=1, description="batches per update")
    ema_decay: float = Field(default=0.0, ge=0, lt=1, description="0 switches averaging off")
    patience: int = Field(default=0, ge=0, description="evaluations without gain; 0: no stop")
    evaluate_every: int = Field(default=0, ge=0, description="updates; 0: once an epoch")
    checkpoint_every: int = Field(default=200, ge=1, description="updates")
    keep: int = Field(default=2, ge=1, description="last checkpoints kept")
    frozen: list[str] = Field(default=[], description="parameter name prefixes not trained")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N or mps")
    threads: int = Field(default=0, ge=0, description="CPU threads; 0: torch's choice")
    tensorboard: bool = False


DECODING_FILES = ("lm", "neural", "lexicon", "hotwords")
"""The values of a `DecodingConfig` that are paths."""


class DecodingConfig(Section):
    """How a recogniser decodes; see `asr.decode.beam.BeamOptions`.  Paths start from its file."""

    lm: str = Field(default="", description="n-gram model: table or ARPA")
    neural: str = Field(default="", description="folder of a neural language model")
    rescore: bool = Field(default=False, description="the neural model only reorders the n-best")
    lexicon: str = Field(default="", description="word list; empty: the n-gram model's words")
    hotwords: str = Field(default="", description="file with a phrase a line")
    hotword_bonus: float = Field(default=5.0, ge=0)
    alpha: float = Field(default=0.5, ge=0, description="weight of the n-gram model")
    beta: float = Field(default=1.0, description="score of each word")
    gamma: float = Field(default=0.3, ge=0, description="weight of the neural model")
    unknown_score: float | None = Field(
        default=None, description="score of a word outside the lexicon; without: there are none"
    )
    beam: int = Field(default=50, ge=1, description="prefixes kept from frame to frame")
    score_threshold: float = Field(default=15.0, ge=0)
    token_threshold: float = Field(default=-15.0, le=0)
    blank_threshold: float = Field(default=0.9999, gt=0, le=1)
    views: int = Field(default=1, ge=1, le=4, description="times that a recording is heard")
    prior_scale: float = Field(default=0.0, ge=0, description="part of the prior taken off")
    prior: list[float] = Field(default=[], description="of each token; `asr tune` measures it")
    posterior_scale: float = Field(default=1.0, gt=0, description="calibrates confidences")
    confidence_slope: float = Field(default=1.0, ge=0, description="of their logit; calibrates")
    confidence_offset: float = Field(default=0.0, description="of their logit; calibrates")

    def at(self, folder: Path) -> "DecodingConfig":
        """The same with paths that start from a folder."""
        files = {
            name: str(folder / value) for name in DECODING_FILES if (value := getattr(self, name))
        }
        return self.model_copy(update=files)


class Config(Section):
    """Everything that defines a recogniser and its training."""

    seed: int = Field(default=0, ge=0)
    data: DataConfig = DataConfig()
    features: FeatureConfig = FeatureConfig()
    augment: AugmentConfig = AugmentConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.augment.changes_waveforms and self.data.cache in ("features", "device"):
            raise ValueError(
                f"data.cache = {self.data.cache!r} keeps features, but [augment] changes the "
                "audio anew each time: use data.cache = 'waveforms' or 'none'"
            )
        if self.augment.frequency_warp and (self.features.kind != "logmel" or self.features.deltas):
            raise ValueError(
                "augment.frequency_warp moves mel bands: it needs features.kind = 'logmel' "
                "without deltas"
            )
        if self.tokenizer.kind == "folder" and not self.tokenizer.folder:
            raise ValueError("tokenizer.kind = 'folder' needs tokenizer.folder")
        wrong = [i for i in self.model.intermediate_layers if not 1 <= i < self.model.n_layers]
        if wrong:
            raise ValueError(
                f"model.intermediate_layers has {wrong[0]}, but heads can follow layers 1 to "
                f"{self.model.n_layers - 1}"
            )
        return self


def parse_config(text: str, *, source: str, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration from TOML text; see `asr.toml_config.parse_toml`."""
    return parse_toml(Config, text, source=source, overrides=overrides)


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a configuration file; see `asr.toml_config.load_toml`."""
    return load_toml(Config, path, overrides)


def load_decoding(path: Path, overrides: Iterable[Override] = ()) -> DecodingConfig:
    """Read a decoding.toml; its paths start from its folder.

    Args:
        path: the file.
        overrides: values that replace what it says; see `asr.toml_config.parse_toml`.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """
    return load_toml(DecodingConfig, path, overrides).at(path.parent)


def dump_config(config: Config) -> str:
    """Write a configuration as TOML that `parse_config` reads back to an equal one."""
    return dump_toml(config)
