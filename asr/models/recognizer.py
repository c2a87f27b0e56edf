"""A recogniser: front end, normalisation, acoustic model and tokenizer in one folder."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from asr import __version__
from asr.audio import SAMPLE_RATE
from asr.checkpoint import Precision, read_tensors, write_json, write_tensors
from asr.config import Config, dump_config, load_config
from asr.errors import CheckpointError, ConfigError
from asr.features import FeatureExtractor, Normalizer
from asr.model_folders import find_model
from asr.models import MODELS
from asr.models.ctc import CtcModel, CtcOutput
from asr.text import Tokenizer, load_tokenizer

__all__ = ["Recognizer"]

_TRIGRAM = "label_log_probs"


class Recognizer(nn.Module):
    """Everything from waveforms to CTC log-probabilities.

    Args:
        config: the configuration that built it; kept for saving.
        tokenizer: output units.
        device: where the acoustic model's parameters are made; "meta" makes none.

    Attributes:
        label_log_probs: of a model trained with CTC-CRF log P(label | the two before), (V, V, V),
            which its output takes for granted (`asr.models.ctc_crf`); else None.
    """

    label_log_probs: Tensor | None

    def __init__(
        self, config: Config, tokenizer: Tokenizer, *, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__()
        features, model = config.features, config.model
        self.config = config
        self.tokenizer = tokenizer
        self.extractor = FeatureExtractor(
            kind=features.kind,
            n_mels=features.n_mels,
            n_mfcc=features.n_mfcc,
            deltas=features.deltas,
            hop_samples=round(features.hop_ms * SAMPLE_RATE / 1000),
        )
        self.normalizer = Normalizer(
            self.extractor.n_features,
            kind=features.normalization,
            window_frames=round(features.window_seconds / self.extractor.hop_seconds),
        )
        self.register_buffer(_TRIGRAM, None)
        if model.name not in MODELS:
            raise ConfigError(f"model.name: unknown model {model.name!r}; known: {sorted(MODELS)}")
        with torch.device(device):
            self.network: CtcModel = MODELS[model.name](
                self.extractor.n_features,
                tokenizer.n_tokens,
                subsampling=model.subsampling,
                subsampling_channels=model.subsampling_channels,
                subsampling_blocks=tuple(model.subsampling_blocks),
                input_size=model.input_size,
                cell=model.cell,
                hidden_size=model.hidden_size,
                n_layers=model.n_layers,
                projection_size=model.projection_size,
                dropout=model.dropout,
                layer_norm=model.layer_norm,
                weight_drop=model.weight_drop,
                intermediate_layers=tuple(model.intermediate_layers),
            )

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.network.parameters()).device

    @property
    def frame_seconds(self) -> float:
        """Seconds between output frames."""
        return self.extractor.hop_seconds * self.network.subsampling_factor

    def forward(self, waveforms: Tensor, lengths: Tensor) -> CtcOutput:
        """Compute the log-probabilities of a batch of waveforms.

        Args:
            waveforms: (B, N) float32 at 16 kHz in [-1, 1], padded with anything.
            lengths: valid samples (B,).
        """
        return self.log_probs(*self.extractor(waveforms, lengths))

    def log_probs(self, features: Tensor, lengths: Tensor) -> CtcOutput:
        """Compute the log-probabilities of unnormalised features (B, T, F)."""
        output: CtcOutput = self.network(self.normalizer(features, lengths), lengths)
        return output

    def save(
        self,
        folder: Path,
        metrics: Mapping[str, Any],
        *,
        precision: Precision = "float32",
    ) -> None:
        """Write config.toml, model.safetensors, tokenizer and metrics.json into a folder.

        Args:
            folder: exists already.
            metrics: figures to keep with the model.
            precision: of the weights in the file; see `asr.checkpoint.write_tensors`.
        """
        (folder / "config.toml").write_text(dump_config(self.config), encoding="utf-8")
        write_tensors(folder / "model.safetensors", self.state_dict(), precision=precision)
        self.tokenizer.save(folder)
        made_by = {"version": __version__, "torch": torch.__version__, "commit": _commit()}
        write_json(folder / "metrics.json", {**made_by, **metrics})

    @classmethod
    def load(cls, name: str | Path, device: torch.device | str = "cpu") -> "Recognizer":
        """Read a model folder, in eval mode.

        Args:
            name: "default" or a folder.
            device: where to compute.

        Raises:
            CheckpointError: the folder is missing, damaged or inconsistent.
        """
        folder = find_model(name)
        # Random weights would take longer to draw than those of the file to read.
        config, tokenizer = load_config(folder / "config.toml"), load_tokenizer(folder)
        recognizer = cls(config, tokenizer, device="meta")
        tensors = read_tensors(folder / "model.safetensors")
        # Intermediate heads serve training only and may be left out of a shipped model.
        if _TRIGRAM in tensors:
            shape = (tokenizer.n_tokens,) * 3
            recognizer.label_log_probs = torch.empty(shape, device="meta")
        own = recognizer.state_dict()
        missing = [k for k in own if k not in tensors and not k.startswith("network.heads.")]
        wrong = [k for k in tensors if k not in own or own[k].shape != tensors[k].shape]
        if missing or wrong:
            raise CheckpointError(
                f"{folder}: weights and config.toml do not belong together (first difference: "
                f"{(missing + wrong)[0]}); copy the whole folder anew"
            )
        tensors = {k: tensor.to(own[k].dtype) for k, tensor in tensors.items()}
        recognizer.load_state_dict(tensors, strict=False, assign=True)
        for head in recognizer.network.heads.values():
            assert isinstance(head, nn.Linear)
            if head.weight.is_meta:
                head.to_empty(device="cpu")
                head.reset_parameters()
        return recognizer.to(device).eval()


def _commit() -> str:
    """Return the git commit of the code, or an empty string outside a checkout."""
    if not (Path(__file__).parents[2] / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
