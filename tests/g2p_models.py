"""A small network from letters to phones, with random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from asr.toml_config import parse_toml
from asr.translator import END_SYMBOL, Translator, TranslatorConfig

__all__ = ["save_g2p_model"]

_CONFIG = "[model]\nembedding_size = 4\nhidden_size = 4\n"


def save_g2p_model(
    folder: Path, letters: Sequence[str] = "'ABC", phones: Sequence[str] = ("AH", "B", "K")
) -> Path:
    """Write one that gives every word some phones."""
    config = parse_toml(TranslatorConfig, _CONFIG, source="test")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        translator = Translator(config, letters, [END_SYMBOL, *phones])
        translator.network.decoder.output.bias[0] -= 1
    folder.mkdir(exist_ok=True)
    translator.save(folder, {})
    return folder
