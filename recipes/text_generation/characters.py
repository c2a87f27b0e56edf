"""The text as numbers, for both models."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from textgen_config import TextConfig

from asr.errors import TextError
from asr.text import CharTokenizer

__all__ = ["Characters", "bits", "read_characters", "text_of"]


@dataclass(frozen=True)
class Characters:
    """A text and what is held out of it.

    Attributes:
        tokenizer: its characters, from 1; token 0 stands nowhere in the text.
        training: (N,) uint8.
        held_out: what follows, (M,) uint8.
    """

    tokenizer: CharTokenizer
    training: NDArray[np.uint8]
    held_out: NDArray[np.uint8]


def read_characters(path: Path, config: TextConfig) -> Characters:
    """Read a text and lower-case it; line breaks stay as they are.

    Raises:
        TextError: the file cannot be read, is too short, as a whole or held out, or has too many
            kinds of characters.
    """
    try:
        text = path.read_text(encoding="utf-8").lower()
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    text = text[: config.characters or None]
    symbols = sorted(set(text))
    if len(text) < 1000 or len(symbols) > 255:
        raise TextError(
            f"{path}: {len(text)} characters of {len(symbols)} kinds; 1,000 or more of at most 255 "
            "kinds are needed"
        )
    tokenizer = CharTokenizer(symbols)
    tokens = np.array(tokenizer.encode(text), np.uint8)
    border = int(len(tokens) * (1 - config.held_out))
    n_held_out = len(tokens) - border
    if n_held_out < 100:
        raise TextError(
            f"{path}: text.held_out = {config.held_out} leaves {n_held_out} characters to "
            "measure on; 100 or more are needed"
        )
    return Characters(tokenizer, tokens[:border], tokens[border:])


def text_of(tokens: "tuple[int, ...] | list[int]", symbols: tuple[str, ...]) -> str:
    """Return the text of tokens with all its spaces and line breaks."""
    return "".join(symbols[token] for token in tokens if token)


def bits(nats: float) -> float:
    """Return what a natural logarithm is in bits."""
    return nats / math.log(2)
