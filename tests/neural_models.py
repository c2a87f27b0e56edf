"""What tests of neural language models share: small models with random weights."""

from collections.abc import Sequence

import torch

from lm.neural_config import NeuralConfig, NeuralModelConfig
from lm.neural_model import NeuralLanguageModel
from lm.units import Units

__all__ = ["neural_model"]


def neural_model(
    units: Units, kind: str = "lstm", cutoffs: Sequence[int] = ()
) -> NeuralLanguageModel:
    """Random weights, large enough that the model has opinions."""
    config = NeuralConfig(
        model=NeuralModelConfig(
            kind=kind,  # type: ignore[arg-type]
            embedding_size=8,
            hidden_size=12,
            order=3,
            cutoffs=list(cutoffs),
        )
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(7)
        model = NeuralLanguageModel(config, units)
        for parameter in model.parameters():
            parameter.normal_(std=0.8)
    return model.eval()
