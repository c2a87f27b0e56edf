"""A trained classifier as a folder: texts in, labels and their probabilities out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from cleaning import clean, fold
from lstm_classifier import LstmNetwork
from sentiment_config import ClassifierConfig
from text_training import run_network
from torch import nn
from transformer_classifier import (
    FineTuned,
    Frozen,
    encode_texts,
    load_fine_tuned,
    load_frozen,
    load_tokenizer,
)

from asr.checkpoint import read_tensors, write_json, write_tensors
from asr.errors import CheckpointError
from asr.pieces import WordPieces
from asr.text import Tokenizer
from asr.text import load_tokenizer as load_pieces
from asr.toml_config import dump_toml, load_toml

__all__ = ["Prediction", "Predictor", "make_lstm", "make_transformer"]

_CONFIG, _WEIGHTS = "classifier.toml", "model.safetensors"


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of a text.

    Attributes:
        label: the likeliest.
        probabilities: of all labels.
    """

    label: str
    probabilities: dict[str, float]


class Predictor:
    """A network with what it is to be given.

    Args:
        config: labels and cleaning.
        network: called as `network(tokens (B, T), lengths (B,))`, returns logits (B, C).
        tokenizer: word pieces of an LSTM, or a transformer's own.
    """

    def __init__(self, config: ClassifierConfig, network: nn.Module, tokenizer: Any) -> None:
        self.config, self.network, self.tokenizer = config, network, tokenizer
        self._encode = (
            self._encode_for_transformer
            if isinstance(network, FineTuned | Frozen)
            else _lstm_encoder(tokenizer, config.text.max_length)
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of texts as they were written."""
        link, user = self.config.text.link, self.config.text.user
        return self._encode([clean(text, link=link, user=user) for text in texts])

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts as they were written."""
        if not texts:
            return []
        rows = run_network(self.network, self.encode(texts)).softmax(-1).tolist()
        named = [dict(zip(self.config.labels, row, strict=True)) for row in rows]
        return [Prediction(max(each, key=each.__getitem__), each) for each in named]

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write everything that `load` needs into a folder."""
        (folder / _CONFIG).write_text(dump_toml(self.config), encoding="utf-8")
        write_json(folder / "metrics.json", dict(metrics))
        if isinstance(self.network, FineTuned):
            self.network.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        elif isinstance(self.network, Frozen):
            write_tensors(folder / _WEIGHTS, self.network.head.state_dict())
        else:
            write_tensors(folder / _WEIGHTS, self.network.state_dict())
            self.tokenizer.save(folder)

    @classmethod
    def load(cls, name: str | os.PathLike[str], device: torch.device | str = "cpu") -> "Predictor":
        """Read a classifier; an experiment folder stands for its `best`.

        Raises:
            CheckpointError: the folder is missing, damaged or inconsistent.
        """
        folder = Path(name)
        if not (folder / _CONFIG).is_file() and (folder / "best").is_dir():
            folder = folder / "best"
        if not (folder / _CONFIG).is_file():
            raise CheckpointError(f"{folder}: is no classifier (it has no {_CONFIG})")
        config = load_toml(ClassifierConfig, folder / _CONFIG)
        if config.kind == "finetuned":
            predictor = make_transformer(config, str(folder))
        else:
            if config.kind == "frozen":
                predictor = make_transformer(config, config.transformer)
                module: nn.Module = predictor.network.head
            else:
                predictor = make_lstm(config, load_pieces(folder))
                module = predictor.network
            try:
                module.load_state_dict(read_tensors(folder / _WEIGHTS))
            except RuntimeError as error:
                raise CheckpointError(
                    f"{folder}: weights and {_CONFIG} do not belong together "
                    f"({' '.join(str(error).split())[:120]}); copy the whole folder anew"
                ) from None
        predictor.network.to(device).eval()
        return predictor

    def _encode_for_transformer(self, texts: Sequence[str]) -> list[list[int]]:
        return encode_texts(self.tokenizer, texts, self.config.text.max_length)


def make_lstm(config: ClassifierConfig, tokenizer: Tokenizer) -> Predictor:
    """Make a new LSTM classifier over word pieces."""
    network = LstmNetwork.of(
        config.model,
        config.head,
        tokenizer.n_tokens,
        len(config.labels),
        bidirectional=config.kind == "bilstm",
    )
    return Predictor(config, network, tokenizer)


def make_transformer(config: ClassifierConfig, name: str) -> Predictor:
    """Load a transformer, new heads where it has none; see `transformer_classifier.find_model`."""
    load = load_frozen if config.kind == "frozen" else load_fine_tuned
    return Predictor(config, load(name, len(config.labels)), load_tokenizer(name))


def _lstm_encoder(
    tokenizer: Tokenizer, max_length: int
) -> Callable[[Sequence[str]], list[list[int]]]:
    pieces = WordPieces(tokenizer)
    ids = {symbol: number for number, symbol in enumerate(tokenizer.symbols)}

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [[ids[piece] for piece in pieces.encode(fold(t))[:max_length]] for t in texts]

    return encode
