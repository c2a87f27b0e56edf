"""`python -m lm` as its user sees it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lm.__main__ import main
from lm.arpa import read_arpa
from lm.table import NgramTable
from tests.lm_models import GOLDEN, assert_same_model

TEXT = str(GOLDEN / "text.txt")


def _run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def _fail(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("lm: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_train_then_everything_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arpa, table = tmp_path / "model.arpa.gz", tmp_path / "model.ngram"
    out = _run(capsys, "train", TEXT, "-o", arpa, "--prune", 0, 1, 2)
    assert out == f"{arpa}: 545 1-grams, 422 2-grams, 57 3-grams\n"
    assert_same_model(read_arpa(arpa), read_arpa(GOLDEN / "pruned.arpa.gz"), 1e-5)

    out = _run(capsys, "convert", arpa, table, "--quantize", 16)
    assert out.startswith("16 bits: log-probabilities off by ")
    assert NgramTable.load(table).bits == 16
    _run(capsys, "convert", table, tmp_path / "back.arpa")
    assert_same_model(read_arpa(tmp_path / "back.arpa"), read_arpa(arpa), 1e-3)
    _run(capsys, "convert", table, tmp_path / "again.ngram")
    assert (tmp_path / "again.ngram").read_bytes() == table.read_bytes()

    for model in (arpa, table, GOLDEN / "pruned.binary"):
        measured = json.loads(_run(capsys, "perplexity", model, TEXT, "--json"))
        assert (measured["sentences"], measured["words"]) == (400, 3046)
        assert measured["unknown"] == 0
        assert measured["perplexity"] == pytest.approx(60.7065, rel=1e-4)
        assert _run(capsys, "perplexity", model, TEXT).startswith("sentences 400  words 3,046")

    out = _run(capsys, "prune", arpa, tmp_path / "small.ngram", "--entropy", "1e-3")
    assert NgramTable.load(tmp_path / "small.ngram").n_ngrams[1] < 422
    words = GOLDEN / "vocabulary.txt"
    _run(capsys, "prune", arpa, tmp_path / "words.arpa", "--vocabulary", words, "--keep-scores")
    assert len(read_arpa(tmp_path / "words.arpa").vocabulary) < 545

    first = _run(capsys, "generate", table, "-n", 3, "--seed", 7, "--max-words", 9)
    assert first == _run(capsys, "generate", table, "-n", 3, "--seed", 7, "--max-words", 9)
    assert len(first.splitlines()) == 3


def test_mix(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = (GOLDEN / "text.txt").read_text().splitlines()
    parts = {"one": lines[:150], "other": lines[150:300], "dev": lines[300:]}
    for name, part in parts.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(part) + "\n")
    models = [tmp_path / "one.arpa", tmp_path / "other.ngram"]
    for model in models:
        _run(capsys, "train", model.with_suffix(".txt"), "-o", model, "--order", 2)
    output = tmp_path / "mixed.ngram"
    dev = tmp_path / "dev.txt"
    out = _run(capsys, "mix", *models, "-o", output, "--tune", dev, "--quantize", 16).splitlines()
    assert [line.partition(": weight 0.")[0] for line in out[:2]] == [*map(str, models)]
    assert out[2].startswith("mixture: perplexity ")
    assert out[-1].startswith(f"{output}: ")
    perplexities = [
        json.loads(_run(capsys, "perplexity", model, dev, "--json"))["perplexity"]
        for model in (*models, output)
    ]
    assert perplexities[2] < min(perplexities[:2])
    _run(capsys, "mix", *models, "-o", tmp_path / "half.arpa", "--weights", 0.5, 0.5)
    assert read_arpa(tmp_path / "half.arpa").order == 2
    for options in ([], ["--weights", 1, 1, "--tune", dev]):
        assert "--weights" in _fail(capsys, "mix", *models, "-o", output, *options)
    assert "sum to 1" in _fail(capsys, "mix", *models, "-o", output, "--weights", 1, 1)


def test_score_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"KIMENSO UNHEARD\n\n")))
    monkeypatch.setattr(sys, "stdin", text)
    model = NgramTable.from_model(read_arpa(GOLDEN / "pruned.arpa.gz"))
    lines = _run(capsys, "score", GOLDEN / "pruned.arpa.gz", "--words").splitlines()
    expected = model.log_probs(["KIMENSO", "UNHEARD"])
    assert lines == [
        f"{expected.sum(dtype=float):.4f}\tKIMENSO UNHEARD",
        f"  {expected[0]:.4f}\tKIMENSO",
        f"  {expected[1]:.4f}\tUNHEARD (unknown)",
        f"  {expected[2]:.4f}\t</s>",
        f"{model.score([]):.4f}\t",
        f"  {model.score([]):.4f}\t</s>",
    ]


def test_characters_and_relative_frequencies(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text, model = tmp_path / "text", tmp_path / "model.ngram"
    text.write_text("it is so\n")
    options = ["--characters", "--estimator", "maximum-likelihood", "--order", 9]
    _run(capsys, "train", text, "-o", model, *options)
    assert _run(capsys, "generate", model, "-n", 1) == "it is so\n"
    assert _run(capsys, "generate", model, "-n", 1, "--prefix", "it i") == "it is so\n"
    # Spaces among its words say that the model is one of characters.
    assert json.loads(_run(capsys, "perplexity", model, text, "--json"))["words"] == 8


def test_tokens_of_a_tokenizer_and_normalised_text(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from asr.text import CharTokenizer

    CharTokenizer().save(tmp_path / "tokens")
    text, model = tmp_path / "text", tmp_path / "model.arpa"
    text.write_text("It's 2 o'clock.\n")
    options = ["--tokenizer", tmp_path / "tokens", "--normalize", "--discount-fallback"]
    _run_with_warnings(capsys, "train", text, "-o", model, *options)
    assert set(read_arpa(model).vocabulary[3:]) == {*"ITSWOCLK'", "<space>"}


def _run_with_warnings(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> None:
    assert main([str(argument) for argument in arguments]) == 0
    capsys.readouterr()


def test_vocabulary_of_the_most_frequent_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "model.arpa"
    _run(capsys, "train", TEXT, "-o", path, "--order", 2, "--vocabulary-size", 50)
    assert len(read_arpa(path).vocabulary) == 53


def test_other_words_count_as_unknown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, same = tmp_path / "model.arpa", tmp_path / "same.arpa"
    options = ["--order", 2, "--vocabulary-size", 50, "--count-unknown", "--discount-fallback"]
    _run_with_warnings(capsys, "train", TEXT, "-o", path, *options)
    model = read_arpa(path)
    table = NgramTable.from_model(model)
    text = Path(TEXT).read_text().split()
    n_other = sum(word not in model.vocabulary for word in text)
    assert n_other > 100
    # The same text with another name for them makes the same model.
    lines = [
        " ".join(word if word in model.vocabulary else "OTHER" for word in line.split())
        for line in Path(TEXT).read_text().splitlines()
    ]
    renamed = tmp_path / "text"
    renamed.write_text("".join(f"{line}\n" for line in lines))
    _run_with_warnings(capsys, "train", renamed, "-o", same, "--order", 2, "--discount-fallback")
    expected = NgramTable.from_model(read_arpa(same))
    for line in lines[:50]:
        found = table.score(line.split())
        assert found == pytest.approx(expected.score(line.split()), rel=2e-3)
    assert "lmplz counts no <unk>" in _fail(
        capsys, "train", TEXT, "-o", path, "--engine", "lmplz", "--count-unknown"
    )


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "model.arpa"
    (tmp_path / "little").write_text("A\n")
    assert "model.bin: the name must end in" in _fail(
        capsys, "train", TEXT, "-o", tmp_path / "model.bin"
    )
    assert "--quantize is for tables" in _fail(capsys, "train", TEXT, "-o", out, "--quantize", 8)
    assert "nothing: cannot be read" in _fail(capsys, "train", tmp_path / "nothing", "-o", out)
    assert "--discount-fallback" in _fail(capsys, "train", tmp_path / "little", "-o", out)
    assert "prune 1 0" in _fail(capsys, "train", TEXT, "-o", out, "--prune", 1, 0)
    assert "no ARPA file" in _fail(capsys, "score", TEXT, TEXT)
    assert "prune needs --entropy" in _fail(capsys, "prune", GOLDEN / "order-3.arpa.gz", out)
    assert "KenLM binary cannot be taken apart" in _fail(
        capsys, "convert", GOLDEN / "pruned.binary", out
    )
    assert "invalid choice" in _fail(capsys, "frobnicate")
    assert "at most 3 numbers" in _fail(
        capsys, "train", TEXT, "-o", out, "--discount-fallback", 1, 1, 1, 1
    )
    assert not out.exists()


def test_help_comes_without_numba() -> None:
    program = (
        "import sys, lm.__main__\n"
        "try: lm.__main__.main(['--help'])\n"
        "except SystemExit: sys.exit('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0
    assert b"perplexity" in done.stdout


def test_a_reader_that_goes_away() -> None:
    command = f"{sys.executable} -m lm generate {GOLDEN / 'order-3.arpa.gz'} -n 3000 | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stderr == b""
