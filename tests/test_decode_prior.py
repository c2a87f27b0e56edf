"""What the acoustic model expects of tokens unheard, and taking it off."""

from dataclasses import replace

import pytest
import torch

from asr.config import DecodingConfig
from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.decoder import build_decoder
from asr.decode.prior import token_prior, without_prior
from asr.errors import ConfigError
from asr.text import CharTokenizer

LETTERS = CharTokenizer("AB")
PRIOR = (0.5, 0.4, 0.1)


def test_prior_is_the_mean_over_frames() -> None:
    """Every frame counts the same, however long its recording; what is never heard is not 0."""
    first = torch.tensor([[0.5, 0.5, 0.0]]).log()
    second = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0]]).log()
    assert token_prior([first, second]) == (0.583333, 0.416667, 1e-06)


def test_without_audio_there_is_no_prior() -> None:
    for recordings in ([], [torch.zeros(0, 3)]):
        with pytest.raises(ConfigError, match="no audio to measure"):
            token_prior(recordings)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_what_is_left_is_a_distribution(scale: float) -> None:
    log_probs = torch.randn(2, 4, 3).log_softmax(-1)
    rest = without_prior(log_probs, PRIOR, scale)
    weights = log_probs.exp() / torch.tensor(PRIOR) ** scale
    torch.testing.assert_close(rest.exp(), weights / weights.sum(-1, keepdim=True))
    # A frame that says no more than the prior says nothing.
    nothing = without_prior(torch.tensor(PRIOR).log(), PRIOR, 1.0)
    torch.testing.assert_close(nothing.exp(), torch.full((3,), 1 / 3))


def test_the_search_is_that_of_what_is_left() -> None:
    torch.manual_seed(0)
    log_probs = (2 * torch.randn(3, 9, LETTERS.n_tokens)).log_softmax(-1)
    lengths = torch.tensor([9, 4, 7])
    plain = BeamOptions(width=10**4, n_best=20, token_threshold=-100.0, score_threshold=1e9)
    scaled = replace(plain, prior_scale=0.7, prior=PRIOR)
    found = BeamSearch(LETTERS, scaled).decode(log_probs, lengths, 0.04)
    rest = without_prior(log_probs, PRIOR, 0.7)
    expected = BeamSearch(LETTERS, plain).decode(rest, lengths, 0.04)
    assert found == expected
    assert found != BeamSearch(LETTERS, plain).decode(log_probs, lengths, 0.04)


def test_a_rare_letter_is_heard() -> None:
    """Three frames that say little more than the prior: B is likelier than mostly."""
    log_probs = torch.tensor([[[0.45, 0.35, 0.2]] * 3]).log()
    search = BeamSearch(LETTERS, BeamOptions(beta=0.0))
    assert search.decode(log_probs, torch.tensor([3]), 0.04)[0][0].text == "A"
    search = search.with_options(replace(search.options, prior_scale=1.0, prior=PRIOR))
    assert search.decode(log_probs, torch.tensor([3]), 0.04)[0][0].text == "B"


@pytest.mark.parametrize("prior", [[], [0.5, 0.5]])
def test_a_prior_of_another_model_is_refused(prior: list[float]) -> None:
    config = DecodingConfig(prior_scale=0.5, prior=prior)
    with pytest.raises(ConfigError, match=f"3 tokens, and there are {len(prior)} values; `asr"):
        build_decoder(config, LETTERS, 0.04)


def test_a_prior_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="prior = "):
        BeamOptions(prior_scale=0.5, prior=(0.5, 0.5, 0.0))
    with pytest.raises(ConfigError, match="prior_scale = -1"):
        BeamOptions(prior_scale=-1)
