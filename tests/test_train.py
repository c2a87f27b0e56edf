"""Training a recogniser end to end on a made-up language of tones."""

import json
import logging
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from asr.checkpoint import read_tensors
from asr.config import Config, parse_config
from asr.errors import AsrError, ConfigError, TextError, TrainingError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.models.ctc_crf import LabelTrigram
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from asr.train import train
from asr.training_log import read_metrics
from tests.tones import make_corpus

BASE = """
[data]
batch_seconds = 8.0
cache = "features"
[features]
n_mels = 24
[model]
subsampling = 4
subsampling_channels = 8
input_size = 32
hidden_size = 32
n_layers = 2
dropout = 0.0
[training]
learning_rate = 5e-3
warmup_steps = 20
threads = 1
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    make_corpus(folder, "train", 240, seed=1)
    make_corpus(folder, "dev", 40, seed=2)
    return folder


def configure(corpus: Path, *overrides: str) -> Config:
    data = [f"data.{name}=['{corpus / name}.jsonl']" for name in ("train", "dev")]
    return parse_config(BASE, source="test", overrides=[*data, *overrides])


def dev_metrics(folder: Path) -> list[dict[str, float]]:
    return [x for x in read_metrics(folder / "metrics.jsonl") if x["kind"] == "dev"]


def test_learns_to_read_tones(corpus: Path, tmp_path: Path) -> None:
    """To zero errors on sequences it has not heard."""
    config = configure(corpus, "training.epochs=14", "training.schedule='linear'")
    result = train(config, tmp_path)
    assert result.best[0] == 0.0
    recognizer = Recognizer.load(tmp_path)
    assert recognizer.config == config
    assert json.loads((tmp_path / "best/metrics.json").read_text())["wer"] == 0.0


def test_every_option_at_once_learns_too(corpus: Path, tmp_path: Path) -> None:
    """Heads, consistency, CTC-CRF, masks, speeds, waveform changes, averaging."""
    config = configure(
        corpus,
        "model.intermediate_layers=[1]",
        "model.consistency_weight=0.2",
        "model.crf_weight=0.9",
        "model.projection_size=24",
        "augment.n_time_masks=1",
        "augment.time_mask_frames=4",
        "augment.n_frequency_masks=1",
        "augment.frequency_mask_bins=3",
        "augment.speeds=[0.95, 1.0, 1.05]",
        "augment.gain_db=6",
        "augment.reverberation_probability=0.1",
        "data.cache='waveforms'",
        "data.shortest_first=false",
        "training.ema_decay=0.95",
        "training.epochs=8",
    )
    train(config, tmp_path)
    recognizer = Recognizer.load(tmp_path)
    texts = [recognizer.tokenizer.encode(u.text) for u in read_manifest(config.data.train[0])]
    trigram = LabelTrigram.estimate(texts, recognizer.tokenizer.n_tokens)
    torch.testing.assert_close(recognizer.label_log_probs, trigram.probabilities.log())
    losses = [x["dev_loss"] for x in dev_metrics(tmp_path)]
    assert min(losses) < 0.5 * losses[0]


def test_killed_run_of_a_recogniser_goes_on_exactly(corpus: Path, tmp_path: Path) -> None:
    settings = (
        "training.epochs=2",
        "training.checkpoint_every=3",
        "augment.speeds=[0.95, 1.05]",
        "augment.n_time_masks=1",
        "model.dropout=0.1",
        "training.ema_decay=0.9",
    )
    config = configure(corpus, *settings)
    train(config, tmp_path / "whole")
    program = f"""
import os
from pathlib import Path
from asr.config import load_config
from asr.train import train
class Killer:
    def progress(self, step, n_steps, values):
        if step == 16:
            os.kill(os.getpid(), 9)
    def evaluation(self, evaluation): pass
folder = Path({str(tmp_path / "cut")!r})
train(load_config(folder / "config.toml"), folder, reporter=Killer())
"""
    (tmp_path / "cut").mkdir()
    text = (tmp_path / "whole/config.toml").read_text()
    (tmp_path / "cut/config.toml").write_text(text)
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -9
    train(config, tmp_path / "cut")
    whole, cut = (
        read_tensors(max((tmp_path / name / "checkpoints").iterdir()) / "training.safetensors")
        for name in ("whole", "cut")
    )
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert dev_metrics(tmp_path / "whole") == dev_metrics(tmp_path / "cut")


def test_init_from_starts_where_the_model_is(corpus: Path, tmp_path: Path) -> None:
    train(configure(corpus, "training.epochs=4"), tmp_path / "first")
    before = Recognizer.load(tmp_path / "first")
    # Another architecture in the configuration gives way to the initial model's.
    config = configure(corpus, "training.max_steps=1", "model.hidden_size=64")
    tiny_rate = config.model_copy(
        update={"training": config.training.model_copy(update={"learning_rate": 1e-9})}
    )
    train(tiny_rate, tmp_path / "second", init_from=tmp_path / "first")
    after = Recognizer.load(tmp_path / "second")
    assert after.config.model.hidden_size == 32
    for name, value in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], value, rtol=0, atol=1e-6)


def test_init_from_keeps_the_frame_rate_unless_another_is_named(
    corpus: Path, tmp_path: Path
) -> None:
    train(configure(corpus, "training.max_steps=1", "features.hop_ms=8"), tmp_path / "first")
    for hop_ms, options in ((8, ()), (7.5, ("features.hop_ms=7.5",))):
        config = configure(corpus, "training.max_steps=1", "features.n_mels=40", *options)
        train(config, tmp_path / f"{hop_ms}", init_from=tmp_path / "first")
        features = Recognizer.load(tmp_path / f"{hop_ms}").config.features
        assert (features.hop_ms, features.n_mels) == (hop_ms, 24)


def test_init_from_takes_residual_blocks_in_where_they_are_named(
    corpus: Path, tmp_path: Path
) -> None:
    train(configure(corpus, "training.max_steps=1"), tmp_path / "first")
    plain = Recognizer.load(tmp_path / "first")
    tiny = ("training.max_steps=1", "training.learning_rate=1e-9")
    blocks = "model.subsampling_blocks=[1, 2]"
    train(configure(corpus, *tiny, blocks), tmp_path / "grown", init_from=tmp_path / "first")
    grown = Recognizer.load(tmp_path / "grown")
    assert grown.config.model.subsampling_blocks == [1, 2]
    waveforms, lengths = torch.randn(1, 16000), torch.tensor([16000])
    with torch.inference_mode():
        expected = plain(waveforms, lengths).log_probs
        found = grown(waveforms, lengths).log_probs
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    train(configure(corpus, *tiny), tmp_path / "third", init_from=tmp_path / "grown")
    assert Recognizer.load(tmp_path / "third").config.model.subsampling_blocks == [1, 2]


def test_init_from_with_other_units_replaces_the_output(corpus: Path, tmp_path: Path) -> None:
    train(configure(corpus, "training.max_steps=3"), tmp_path / "first")
    units = tmp_path / "units"
    units.mkdir()
    CharTokenizer(" ABCDEFGH").save(units)
    config = configure(
        corpus,
        "training.max_steps=2",
        "tokenizer.kind='folder'",
        f"tokenizer.folder='{units}'",
        "training.frozen=['network.subsampling', 'network.stack.layers.0']",
    )
    train(config, tmp_path / "second", init_from=tmp_path / "first")
    first, second = Recognizer.load(tmp_path / "first"), Recognizer.load(tmp_path / "second")
    assert second.network.output.out_features == 10
    frozen = "network.subsampling.projection.weight"
    assert torch.equal(first.state_dict()[frozen], second.state_dict()[frozen])
    # Its own units it keeps, where the configuration names no others.
    config = configure(corpus, "training.max_steps=1", "training.learning_rate=1e-9")
    train(config, tmp_path / "third", init_from=tmp_path / "second")
    third = Recognizer.load(tmp_path / "third")
    assert third.tokenizer.symbols == second.tokenizer.symbols
    output = "network.output.weight"
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
    close(third.state_dict()[output], second.state_dict()[output])


def test_new_layers_go_on_top_of_the_initial_model(corpus: Path, tmp_path: Path) -> None:
    train(configure(corpus, "training.max_steps=3"), tmp_path / "first")
    first = Recognizer.load(tmp_path / "first")
    n = first.config.model.n_layers
    layers = (f"model.n_layers={n + 1}", f"model.intermediate_layers=[{n}]")
    config = configure(corpus, "training.max_steps=1", "training.learning_rate=1e-9", *layers)
    train(config, tmp_path / "second", init_from=tmp_path / "first", new_layers=1)
    second = Recognizer.load(tmp_path / "second")
    assert second.config.model.n_layers == n + 1
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)
    close(second.network.heads[str(n)].weight, first.network.output.weight)
    for name, value in first.network.stack.state_dict().items():
        close(second.network.stack.state_dict()[name], value)
    assert not torch.equal(second.network.output.weight, first.network.output.weight)
    with pytest.raises(ConfigError, match="new layers: 1"):
        train(config, tmp_path / "third", new_layers=1)


def test_an_experiment_folder_is_not_mixed_up(corpus: Path, tmp_path: Path) -> None:
    train(configure(corpus, "training.max_steps=2"), tmp_path)
    with pytest.raises(ConfigError, match=r"another \[model\]"):
        train(configure(corpus, "training.max_steps=2", "model.hidden_size=16"), tmp_path)


def test_utterances_that_cannot_be_learned_are_named(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = read_manifest(corpus / "train.jsonl")[:30]
    crowded = Utterance(good[0].audio_filepath, 0.3, "AABBCCDDEEFF" * 5)
    silent = Utterance(good[1].audio_filepath, 0.5, "")
    endless = Utterance(good[2].audio_filepath, 99.0, "AB")
    manifest = tmp_path / "train.jsonl"
    write_manifest(manifest, [*good, crowded, silent, endless])
    config = configure(corpus, f"data.train=['{manifest}']", "training.max_steps=2")
    with caplog.at_level(logging.WARNING, logger="asr"):
        train(config, tmp_path / "exp")
    assert f"left out: {crowded.id}, {silent.id}" in caplog.text
    assert "1 of 33 utterances are outside" in caplog.text
    write_manifest(manifest, [crowded, silent])
    with pytest.raises(TrainingError, match="none of 2"):
        train(config, tmp_path / "none")


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["data.train=[]"], ConfigError, r"data\.train is empty"),
        (["data.dev=['/nowhere.jsonl']"], AsrError, "/nowhere.jsonl"),
        (["model.name='cct'"], ConfigError, "cct"),
        (["training.device='cuda:55'"], TrainingError, "cuda:55"),
        (["tokenizer.kind='folder'", "tokenizer.folder='/nowhere'"], AsrError, "/nowhere"),
    ],
)
def test_mistakes(
    corpus: Path, tmp_path: Path, overrides: list[str], error: type[AsrError], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        train(configure(corpus, *overrides), tmp_path)
    assert "\n" not in str(raised.value)


def test_too_many_symbols_for_every_trigram(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asr.train.MAX_CRF_SYMBOLS", 10)
    with pytest.raises(ConfigError, match="at most 10 symbols, the tokenizer has 29"):
        train(configure(corpus, "model.crf_weight=1.0"), tmp_path)


def test_unknown_characters_are_named(corpus: Path, tmp_path: Path) -> None:
    utterance = read_manifest(corpus / "train.jsonl")[0]
    manifest = tmp_path / "train.jsonl"
    write_manifest(manifest, [Utterance(utterance.audio_filepath, 1.0, "ÄB")])
    with pytest.raises(TextError, match="Ä"):
        train(configure(corpus, f"data.train=['{manifest}']"), tmp_path / "exp")
