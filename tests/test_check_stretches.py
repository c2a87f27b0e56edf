"""tools/check_stretches.py: whether a model makes sense of stretches."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.config import parse_config
from asr.manifest import Utterance, write_manifest
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from tests.recipe_scripts import Script, script_runner

TOOLS = Path(__file__).parents[1] / "tools"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(TOOLS, capsys)


def saved(folder: Path, *, sure: bool) -> Path:
    """A model that says the same of everything: a blank, or any symbol as likely as another."""
    torch.manual_seed(0)
    text = "[features]\nn_mels = 16\n[model]\nhidden_size = 4\ninput_size = 4\nn_layers = 1\n"
    recognizer = Recognizer(parse_config(text, source="test"), CharTokenizer())
    torch.nn.init.zeros_(recognizer.network.output.weight)
    torch.nn.init.zeros_(recognizer.network.output.bias)
    if sure:
        with torch.no_grad():
            recognizer.network.output.bias[0] = 10.0
    folder.mkdir()
    recognizer.save(folder, {})
    return folder


def utterances(folder: Path, seconds: float, n: int) -> Path:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * 16_000))
    soundfile.write(folder / "noise.wav", noise, 16_000)
    one = Utterance(folder / "noise.wav", seconds, "ONE", "a")
    write_manifest(folder / "m.jsonl", [one] * n)
    return folder / "m.jsonl"


def test_models_that_are_sure_and_unsure(tmp_path: Path, script: Script) -> None:
    manifest = utterances(tmp_path, 20.0, 3)
    sure, unsure = saved(tmp_path / "sure", sure=True), saved(tmp_path / "unsure", sure=False)
    done = script("check_stretches.py", manifest, sure)
    assert done.returncode == 0
    # 60 s in steps of 9.1 s: from 0, 9.1 and 18.2 s there are 38 s left.
    assert f"{sure}: 0 of 3 stretches" in done.stdout
    done = script("check_stretches.py", manifest, sure, unsure)
    assert done.returncode == 1
    assert f"{unsure}: 3 of 3 stretches" in done.stdout
    assert "speaker a, from 18.2 s: 0.03 0.03 0.03 0.03" in done.stdout


def test_too_little_to_cut_from(tmp_path: Path, script: Script) -> None:
    done = script(
        "check_stretches.py", utterances(tmp_path, 5.0, 2), saved(tmp_path / "m", sure=True)
    )
    assert done.returncode == 2
    assert "no speaker with more than 38 s" in done.stderr
