"""recipes/librispeech/ladder.py: steps that build on one another, measured against them."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from asr.config import load_config, load_decoding
from asr.errors import ConfigError
from asr.manifest import Utterance, write_manifest
from asr.model_folders import find_model
from asr.models.recognizer import Recognizer
from asr.toml_config import load_toml
from asr.transcripts import read_transcripts
from lm.arpa import write_arpa
from tests.lm_models import small_model
from tests.recipe_scripts import Script, imported, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "librispeech"


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ("ladder", "score")) as modules:
        yield modules


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.syspath_prepend(RECIPE)
    return script_runner(RECIPE, capsys)


def test_a_step_trains_as_those_it_is_on(recipe: SimpleNamespace) -> None:
    step, training_options = recipe.ladder.Step, recipe.ladder.training_options
    steps = [
        step(name="base", set=["seed=1"], init_from="exp/start"),
        step(name="wide", on="base", set=["model.hidden_size=384"]),
        step(name="long", on="wide", set=["training.epochs=9", "seed=2"]),
        step(name="lost", on="later"),
        step(name="later"),
    ]
    assert training_options(steps[2], steps) == [
        "--init-from", "exp/start", "--set", "seed=1", "--set", "model.hidden_size=384",
        "--set", "training.epochs=9", "--set", "seed=2",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="step lost: it is on 'later', which does not come bef"):
        training_options(steps[3], steps)


@pytest.mark.parametrize("name", ["ladder", "ideas"])
def test_all_steps_of_the_recipe_are_valid_and_differ(recipe: SimpleNamespace, name: str) -> None:
    ladder = load_toml(recipe.ladder.Ladder, RECIPE / "conf" / f"{name}.toml")
    options = [recipe.ladder.training_options(step, ladder.steps) for step in ladder.steps]
    configs = [
        load_config(
            RECIPE / "conf" / ladder.base,
            [value for option, value in pairwise(each) if option == "--set"],
        )
        for each in options
    ]
    assert len({config.model_dump_json() for config in configs}) == len(ladder.steps)
    assert len({step.name for step in ladder.steps}) == len(ladder.steps)


def test_measures_models_and_names_steps_that_fail(tmp_path: Path, script: Script) -> None:
    sample = ROOT / "examples" / "hello.wav"
    dev = tmp_path / "dev.jsonl"
    write_manifest(dev, [Utterance(sample, 3.0, "HELLO", "one"), Utterance(sample, 3.0, "WORLD")])
    steps = tmp_path / "steps.toml"
    steps.write_text(
        f"base = {str(RECIPE / 'conf' / 'tiny.toml')!r}\n"
        "[[steps]]\nname = 'package'\nmodel = 'default'\nabout = 'as it is'\n"
        "[[steps]]\nname = 'nowhere'\non = 'package'\nmodel = 'nowhere'\n"
    )
    exp = tmp_path / "exp"
    done = script("ladder.py", steps, exp, "--dev", dev)
    assert done.returncode == 0, done.stderr
    size = sum(p.numel() for p in Recognizer.load(find_model("default")).network.parameters())
    assert f"| package (as it is) | {size / 1e6:.1f} M |" in done.stdout
    assert "ladder: nowhere: asr evaluate ended with exit code 2" in done.stderr
    (step,) = json.loads((exp / "ladder.json").read_text())["steps"]
    assert step["sets"]["dev"]["n_words"] == 2

    # What is measured is not measured again; a step that was mended is.
    before = (exp / "package" / "step.json").stat().st_mtime_ns
    steps.write_text(steps.read_text().replace("model = 'nowhere'", "model = 'default'"))
    again = script("ladder.py", steps, exp, "--dev", dev)
    assert again.returncode == 0, again.stderr
    assert "| package: +0.0" in again.stdout
    assert (exp / "package" / "step.json").stat().st_mtime_ns == before
    readme = tmp_path / "README.md"
    readme.write_text("<!-- steps -->\n<!-- end of steps -->\n")
    table = script("ladder.py", "--table", exp, "--readme", readme).stdout
    assert again.stdout.endswith(table)
    assert readme.read_text() == f"<!-- steps -->\n{table}<!-- end of steps -->\n"
    assert script("ladder.py", steps, exp).returncode == 2

    steps.write_text("[[steps]]\nname = 'trained'\n")
    baseless = script("ladder.py", steps, exp, "--dev", dev)
    assert baseless.returncode == 2
    assert f"step trained: to train it, {steps} needs a base" in baseless.stderr


def test_measures_with_a_language_model_tuned_for_each_step(tmp_path: Path, script: Script) -> None:
    dev = tmp_path / "dev.jsonl"
    write_manifest(dev, [Utterance(ROOT / "examples" / "hello.wav", 3.0, "THREE WORDS HERE")])
    steps = tmp_path / "steps.toml"
    steps.write_text("[[steps]]\nname = 'package'\nmodel = 'default'\n")
    write_arpa(small_model([["THREE", "WORDS", "HERE"]], 1), tmp_path / "three.arpa")
    # What was measured greedily is measured again.
    greedy = tmp_path / "exp" / "package" / "step.json"
    greedy.parent.mkdir(parents=True)
    greedy.write_text('{"lm": null}')
    options = ["--dev", dev, "--lm", tmp_path / "three.arpa"]
    done = script("ladder.py", steps, tmp_path / "exp", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].startswith("With three.arpa, tuned for each step; ")
    assert load_decoding(tmp_path / "exp" / "package" / "decoding.toml").lm.endswith("three.arpa")
    hypotheses = tmp_path / "exp" / "decode" / "package" / "dev.jsonl"
    (line,) = read_transcripts(hypotheses, is_reference=False)
    assert set(line.text.split()) <= {"THREE", "WORDS", "HERE"}


def test_the_table_pools_the_sets(recipe: SimpleNamespace) -> None:
    def step(wer_a: float, wer_b: float, **more: object) -> dict[str, object]:
        sets = {
            name: {"wer": wer, "cer": 0.1, "interval": None, "n_words": n_words}
            for name, wer, n_words in (("a", wer_a, 100), ("b", wer_b, 300))
        }
        facts = {"about": "", "parameters": 2_500_000, "epoch": 3.0, "seconds": None, "on": ""}
        return {**facts, "sets": sets, **more}

    result = {
        "sets": ["a", "b"],
        "lm": None,
        "machine": "a laptop",
        "steps": [
            step(0.2, 0.4, name="one", about="the first"),
            step(0.1, 0.3, name="two", on="one", against={"difference": -0.1, "interval": None}),
        ],
    }
    assert recipe.ladder.table(result).splitlines()[2:] == [
        "| step | parameters | epochs | a WER | CER | b WER | CER | together | against |",
        "|---|---|---|---|---|---|---|---|---|",
        "| one (the first) | 2.5 M | 3.0 | 20.0% | 10.0% | 40.0% | 10.0% | 35.0% |  |",
        "| two | 2.5 M | 3.0 | 10.0% | 10.0% | 30.0% | 10.0% | 25.0% | one: -10.0 |",
    ]
    result["steps"] = [step(0.2, 0.4, name="one", seconds=90.0)]
    assert recipe.ladder.table(result).endswith("| 35.0% |  | 2 |")
