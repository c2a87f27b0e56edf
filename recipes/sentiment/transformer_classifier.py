"""Pre-trained transformers through `transformers`: frozen under a linear head, or fine-tuned."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr.errors import CheckpointError, DependencyError
from asr.nn.masking import mask_padding, sequence_mask
from asr.torchaudio_safe import has_native_library

__all__ = [
    "FineTuned",
    "Frozen",
    "encode_texts",
    "find_model",
    "import_transformers",
    "load_fine_tuned",
    "load_frozen",
    "load_tokenizer",
]

_PACKAGE = "package:"


class FineTuned(nn.Module):
    """A classifier of `transformers`, called as the networks of this recipe are.

    Args:
        model: of AutoModelForSequenceClassification.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, C) for tokens (B, T) of texts of so many tokens, (B,)."""
        mask = sequence_mask(lengths.to(tokens.device), tokens.shape[1])
        logits: Tensor = self.model(input_ids=tokens, attention_mask=mask.long()).logits
        return logits


class Frozen(nn.Module):
    """A pre-trained model that stays as it is under a linear head.

        y = V x / |x| + b,   x = mean of the model's outputs for the text's tokens

    Args:
        model: of AutoModel.
        n_labels: C.

    Reference: Reimers and Gurevych, "Sentence-BERT", EMNLP 2019.
    """

    def __init__(self, model: Any, n_labels: int) -> None:
        super().__init__()
        self.model = model
        self.head: nn.Module = nn.Linear(model.config.hidden_size, n_labels)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return logits (B, C) for tokens (B, T) of texts of so many tokens, (B,)."""
        mask = sequence_mask(lengths.to(tokens.device), tokens.shape[1])
        outputs = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        # The mean differs from the sum in its length alone, which is brought to 1.
        logits: Tensor = self.head(F.normalize(mask_padding(outputs, lengths).sum(1), dim=-1))
        return logits


def find_model(name: str) -> str:
    """Return what `from_pretrained` takes: a folder, or a name on the hub.

    Args:
        name: name on the hub, folder, or package:NAME for the folder `model` in a Python package.

    Raises:
        DependencyError: the package is not installed.
    """
    if not name.startswith(_PACKAGE):
        return name
    package = name.removeprefix(_PACKAGE)
    # Not imported: it may want more packages than its weights do.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(
            f"transformer.model = {name!r}: pip install --no-deps {package.replace('_', '-')}"
        )
    return str(Path(spec.submodule_search_locations[0]) / "model")


def import_transformers() -> Any:
    """Return the module, without its messages and progress bars.

    Raises:
        DependencyError: it is not installed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import transformers
    except ImportError:
        raise DependencyError(
            'pre-trained transformers need transformers: pip install "asr-toolkit[sentiment]"'
        ) from None
    # It imports torchaudio, which may need help.
    has_native_library()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _from_pretrained(kind: str, name: str, **options: Any) -> Any:
    """Load a tokenizer or a model.

    Raises:
        DependencyError: transformers is not installed.
        CheckpointError: there is no such model, or the hub cannot be reached.
    """
    transformers = import_transformers()
    try:
        return getattr(transformers, kind).from_pretrained(find_model(name), **options)
    except (OSError, ValueError):
        raise CheckpointError(
            f"transformer.model = {name!r}: no folder of a model, and not to be had from the hub; "
            "download config.json, the weights and the tokenizer's files from "
            "https://huggingface.co into a folder and name that"
        ) from None


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a model; see `find_model`."""
    return _from_pretrained("AutoTokenizer", name)


def load_fine_tuned(name: str, n_labels: int) -> FineTuned:
    """Load a pre-trained model under a new head, or one that was fine-tuned; see `find_model`."""
    options = {"num_labels": n_labels, "dtype": torch.float32}
    return FineTuned(_from_pretrained("AutoModelForSequenceClassification", name, **options))


def load_frozen(name: str, n_labels: int) -> Frozen:
    """Load a pre-trained model under a new linear head; see `find_model`."""
    return Frozen(_from_pretrained("AutoModel", name, dtype=torch.float32), n_labels)


def encode_texts(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Return the tokens of texts with the special ones, `max_length` at most."""
    if not texts:
        return []
    tokens: list[list[int]] = tokenizer([*texts], truncation=True, max_length=max_length)[
        "input_ids"
    ]
    return tokens
