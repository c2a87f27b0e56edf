import shutil
from pathlib import Path

import pytest
import torch

from asr.cli import main
from asr.config import DecodingConfig, load_decoding, parse_config
from asr.errors import ConfigError
from asr.filterbank import KALDI, mel_centres
from asr.frequency_warp import warp
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from asr.toml_config import dump_toml
from asr.transcribe import Transcriber, load
from asr.views import MOST_VIEWS, Views

SIZES = "hidden_size = 16\ninput_size = 16\nn_layers = 2\nsubsampling_channels = 4"


def recognizer(features: str = 'kind = "logmel"', subsampling: int = 4) -> Recognizer:
    torch.manual_seed(0)
    text = f"[features]\n{features}\n[model]\n{SIZES}\nsubsampling = {subsampling}"
    return Recognizer(parse_config(text, source="test"), CharTokenizer()).eval()


def batch(n_features: int, lengths: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return 2 * torch.randn(len(lengths), max(lengths), n_features), torch.tensor(lengths)


@torch.inference_mode()
def test_two_views_are_the_mean_of_now_and_half_a_frame_later_with_a_longer_throat() -> None:
    model = recognizer()
    features, lengths = batch(80, (41,))
    warped = warp(features, mel_centres(80, KALDI), torch.tensor([0.95]))
    later = torch.cat([warped[:, :1], warped[:, :1], warped], dim=1)
    parts = [model.network(features, lengths), model.network(later, lengths + 2)]
    mean = (parts[0].log_probs[:, :11] + parts[1].log_probs[:, :11]) / 2
    assert (parts[0].log_probs - parts[1].log_probs[:, :11]).abs().max() > 1e-3
    torch.testing.assert_close(Views(model, 2)(features, lengths), mean.log_softmax(dim=-1))
    torch.testing.assert_close(Views(model, 1)(features, lengths), parts[0].log_probs)


@pytest.mark.parametrize("features", ['kind = "logmel"', 'kind = "mfcc"', "deltas = true"])
@pytest.mark.parametrize("subsampling", [2, 3, 4, 8])
@torch.inference_mode()
def test_any_number_of_views_alone_is_as_in_a_batch(features: str, subsampling: int) -> None:
    model = recognizer(features, subsampling)
    for n_views in range(1, MOST_VIEWS + 1):
        views = Views(model, n_views)
        together, lengths = batch(model.extractor.n_features, (30, 1, 17, 32))
        found = views(together, lengths)
        torch.testing.assert_close(found.exp().sum(dim=-1), torch.ones(found.shape[:2]))
        for row, length in enumerate(lengths.tolist()):
            alone = views(together[row : row + 1, :length], torch.tensor([length]))[0]
            assert len(alone) == -(-length // subsampling)
            torch.testing.assert_close(found[row, : len(alone)], alone, atol=1e-5, rtol=0)


def test_chunks_joined_are_the_whole_recording(tiny_model: Path) -> None:
    model = Recognizer.load(tiny_model)
    torch.manual_seed(2)
    waveform = (0.1 * torch.randn(9 * 16_000)).numpy()
    whole = Transcriber(model, n_views=3).log_probs(waveform)
    chunked = Transcriber(model, chunk_seconds=1.0, context_seconds=2.0, n_views=3)
    torch.testing.assert_close(chunked.log_probs(waveform), whole, atol=1e-4, rtol=0)


def test_a_model_is_heard_as_often_as_its_decoding_says(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "decoding.toml").write_text(dump_toml(DecodingConfig(views=3, lexicon="w.txt")))
    (tmp_path / "w.txt").write_text("A\n")
    decoding = load_decoding(tmp_path / "decoding.toml")
    assert load(tiny_model, "cpu", decoding=decoding).listener.views.n_views == 3
    assert load(tiny_model, "cpu", decoding=decoding, n_views=1).listener.views.n_views == 1
    assert load(tiny_model, "cpu", decoding="greedy").listener.views.n_views == 1
    assert load(tiny_model, "cpu", decoding="greedy", n_views=2).listener.views.n_views == 2
    # Greedily, as often as the model's own decoding says.
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "decoding.toml").write_text(dump_toml(DecodingConfig(views=2)))
    assert load(model, "cpu", decoding="greedy").listener.views.n_views == 2
    assert load(model, "cpu", decoding="greedy", n_views=1).listener.views.n_views == 1
    assert load(model, "cpu", decoding=decoding).listener.views.n_views == 3
    assert DecodingConfig(views=MOST_VIEWS).views == MOST_VIEWS
    with pytest.raises(ValueError, match="views"):
        DecodingConfig(views=MOST_VIEWS + 1)


def test_views_that_there_are_not(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n_views in (0, 5, -1):
        with pytest.raises(ConfigError, match=f"views: {n_views}; 1 to 4 are possible"):
            Views(recognizer(), n_views)
    assert main(["transcribe", "x.wav", "--model", str(tiny_model), "--views", "0"]) == 2
    assert "views: 0; 1 to 4 are possible" in capsys.readouterr().err
