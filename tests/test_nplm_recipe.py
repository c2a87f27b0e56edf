"""recipes/nplm: mixtures of models, perplexities on the same words, a tiny run."""

import json
import lzma
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lm.__main__ import main as lm_main
from lm.perplexity import measure_perplexity
from lm.table import NgramTable
from tests.lm_models import golden_lines
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "nplm"


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ("score", "evaluate")) as modules:
        yield modules


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def test_mixtures_find_the_likeliest_weights(recipe: SimpleNamespace) -> None:
    generator = np.random.default_rng(0)
    log_probs = np.log(generator.beta(0.3, 2.0, (2, 5000)))
    weights = recipe.score.mixture_weights(log_probs)
    assert weights.sum() == pytest.approx(1)
    grid = [np.array([w, 1 - w]) for w in np.linspace(0.01, 0.99, 99)]
    best = max(grid, key=lambda w: recipe.score.mix(log_probs, w).sum())
    np.testing.assert_allclose(weights, best, atol=0.01)
    expected = np.log(best @ np.exp(log_probs))
    np.testing.assert_allclose(recipe.score.mix(log_probs, best), expected)
    # A model that is worse at every word gets nothing, one that stands there twice its share.
    worse = np.stack([log_probs[0], log_probs[0] - 1])
    assert recipe.score.mixture_weights(worse)[1] < 1e-6
    same = log_probs[[0, 0]]
    np.testing.assert_allclose(recipe.score.mixture_weights(same), [0.5, 0.5])


def test_intervals_are_those_of_drawn_sentences(recipe: SimpleNamespace) -> None:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 30, 2000)
    log_probs = generator.normal(-5, 1.5, lengths.sum())
    low, high = recipe.score.bootstrap_interval(log_probs, lengths)
    assert low < np.exp(-log_probs.mean()) < high
    margin = 1.96 * 1.5 / np.sqrt(lengths.sum())
    assert np.log(high / low) / 2 == pytest.approx(margin, rel=0.1)


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of the golden text: two n-gram models, and networks of random weights."""
    folder = tmp_path_factory.mktemp("exp")
    text = folder / "text.txt"
    text.write_text("".join(f"{' '.join(line)}\n" for line in golden_lines() if line))
    parts = ["--dev-words", "300", "--test-words", "400", "--vocabulary", "80"]
    assert lm_main(["split", str(text), str(folder / "text"), *parts]) == 0
    words = ["--vocabulary", str(folder / "text" / "words.txt")]
    train = str(folder / "text" / "train.txt")
    for order in ("1", "2"):
        options = ["--order", order, *words, "--count-unknown", "--discount-fallback"]
        output = str(folder / f"ngram-{order}.ngram")
        assert lm_main(["train", train, "-o", output, *options]) == 0
    sizes = ["model.embedding_size=4", "model.hidden_size=4", "training.max_steps=1"]
    settings = [option for size in sizes for option in ("--set", size)]
    dev = ["--dev", str(folder / "text" / "dev.txt")]
    with imported(RECIPE, ("train",)) as modules:
        for kind in ("nplm", "lstm"):
            options = ["--kind", kind, *words, *dev, *settings]
            assert modules.train.main([str(folder / kind), train, *options]) == 0
    return folder


def test_all_models_are_measured_on_the_same_words(script: Script, exp: Path) -> None:
    names = ["ngram-1", "ngram-2", "nplm", "lstm"]
    done = script("evaluate.py", exp, *names)
    assert done.returncode == 0, done.stderr
    test = [line.split() for line in (exp / "text" / "test.txt").read_text().splitlines()]
    readme = exp / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    done = script("score.py", exp, *names, "--readme", readme)
    assert done.returncode == 0, done.stderr
    score = json.loads((exp / "score.json").read_text())
    assert score["n_words"] == sum(len(words) + 1 for words in test)
    table = NgramTable.load(exp / "ngram-2.ngram")
    measured = measure_perplexity(table, test)
    found = score["models"]["ngram-2"]
    assert found["perplexity"] == pytest.approx(measured.perplexity(), rel=1e-5)
    assert found["perplexity_of_known"] == pytest.approx(measured.perplexity(unknown=False))
    assert score["unknown"] == pytest.approx(measured.n_unknown / score["n_words"])
    for name in ("nplm", "lstm"):
        model = score["models"][name]
        # Networks begin as unigrams.
        unigram = score["models"]["ngram-1"]["perplexity"]
        assert model["perplexity"] == pytest.approx(unigram, rel=0.1)
        assert model["training"]["training_cpu_seconds"] >= 0
    assert [m["members"] for m in score["mixtures"]] == [
        ["ngram-2", "nplm"],
        ["ngram-2", "lstm"],
        ["ngram-2", "nplm", "lstm"],
    ]
    for mixture in score["mixtures"]:
        assert sum(mixture["weights"]) == pytest.approx(1)
        assert mixture["perplexity"] < found["perplexity"] * 1.02
    assert score["perplexity"] == score["models"]["lstm"]["perplexity"]
    assert (exp / "learning.png").stat().st_size > 1000
    assert f"| {found['perplexity']:.1f} |" in readme.read_text()


def test_problems_take_one_line(script: Script, exp: Path) -> None:
    (exp / "log_probs").mkdir(exist_ok=True)
    np.savez(exp / "log_probs" / "short.npz", size=1, dev=np.zeros(3), test=np.zeros(3))
    for program, name, part in (
        ("score.py", "short", "short.npz: is of another text"),
        ("score.py", "missing", "missing.npz: cannot be read"),
        ("evaluate.py", "missing", "missing: no neural language model"),
    ):
        done = script(program, exp, name)
        assert done.returncode == 2
        assert part in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--words", "0"], "--words '0'"),
        (["--orders", "3 x"], "--orders '3 x'"),
        (["--models", "gru"], "--models 'gru'"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], part: str) -> None:
    done = run("bash", RECIPE / "run.sh", "--data", tmp_path, "--exp", tmp_path, *options)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_learns(asr_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    with lzma.open(asr_data / "text" / "lm" / "gutenberg-20m.txt.xz", "rt") as lines:
        text.write_text("".join(islice(lines, 3000)))
    command = ["bash", RECIPE / "run.sh", "--data", text, "--exp", tmp_path / "exp"]
    options = ["--conf", "tiny", "--orders", "1 3", "--models", "lstm"]
    done = run(*command, *options, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "exp" / "score.json").read_text())
    unigrams, trigrams, lstm = (
        score["models"][name]["perplexity"] for name in ("ngram-1", "ngram-3", "lstm")
    )
    assert lstm < 0.9 * unigrams
    (mixture,) = score["mixtures"]
    assert mixture["perplexity"] < min(trigrams, lstm)
