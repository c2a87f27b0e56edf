"""Scoring over a prefix tree: equal to each sequence alone, shared beginnings once."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from asr.text import CharTokenizer
from lm.neural_config import parse_neural_config
from lm.neural_model import NeuralLanguageModel
from lm.rescoring import score_sequences
from lm.units import TokenizerUnits

UNITS = TokenizerUnits(CharTokenizer(" ABC"))
NBEST = ["AB CA", "AB CB", "AB", "", "AB CA", "C", "B CA", "AB CAA"]


def model(kind: str, cutoffs: Sequence[int] = ()) -> NeuralLanguageModel:
    values = {
        "model.kind": kind,
        "model.embedding_size": 6,
        "model.hidden_size": 12,
        "model.cutoffs": list(cutoffs),
    }
    config = parse_neural_config("", source="test", overrides=values.items())
    torch.manual_seed(3)
    made = NeuralLanguageModel(config, UNITS).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)  # far from uniform
    return made


def prefixes(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    return {tuple(s[:n]) for s in sequences for n in range(len(s) + 1)}


@pytest.mark.parametrize("kind", ["lstm", "nplm"])
@pytest.mark.parametrize("max_rows", [512, 3])
@pytest.mark.parametrize("cutoffs", [[], [2, 3]])
def test_equal_to_each_alone(
    kind: str, max_rows: int, cutoffs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lm.rescoring._MAX_ROWS", max_rows)
    monkeypatch.setattr("lm.contexts._N_ROWS", max_rows)
    lm = model(kind, cutoffs)
    generator = np.random.default_rng(0)
    sequences = [UNITS.encode(text) for text in NBEST]
    sequences += [generator.integers(1, 5, size=n).tolist() for n in generator.integers(9, size=40)]
    scored = score_sequences(lm, sequences)
    alone = [float(part.sum(dtype=float)) for s in sequences for part in lm.log_probs([s])]
    np.testing.assert_allclose(scored.log_probs, alone, atol=1e-5)
    assert np.std(alone) > 1
    assert scored.n_steps == len(prefixes(sequences))


def test_shared_beginnings_are_read_once() -> None:
    lm = model("lstm")
    sequences = [UNITS.encode(text) for text in ("ABCABCA", "ABCABCB", "ABCABC")]
    assert score_sequences(lm, sequences).n_steps == 9  # not 7 + 7 + 6 and three starts
    assert score_sequences(lm, sequences * 5).n_steps == 9


def test_nothing_to_score() -> None:
    scored = score_sequences(model("lstm"), [])
    assert scored.log_probs.shape == (0,)
    assert scored.n_steps == 0
    one = score_sequences(model("lstm"), [[]])
    assert one.n_steps == 1
    assert one.log_probs[0] < 0
