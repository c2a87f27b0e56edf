"""recipes/translation: the text's parts, translations and a picture, BLEU; a tiny model."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe_scripts import Script, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "translation"
SENTENCES = {
    "en": ["A dog runs .", "Two dogs run !", "A man sees a dog ."],
    "de": ["Ein Hund läuft .", "Zwei Hunde laufen !", "Ein Mann sieht einen Hund ."],
}


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    for language, sentences in SENTENCES.items():
        text = "".join(f"{sentence}\n" for sentence in sentences * 4)
        for part in ("train", "val"):
            (folder / f"{part}.{language}.gz").write_bytes(gzip.compress(text.encode()))
        (folder / f"test_2016_flickr.{language}").write_text(text, encoding="utf-8")
    return folder


def test_from_raw_text_to_a_translation_and_a_picture(
    script: Script, data: Path, tmp_path: Path
) -> None:
    text, exp = tmp_path / "text", tmp_path / "exp"
    done = script("prepare.py", data, text, "--pieces", "40", "--pairs", "9")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pairs: 9 train, 9 dev, 9 test; 40 word pieces\n"
    for language, sentences in SENTENCES.items():
        assert (text / f"test.{language}").read_text(encoding="utf-8").splitlines() == sentences * 3
    settings = ["epochs=60", "batch_size=9", "evaluate_every=20"]
    options = [part for setting in settings for part in ("--set", f"training.{setting}")]
    done = script("train.py", RECIPE / "conf" / "tiny.toml", text, exp, *options)
    assert done.returncode == 0, done.stderr
    # A character that no piece covers is left out.
    (tmp_path / "in.en").write_text("A dog runs .\nA man sees a dog€ .\n", encoding="utf-8")
    files = tmp_path / "in.en", tmp_path / "new" / "out.de"
    draw = ("--draw", tmp_path / "attention.png")
    done = script("translate.py", exp, text / "tokenizer", *files, *draw)
    assert done.returncode == 0, done.stderr
    assert files[1].read_text(encoding="utf-8").splitlines() == [
        "Ein Hund läuft .",
        "Ein Mann sieht einen Hund .",
    ]
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "in.en").write_text("A dog runs .\n€\n", encoding="utf-8")
    done = script("translate.py", exp, text / "tokenizer", *files)
    assert done.returncode == 2
    assert "sentence 2: '€'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_sides_of_different_length_are_refused(script: Script, data: Path, tmp_path: Path) -> None:
    (data / "test_2016_flickr.de").write_text("Ein Hund .\n")
    done = script("prepare.py", data, tmp_path / "text", "--pieces", "40")
    assert done.returncode == 2
    assert "test_2016_flickr has 12 lines in one language and 1 in the other" in done.stderr
    (data / "train.de.gz").write_bytes(b"no gzip")
    done = script("prepare.py", data, tmp_path / "text", "--pieces", "40")
    assert done.returncode == 2
    assert "train.de.gz: cannot be read" in done.stderr


@pytest.fixture
def decoded(tmp_path: Path) -> Path:
    for folder in ("text", "decode", "plain", "attention"):
        (tmp_path / folder).mkdir()
    lines = SENTENCES["de"]
    text = "".join(f"{line}\n" for line in lines)
    (tmp_path / "text" / "test.de").write_text(text, encoding="utf-8")
    (tmp_path / "decode" / "attention.de").write_text(text, encoding="utf-8")
    (tmp_path / "decode" / "plain.de").write_text(f"{lines[0]}\n" * 3, encoding="utf-8")
    for name in ("plain", "attention"):
        log = [{"kind": "dev", "epoch": epoch, "perplexity": 9.0 - epoch} for epoch in (1.0, 2.0)]
        log.append({"kind": "dev", "epoch": 3.0, "perplexity": 8.0})
        path = tmp_path / name / "metrics.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in log))
        (tmp_path / name / "seconds").write_text("900 610\n")
    return tmp_path


def test_bleu_and_table(script: Script, decoded: Path) -> None:
    done = script("score.py", decoded, "plain", "attention")
    assert done.returncode == 0, done.stderr
    score = json.loads((decoded / "score.json").read_text())
    assert score["bleu"] == pytest.approx(100)
    assert score["models"]["plain"]["bleu"] < 60
    assert "case:mixed" in score["signature"]
    assert "| attention | 100.0 | 1.00 | 7.00 | 3.0 | 10 min |" in done.stdout
    readme = decoded / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    again = script("score.py", "--table", decoded, "--readme", readme)
    assert again.stdout == done.stdout
    assert "| attention | 100.0 |" in readme.read_text()
    (decoded / "decode" / "plain.de").write_text("Ein Hund .\n")
    done = script("score.py", decoded, "plain")
    assert done.returncode == 2
    assert "plain.de: has 1 lines, the test has 3" in done.stderr


def test_without_sacrebleu_it_says_what_to_install(
    script: Script, decoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What Python finds for a package that is not installed.
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    done = script("score.py", decoded, "attention")
    assert done.returncode == 2
    assert "pip install sacrebleu" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_runs(asr_data: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", RECIPE / "run.sh", "--data", asr_data / "text" / "multi30k-en-de", "--exp",
         tmp_path, "--conf", "tiny"],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=290,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((tmp_path / "decode" / "attention.de").read_text().splitlines()) == 200
    assert (tmp_path / "attention.png").stat().st_size > 1000
    assert "bleu" in json.loads((tmp_path / "score.json").read_text())
