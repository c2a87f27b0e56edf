"""recipes/text_generation: windows, bits per character, generation; a tiny training."""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from asr.errors import ConfigError, TextError
from asr.search import Sampling, beam_search, greedy, sample
from asr.toml_config import parse_toml
from lm.neural import LstmLM
from lm.neural_model import NeuralLanguageModel
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "text_generation"
MODULES = ("textgen_config", "characters", "windows", "stream")


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("To be, or not\nto be: that  is\n" * 60, encoding="utf-8")
    return path


def test_text_is_lowered_and_its_end_held_out(recipe: SimpleNamespace, text_file: Path) -> None:
    text = recipe.characters.read_characters(text_file, recipe.textgen_config.TextConfig())
    tokens = [*text.training.tolist(), *text.held_out.tolist()]
    symbols = text.tokenizer.symbols
    assert recipe.characters.text_of(tokens, symbols) == text_file.read_text().lower()
    assert len(text.held_out) == pytest.approx(len(tokens) / 10, abs=1)
    assert min(tokens) == 1
    little = recipe.textgen_config.TextConfig(held_out=0.001)
    with pytest.raises(TextError, match="leaves 2 characters"):
        recipe.characters.read_characters(text_file, little)
    text_file.write_text("too short")
    with pytest.raises(TextError, match="9 characters"):
        recipe.characters.read_characters(text_file, recipe.textgen_config.TextConfig())


def test_nietzsche_has_57_characters_and_200k_windows(
    recipe: SimpleNamespace, asr_data: Path
) -> None:
    config = recipe.textgen_config.TextConfig()
    text = recipe.characters.read_characters(asr_data / "text" / "nietzsche.txt", config)
    assert text.tokenizer.n_tokens - 1 == 57
    tokens = np.concatenate([text.training, text.held_out])
    windows, following = recipe.windows.make_windows(tokens, 40, 3)
    assert windows.shape == (200_285, 40)
    assert len(following) == 200_285


def test_windows_start_every_step(recipe: SimpleNamespace) -> None:
    windows, following = recipe.windows.make_windows(np.arange(12, dtype=np.uint8), 4, 3)
    assert windows.tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert following.tolist() == [4, 7, 10]
    with pytest.raises(TextError, match="4 characters for windows of 4"):
        recipe.windows.make_windows(np.arange(4, dtype=np.uint8), 4, 3)


def test_steps_of_the_window_model_are_its_windows(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = recipe.windows.WindowModel(5, 8, window=4)
    tokens = torch.tensor([1, 3, 2, 5, 4, 4, 1])
    state, first = model.start(tokens[:4].tolist(), 2)
    for t in range(4, 8):
        log_probs, state = model.step(state, torch.tensor(first))
        expected = F.log_softmax(model(tokens[None, t - 4 : t]), -1)
        assert torch.allclose(log_probs[:, 1:], expected.expand(2, -1), atol=1e-6)
        assert (log_probs[:, 0] < -100).all()
        first = [int(tokens[min(t, 6)])] * 2


def test_bits_per_character_of_both_models(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    tokens = np.random.default_rng(0).integers(1, 9, 700).astype(np.uint8)
    model = recipe.windows.WindowModel(8, 6, window=4)
    expected = []
    for t in range(4, 700, 3):
        logits = model(torch.from_numpy(tokens[None, t - 4 : t].astype(np.int64)))
        expected.append(-logits.log_softmax(-1)[0, int(tokens[t]) - 1].item())
    value = recipe.windows.measure(model, tokens, step=3, batch=100)
    assert value == pytest.approx(np.mean(expected) / math.log(2), rel=1e-4)

    network = LstmLM(9, embedding_size=4, hidden_size=6, n_layers=1, tied=False).eval()
    total = 0.0
    for stream in tokens.reshape(2, 350):
        state = network.start(1)
        for before, after in itertools.pairwise(stream):
            log_probs, state = network.step(state, torch.tensor([int(before)]))
            total -= log_probs[0, int(after)].item()
    value = recipe.stream.measure(network, tokens, n_streams=2)
    assert value == pytest.approx(total / 698 / math.log(2), rel=1e-4)


def test_a_learned_text_is_generated_again(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    tokens = np.tile(np.arange(1, 7, dtype=np.uint8), 200)
    model = recipe.windows.WindowModel(6, 16, window=3)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
    windows, following = recipe.windows.make_windows(tokens, 3, 1)
    x = torch.from_numpy(windows[:60].astype(np.int64))
    y = torch.from_numpy(following[:60].astype(np.int64))
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y - 1).backward()
        optimizer.step()
    state, first = model.start([1, 2, 3], 1)
    expected = (4, 5, 6, 1, 2, 3, 4)
    assert greedy(model, state, [7], first=first)[0].tokens == expected
    assert beam_search(model, state, [7], width=3, first=first)[0][0].tokens == expected
    generator = torch.Generator().manual_seed(0)
    nucleus = Sampling(temperature=0.5, top_k=3, top_p=0.9)
    (drawn,) = sample(model, state, [7], generator=generator, sampling=nucleus, first=first)
    assert drawn.tokens == expected


def test_the_modern_model_takes_the_settings_of_language_models(
    recipe: SimpleNamespace, text_file: Path, tmp_path: Path
) -> None:
    text = recipe.characters.read_characters(text_file, recipe.textgen_config.TextConfig())
    settings = """
        model = {embedding_size = 4, hidden_size = 6, n_layers = 1, tied = false}
        training = {device = "cpu", max_steps = 1, epochs = 1, batch_size = 4, segment = 8}
    """

    def trained(name: str, *overrides: str) -> NeuralLanguageModel:
        kind = recipe.textgen_config.TextgenConfig
        config = parse_toml(kind, settings, source="test", overrides=overrides)
        recipe.stream.train(config, text, tmp_path / name)
        return NeuralLanguageModel.load(tmp_path / name)

    plain = trained("plain")
    # It begins with the characters' frequencies: one small update later it still knows them.
    mean = plain.network.output(torch.zeros(1, 6))[0]
    counts = torch.bincount(torch.from_numpy(text.training.astype(np.int64)))
    assert mean[1:].argmax() + 1 == counts[1:].argmax() + 1
    for name, setting in (("vectors", '"cooccurrence"'), ("n_samples", "2")):
        other = trained(name, f"training.{name}={setting}")
        assert not torch.allclose(other.network.embedding.weight, plain.network.embedding.weight)
    with pytest.raises(ConfigError, match="reads a window"):
        trained("nplm", 'model.kind="nplm"')


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Iterator[Script]:
    with imported(RECIPE, MODULES):
        yield script_runner(RECIPE, capsys)


@pytest.mark.recipe
def test_tiny_learns_samples_and_goes_on(asr_data: Path, tmp_path: Path, script: Script) -> None:
    data = asr_data / "text"
    done = run("bash", RECIPE / "run.sh", "--data", data, "--exp", tmp_path, "--conf", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["classic"]["bits"] < 5.0  # log2 of the number of characters is more
    assert score["modern"]["bits"] < 4.5
    (tmp_path / "modern").rename(tmp_path / "elsewhere")
    settings = data / "nietzsche.txt", RECIPE / "conf" / "tiny.toml", tmp_path
    # As of a training that was stopped on the way, whose time is not known.
    (tmp_path / "classic" / "seconds").unlink()
    done = script("textgen.py", "score", *settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("|  |")
    assert "modern" not in json.loads((tmp_path / "score.json").read_text())
    (tmp_path / "elsewhere").rename(tmp_path / "modern")
    samples = (tmp_path / "classic" / "samples.txt").read_text()
    assert samples.count("-- temperature") == 4

    options = ["--prompt", "The ", "--length", 30, "--top-k", 5, "--samples", 2]
    for model in ("classic", "modern"):
        done = script("textgen.py", "generate", tmp_path / model, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("the ")
        assert len(done.stdout) == 2 * (4 + 30 + 1)
    beam = "--prompt", "the ", "--beam", 3, "--length", 10
    done = script("textgen.py", "generate", tmp_path / "modern", *beam)
    assert len(done.stdout) == 4 + 10 + 1
    done = script("textgen.py", "generate", tmp_path / "modern", "--prompt", "漢")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
