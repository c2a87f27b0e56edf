"""recipes/ngram: n-grams of a text, relative frequencies, figures by order and size; a tiny run."""

import json
import lzma
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lm.backoff import END, START
from lm.corpus import corpus_from_sentences
from lm.counts import count_ngrams, maximum_likelihood
from lm.table import NgramTable
from tests.lm_models import golden_lines
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "ngram"
MODULES = ("ngram_config", "ngram_text", "estimate", "compare", "score")


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


@pytest.fixture
def script(recipe: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def test_ngrams_stand_where_they_end(recipe: SimpleNamespace) -> None:
    tokens = np.array([5, 6, 7, END, END, 8, END], np.int32)
    s, e = START, END
    expected = [(s, 5), (s, 5, 6), (5, 6, 7), (6, 7, e), (s, e), (s, 8), (s, 8, e)]
    found: dict[int, tuple[int, ...]] = {}
    for places, ngrams in recipe.ngram_text.ngrams_of(tokens, 3):
        found |= dict(zip(places.tolist(), map(tuple, ngrams.tolist()), strict=True))
    assert [found[place] for place in range(7)] == expected
    ((places, ngrams),) = recipe.ngram_text.ngrams_of(tokens, 1)
    assert places.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert ngrams[:, 0].tolist() == tokens.tolist()


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_relative_frequencies_are_those_of_the_model(recipe: SimpleNamespace, order: int) -> None:
    lines = golden_lines()
    training, test = lines[:300], lines[300:]
    counts = count_ngrams(corpus_from_sentences(training), 4).up_to(order)
    tokens = recipe.ngram_text.word_ids(test, counts.vocabulary)
    found = recipe.estimate.relative_frequencies(counts, tokens)
    table = NgramTable.from_model(maximum_likelihood(counts))
    expected = np.concatenate(table.score_sentences(test))
    seen = np.isfinite(found.log_probs)
    assert 0.05 < seen.mean() < 1
    np.testing.assert_allclose(found.log_probs[seen], expected[seen], rtol=1e-5, atol=1e-6)
    # Behind contexts that occurred, what did not follow them is impossible for the model, too.
    impossible = ~seen & ~found.is_undefined
    assert impossible.any()
    assert (expected[impossible] < -200).all()
    grams = {tuple(["<s>", *line, "</s>"][i : i + order - 1]) for line in training
             for i in range(len(line) + 3 - order)}  # fmt: skip
    words = [["<s>"] * 9 + line + ["</s>"] for line in test]
    contexts = [tuple(w for w in line[place - order + 1 : place])
                for line in words for place in range(9, len(line))]  # fmt: skip
    for context, is_undefined in zip(contexts, found.is_undefined, strict=True):
        if context.count("<s>") < 2:
            assert is_undefined == (context not in grams)
    figures = found.figures()
    assert figures["seen"] == pytest.approx(seen.mean())
    assert figures["perplexity_of_seen"] == pytest.approx(np.exp(-expected[seen].mean()), rel=1e-4)


def test_beginnings_hold_whole_sentences(recipe: SimpleNamespace) -> None:
    corpus = corpus_from_sentences([["A", "B"], [], ["C"], ["A"]])
    beginning = recipe.ngram_text.beginning
    assert beginning(corpus, 0) is corpus
    assert beginning(corpus, 4) is corpus
    assert beginning(corpus, 3).tokens.tolist() == corpus.tokens[:6].tolist()
    assert beginning(corpus, 2).tokens.tolist() == corpus.tokens[:4].tolist()


CONF = """
[estimate]
sizes = [600, 0]
orders = [1, 2, 3]
[compare]
size = 0
orders = [2, 3]
memory = "64M"
[samples]
size = 0
sentences = 2
max_words = 9
"""


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    lines = [f"{' '.join(line)}\n" for line in golden_lines()]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.txt").write_text("".join(lines[:300]))
    (tmp_path / "text" / "test.txt").write_text("".join(lines[300:]))
    words = corpus_from_sentences(golden_lines()[:300]).most_frequent(80)
    (tmp_path / "text" / "words.txt").write_text("\n".join(words))
    (tmp_path / "conf.toml").write_text(CONF)
    return tmp_path


@pytest.mark.filterwarnings("ignore::DeprecationWarning:rich")
def test_figures_by_order_and_size(script: Script, exp: Path) -> None:
    done = script("estimate.py", exp / "conf.toml", exp)
    assert done.returncode == 0, done.stderr
    path = exp / "estimates.json"
    models = json.loads(path.read_text())["models"]
    assert [(model["size"], model["order"]) for model in models] == [
        (size, order) for size in (600, 0) for order in (1, 2, 3)
    ]
    assert all(model["words"] <= 600 for model in models[:3])
    more, less = models[3:], models[:3]
    for few, many in zip(less, more, strict=True):
        assert many["perplexity"] < few["perplexity"]
        seen = [model["relative_frequencies"]["seen"] for model in (few, many)]
        assert seen[0] < seen[1] <= 1
        assert ("samples" in few, len(many["samples"])) == (False, 2)
    # Interrupted, it goes on with what is missing.
    path.write_text(json.dumps({"models": models[:4]}))
    again = script("estimate.py", exp / "conf.toml", exp)
    assert again.stdout.count("order") == 2
    for old, new in zip(models, json.loads(path.read_text())["models"], strict=True):
        assert {**old, "cpu_seconds": 0} == {**new, "cpu_seconds": 0}

    # As if lmplz had been there.
    theirs = [{"order": 3, "perplexity": more[2]["perplexity"] * 1.001, "seconds": 1}]
    (exp / "lmplz.json").write_text(json.dumps({"size": 0, "models": theirs}))
    readme = exp / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    done = script("score.py", exp, "--readme", readme)
    assert done.returncode == 0, done.stderr
    score = json.loads((exp / "score.json").read_text())
    assert score["perplexity"] == more[2]["perplexity"]
    assert score["lmplz"][0]["difference"] == pytest.approx(1 / 1.001 - 1)
    assert (exp / "perplexity.png").stat().st_size > 1000
    perplexities = " | ".join(f"{model['perplexity']:.1f}" for model in more)
    assert f"| {more[0]['words']:,} | {perplexities} |" in readme.read_text()
    assert "| -0.0999% |" in readme.read_text()
    assert f"3: {more[2]['samples'][1]}" in readme.read_text()


def test_without_lmplz_nothing_is_compared(
    script: Script, exp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(exp))
    (exp / "lmplz.json").write_text("{}")
    done = script("compare.py", exp / "conf.toml", exp)
    assert (done.returncode, done.stderr) == (0, "")
    assert "lmplz is not on PATH" in done.stdout
    assert not (exp / "lmplz.json").exists()


@pytest.mark.skipif(shutil.which("lmplz") is None, reason="lmplz is not on PATH")
def test_equal_to_lmplz(script: Script, exp: Path) -> None:
    assert script("estimate.py", exp / "conf.toml", exp).returncode == 0
    assert script("compare.py", exp / "conf.toml", exp).returncode == 0
    assert script("score.py", exp).returncode == 0
    compared = json.loads((exp / "score.json").read_text())["lmplz"]
    assert [model["order"] for model in compared] == [2, 3]
    assert all(abs(model["difference"]) < 1e-3 for model in compared)


@pytest.mark.parametrize(
    ("program", "options", "part"),
    [
        ("estimate.py", ["--set", "samples.size=7"], "samples.size = 7"),
        ("estimate.py", ["--set", "estimate.order=3"], "did you mean orders?"),
        ("score.py", None, "run the stage estimate first"),
    ],
)
def test_problems_take_one_line(
    script: Script, exp: Path, program: str, options: list[str] | None, part: str
) -> None:
    done = script(program, *([exp] if options is None else [exp / "conf.toml", exp, *options]))
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


def test_wrong_options(tmp_path: Path) -> None:
    done = run("bash", RECIPE / "run.sh", "--data", tmp_path, "--exp", tmp_path, "--words", "many")
    assert done.returncode == 2
    assert done.stderr.endswith("--words 'many': a number is needed\n")


@pytest.mark.recipe
def test_tiny(asr_data: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    with lzma.open(asr_data / "text" / "lm" / "gutenberg-20m.txt.xz", "rt") as lines:
        text.write_text("".join(islice(lines, 10_000)))
    command = ["bash", RECIPE / "run.sh", "--data", text, "--exp", tmp_path / "exp"]
    done = run(*command, "--conf", "tiny", timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "exp" / "score.json").read_text())
    unigrams, bigrams = (score["models"][3 + n]["perplexity"] for n in (0, 1))
    assert score["perplexity"] < 0.8 * unigrams
    assert bigrams < 0.8 * unigrams
    assert all(abs(model["difference"]) < 1e-3 for model in score["lmplz"])
