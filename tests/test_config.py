"""Configuration files: strict, round trip, overrides, one-line errors."""

import re
from pathlib import Path

import pytest

from asr.config import Config, dump_config, load_config, parse_config
from asr.errors import ConfigError
from asr.toml_config import claim_folder

ROOT = Path(__file__).parents[1]


def test_defaults_round_trip() -> None:
    assert parse_config(dump_config(Config()), source="dump") == Config()


def test_values_round_trip() -> None:
    overrides = [
        'data.train=["a b.jsonl", "ü\\"quoted\\\\.jsonl"]',
        "augment.noise_snr_db=[0, 12.5]",
        "training.learning_rate=1e-3",
        "model.layer_norm=false",
        "training.device=cuda:1",
    ]
    config = parse_config("seed = 3", source="text", overrides=overrides)
    assert config.data.train == ["a b.jsonl", 'ü"quoted\\.jsonl']
    assert config.augment.noise_snr_db == (0.0, 12.5)
    assert config.training.learning_rate == 0.001
    assert config.model.layer_norm is False
    assert config.training.device == "cuda:1"
    assert parse_config(dump_config(config), source="dump") == config


def test_override_beats_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[training]\nepochs = 3\nwarmup_steps = 7\n")
    training = load_config(path, ["training.epochs=5"]).training
    assert (training.epochs, training.warmup_steps) == (5, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlearnin_rate = 1e-3", "did you mean learning_rate"),
        ("[trainin]\nx = 1", "did you mean training"),
        ("[model]\ndropout = 1.5", "less than 1, got 1.5"),
        ("[model]\nhidden_size = '320'", "valid integer, got '320'"),
        ("[model]\nhidden_size = 320.5", "valid integer"),
        ("[training]\nschedule = 'cosin'", "got 'cosin'"),
        ("[model]\nsubsampling = 5", "got 5"),
        ("epochs =", "not valid TOML"),
        ("[tokenizer]\nkind = 'folder'", "needs tokenizer.folder"),
        ("[model]\nn_layers = 3\nintermediate_layers = [3]", "layers 1 to 2"),
        ("[data]\ncache = 'features'\n[augment]\nnoise_probability = 0.5", "'waveforms'"),
        (
            "[features]\nkind = 'mfcc'\n[augment]\nfrequency_warp = 0.1",
            "needs features.kind = 'logmel'",
        ),
        ("[augment]\nspeeds = []", "speeds"),
        ("[augment]\nspeeds = [0.0]", "speeds"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, source="conf.toml")
    assert str(raised.value).startswith("conf.toml: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("override", ["training.epochs", "=3", "training..epochs=3", "seed.x.y=1"])
def test_malformed_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_config("seed = 1", source="conf.toml", overrides=[override])


def test_a_folder_stays_with_what_it_was_made_for(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    fixed = ("seed", "model", "training.clip_norm")
    first = parse_config("[training]\nepochs = 1", source="text")
    assert claim_folder(folder, first, fixed)
    longer = parse_config("[training]\nepochs = 2", source="text")
    assert not claim_folder(folder, longer, fixed)
    assert load_config(folder / "config.toml") == longer
    for text, name in (
        ("seed = 1", "seed"),
        ("[model]\nn_layers = 1", "[model]"),
        ("[training]\nclip_norm = 2.0", "training.clip_norm"),
    ):
        with pytest.raises(ConfigError, match=rf"another {re.escape(name)};"):
            claim_folder(folder, parse_config(text, source="text"), fixed)
    assert load_config(folder / "config.toml") == longer


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "binary.toml")


@pytest.mark.parametrize("path", sorted(ROOT.glob("recipes/*/conf/*.toml")), ids=str)
def test_every_recipe_configuration_of_a_recogniser_is_valid(path: Path) -> None:
    text = path.read_text()
    # A [speller] is attention_asr's own; its tests read these files.
    if "[data]" in text and "[speller]" not in text:
        load_config(path)
