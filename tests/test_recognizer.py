"""A model folder: saved, loaded, refused."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from asr.checkpoint import read_json, read_tensors, round_tensors, write_tensors
from asr.config import load_config, parse_config
from asr.errors import AsrError, CheckpointError
from asr.model_folders import find_model
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer

SMALL = """
[features]
n_mels = 16
[model]
subsampling_channels = 4
input_size = 12
hidden_size = 8
n_layers = 2
intermediate_layers = [1]
"""


def small() -> Recognizer:
    torch.manual_seed(0)
    recognizer = Recognizer(parse_config(SMALL, source="test"), CharTokenizer())
    recognizer.normalizer.std.fill_(2.0)
    return recognizer.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small().save(tmp_path, {"wer": 0.5})
    return tmp_path


def test_round_trip(folder: Path) -> None:
    waveforms, lengths = torch.randn(2, 16_000) / 10, torch.tensor([16_000, 9_000])
    with torch.no_grad():
        expected = small()(waveforms, lengths)
        loaded = Recognizer.load(folder)
        got = loaded(waveforms, lengths)
    assert torch.equal(expected.log_probs, got.log_probs)
    assert got.lengths.tolist() == [25, 14]
    assert loaded.frame_seconds == 0.04
    config = parse_config(SMALL, source="test", overrides=["features.hop_ms=7.5"])
    finer = Recognizer(config, CharTokenizer())
    assert finer.frame_seconds == pytest.approx(0.03)
    assert finer.normalizer.window_frames == 1333
    assert finer(waveforms, lengths).lengths.tolist() == [33, 18]
    assert read_json(folder / "metrics.json")["wer"] == 0.5


@pytest.mark.parametrize(
    ("precision", "part", "tolerance"), [("half", 0.7, 0.01), ("int8", 0.5, 0.05)]
)
def test_rounded_weights_are_smaller_and_say_nearly_the_same(
    folder: Path,
    tmp_path: Path,
    precision: Literal["half", "int8"],
    part: float,
    tolerance: float,
) -> None:
    torch.manual_seed(0)
    config = load_config(folder / "config.toml")
    wide = config.model.model_copy(update={"hidden_size": 64})
    recognizer = Recognizer(config.model_copy(update={"model": wide}), CharTokenizer()).eval()
    sizes = []
    for name in ("float32", precision):
        (tmp_path / name).mkdir()
        recognizer.save(tmp_path / name, {}, precision=name)
        sizes.append((tmp_path / name / "model.safetensors").stat().st_size)
    assert sizes[1] < part * sizes[0]
    waveforms, lengths = torch.randn(1, 16_000) / 10, torch.tensor([16_000])
    with torch.no_grad():
        difference = (
            recognizer(waveforms, lengths).log_probs
            - Recognizer.load(tmp_path / precision)(waveforms, lengths).log_probs
        )
    assert 0 < float(difference.abs().max()) < tolerance


def test_rows_of_eight_bits_come_back_to_half_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "matrix": torch.randn(80, 64) * torch.logspace(-6, 3, 80)[:, None],
        "kernel": torch.randn(32, 16, 3, 3),
        "zeros": torch.zeros(64, 64),
        "bias": torch.randn(80),
        "count": torch.arange(5),
    }
    write_tensors(tmp_path / "rounded", round_tensors(tensors, "int8"))
    found = read_tensors(tmp_path / "rounded")
    assert found.keys() == tensors.keys()
    for name in ("matrix", "kernel", "zeros"):
        rows, wanted = found[name].flatten(1), tensors[name].flatten(1)
        assert found[name].dtype == torch.float32
        assert bool(((rows - wanted).abs() <= wanted.abs().amax(1, keepdim=True) / 253).all())
    assert torch.equal(found["bias"], tensors["bias"].half())
    assert torch.equal(found["count"], tensors["count"])


def test_heads_may_be_left_out(folder: Path) -> None:
    path = folder / "model.safetensors"
    kept = {k: v for k, v in read_tensors(path).items() if "heads" not in k}
    write_tensors(path, kept)
    (head,) = Recognizer.load(folder).network.heads.values()
    for parameter in head.parameters():
        assert parameter.isfinite().all()
        assert parameter.std() > 0.01


def test_an_experiment_folder_stands_for_its_best_model(folder: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "exp"
    experiment.mkdir()
    small().save(folder, {})
    (experiment / "best").symlink_to(folder)
    assert find_model(experiment) == experiment / "best"


def damage_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def other_sizes(folder: Path) -> None:
    path = folder / "config.toml"
    path.write_text(path.read_text().replace("hidden_size = 8", "hidden_size = 9"))


def missing_layer(folder: Path) -> None:
    path = folder / "model.safetensors"
    write_tensors(path, {k: v for k, v in read_tensors(path).items() if "output.bias" not in k})


def pickle_in_disguise(folder: Path) -> None:
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_weights, "damaged"),
        (pickle_in_disguise, "damaged"),
        (other_sizes, "do not belong together"),
        (missing_layer, r"network\.output\.bias"),
        (lambda f: (f / "model.safetensors").unlink(), "no such file"),
        (lambda f: (f / "config.toml").unlink(), "no model folder"),
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
        (lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer"),
    ],
)
def test_damaged_folders_are_refused_in_one_line(folder: Path, damage, message: str) -> None:  # type: ignore[no-untyped-def]
    damage(folder)
    with pytest.raises(AsrError, match=message) as raised:
        Recognizer.load(folder)
    assert "\n" not in str(raised.value)


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model folder"):
        Recognizer.load(tmp_path / "none")
