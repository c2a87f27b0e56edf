"""recipes/summarization: papers, summaries, ROUGE beside the first sentence; a tiny model."""

import json
import lzma
import sys
from pathlib import Path

import pytest

from asr.errors import DependencyError
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "summarization"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    papers = [
        {
            "source": [f"We study {a} nets .", f"They learn {b}  well ."],
            "target": [f"{a} nets learn {b} .", f"On {a} and {b} ."],
        }
        for a in ("deep", "wide", "small")
        for b in ("speech", "text")
    ]
    papers.append({"source": [""], "target": ["Nothing ."]})
    text = "".join(f"{json.dumps(paper)}\n" for paper in papers)
    for part in ("train", "dev"):
        (folder / f"{part}.jsonl.xz").write_bytes(lzma.compress(text.encode()))
    (folder / "test.jsonl").write_text(text)
    return folder


def test_from_papers_to_summaries_and_a_table(script: Script, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    text = tmp_path / "text"
    done = script("prepare.py", data, text, "--pieces", "50")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "papers: 6 train, 6 dev, 6 test; 50 word pieces\n"
    abstracts = (text / "test.abstract").read_text().splitlines()
    assert abstracts[0] == "We study deep nets . They learn speech well ."
    settings = ["epochs=150", "batch_size=6", "evaluate_every=50"]
    options = [part for setting in settings for part in ("--set", f"training.{setting}")]
    done = script("train.py", RECIPE / "conf" / "tiny.toml", text, tmp_path / "model", *options)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "decode" / "model.summary"
    files = text / "tokenizer", text / "test.abstract", output
    done = script("summarize.py", tmp_path / "model", *files)
    assert done.returncode == 0, done.stderr
    assert output.read_text() == (text / "test.summary").read_text()

    done = script("score.py", tmp_path, "model")
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["rouge_l"] == pytest.approx(1)
    assert score["lead"]["rougeL"] < 0.9
    assert (score["n_papers"], score["n_references"]) == (6, 12)
    assert "| lead-1 | " in done.stdout
    assert "| model | 100.0 (+" in done.stdout
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    assert script("score.py", "--table", tmp_path, "--readme", readme).stdout == done.stdout
    assert "| lead-1 | " in readme.read_text()
    output.write_text("One .\n")
    done = script("score.py", tmp_path, "model")
    assert done.returncode == 2
    assert "model.summary: has 1 lines, the test has 6" in done.stderr


def test_rouge_takes_the_closest_reference() -> None:
    pytest.importorskip("rouge_score")
    with imported(RECIPE, ["score"]) as modules:
        references = [["the cats sat down", "a dog ran"], ["nothing alike"]]
        found = modules.score.rouge(["a cat sits", "other words"], references)
    # Of the first: one stem of three in each of two references, of four and of three words.
    assert found == pytest.approx({"rouge1": (2 / 6) / 2, "rouge2": 0.0, "rougeL": (2 / 6) / 2})


def test_bad_papers_are_refused(script: Script, data: Path, tmp_path: Path) -> None:
    (data / "test.jsonl").write_text('{"source": ["One ."]}\n')
    done = script("prepare.py", data, tmp_path / "text", "--pieces", "50")
    assert done.returncode == 2
    assert "test.jsonl, line 1: a JSON object with source and target" in done.stderr
    assert done.stderr.count("\n") == 1
    (data / "test.jsonl").unlink()
    done = script("prepare.py", data, tmp_path / "text", "--pieces", "50")
    assert done.returncode == 2
    assert "has no test.jsonl" in done.stderr


def test_without_rouge_score_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Python finds for a package that is not installed.
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    with (
        imported(RECIPE, ["score"]) as modules,
        pytest.raises(DependencyError, match="pip install rouge-score"),
    ):
        modules.score.rouge(["a"], [["b"]])


@pytest.mark.recipe
def test_tiny_runs(asr_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    data = asr_data / "text" / "scitldr"
    done = run("bash", RECIPE / "run.sh", "--data", data, "--exp", tmp_path, "--conf", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "decode" / "model.summary").read_text().splitlines()) == 40
    score = json.loads((tmp_path / "score.json").read_text())
    assert 0 <= score["rouge_l"] < score["lead"]["rougeL"]
