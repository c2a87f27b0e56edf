"""tools/average_models.py: the mean of two models."""

from pathlib import Path

import pytest
import torch

from asr.config import parse_config
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from tests.recipe_scripts import Script, script_runner

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(TOOLS, capsys)


def saved(folder: Path, seed: int, hidden_size: int = 6, n_layers: int = 1) -> Path:
    torch.manual_seed(seed)
    text = f"[features]\nn_mels = 16\n[model]\nhidden_size = {hidden_size}\nn_layers = {n_layers}\n"
    folder.mkdir()
    Recognizer(parse_config(text, source="test"), CharTokenizer()).save(
        folder, {"epoch": 3.0, "wer": 0.5}
    )
    return folder


def test_weights_are_the_weighted_mean(tmp_path: Path, script: Script) -> None:
    a, b, mean = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2), tmp_path / "mean"
    done = script("average_models.py", mean, f"0.25={a}", f"0.75={b}")
    assert done.returncode == 0, done.stderr
    first, second, found = (dict(Recognizer.load(m).named_parameters()) for m in (a, b, mean))
    for name, parameter in found.items():
        expected = 0.25 * first[name] + 0.75 * second[name]
        torch.testing.assert_close(parameter, expected)
    # What was measured of one of them is not true of the mean.
    assert "wer" not in (mean / "metrics.json").read_text()


def test_the_label_trigram_is_that_of_the_last(tmp_path: Path, script: Script) -> None:
    a, b, mean = saved(tmp_path / "a", 1), saved(tmp_path / "b", 2), tmp_path / "mean"
    recognizer = Recognizer.load(b)
    n = recognizer.tokenizer.n_tokens
    recognizer.label_log_probs = torch.rand(n, n, n).log()
    recognizer.save(b, {})
    assert script("average_models.py", mean, f"0.5={a}", f"0.5={b}").returncode == 0
    found = Recognizer.load(mean).label_log_probs
    assert found is not None
    assert torch.equal(found, recognizer.label_log_probs)
    assert script("average_models.py", tmp_path / "back", f"0.5={b}", f"0.5={a}").returncode == 0
    assert Recognizer.load(tmp_path / "back").label_log_probs is None


def test_heads_that_not_all_have_are_those_of_the_last(tmp_path: Path, script: Script) -> None:
    a, mean = saved(tmp_path / "a", 1, n_layers=2), tmp_path / "mean"
    recognizer = Recognizer.load(a)
    model = recognizer.config.model.model_copy(update={"intermediate_layers": [1]})
    config = recognizer.config.model_copy(update={"model": model})
    with_head = Recognizer(config, recognizer.tokenizer)
    (tmp_path / "b").mkdir()
    with_head.save(tmp_path / "b", {})
    assert script("average_models.py", mean, f"0.5={a}", f"0.5={tmp_path / 'b'}").returncode == 0
    found = Recognizer.load(mean).network
    assert torch.equal(found.heads["1"].weight, with_head.network.heads["1"].weight)
    expected = (recognizer.network.output.weight + with_head.network.output.weight) / 2
    torch.testing.assert_close(found.output.weight, expected)


def test_a_model_without_the_blocks_of_the_last_has_blocks_of_zeros(
    tmp_path: Path, script: Script
) -> None:
    a, mean = saved(tmp_path / "a", 1), tmp_path / "mean"
    recognizer = Recognizer.load(a)
    model = recognizer.config.model.model_copy(update={"subsampling_blocks": [1, 2]})
    grown = Recognizer(recognizer.config.model_copy(update={"model": model}), recognizer.tokenizer)
    for parameter in grown.parameters():
        torch.nn.init.normal_(parameter)
    (tmp_path / "b").mkdir()
    grown.save(tmp_path / "b", {})
    assert script("average_models.py", mean, f"0.25={a}", f"0.75={tmp_path / 'b'}").returncode == 0
    found, last = (dict(m.named_parameters()) for m in (Recognizer.load(mean), grown))
    block = "network.subsampling.blocks.1.1."
    torch.testing.assert_close(found[block + "outer.weight"], 0.75 * last[block + "outer.weight"])
    assert torch.equal(found[block + "inner.weight"], last[block + "inner.weight"])
    # The other way round there is no such mean: the last says what the model looks like.
    done = script("average_models.py", tmp_path / "no", f"0.25={tmp_path / 'b'}", f"0.75={a}")
    assert done.returncode == 2
    assert "differ in size" in done.stderr


def test_refuses_what_has_no_mean(tmp_path: Path, script: Script) -> None:
    a, b = saved(tmp_path / "a", 1), saved(tmp_path / "b", 1, hidden_size=7)
    done = script("average_models.py", tmp_path / "mean", f"0.5={a}", f"0.5={b}")
    assert done.returncode == 2
    assert "differ in size or units" in done.stderr
    done = script("average_models.py", tmp_path / "mean", f"0.5={a}", f"0.6={a}")
    assert done.returncode == 2
    assert "the weights sum to 1.1" in done.stderr
    assert not (tmp_path / "mean").exists()
