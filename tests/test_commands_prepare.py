"""`asr prepare`: manifests, their check, and tokenizers, by the command."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.cli import main
from asr.manifest import read_manifest
from asr.text import load_tokenizer


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", "It's 5 o'clock."), ("b", "Café – no."), ("c", "...")):
        soundfile.write(f"{name}.wav", np.zeros(16_000, dtype=np.float32), 16_000)
        Path(f"{name}.txt").write_text(text, encoding="utf-8")
    Path("table.csv").write_text("file,text\na.wav,One two\nb.wav,Three\n")
    return tmp_path


def test_a_folder_becomes_a_manifest(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", ".", "--output", "m/m.jsonl"]) == 0
    output = capsys.readouterr()
    assert output.out == "m/m.jsonl: 3 utterances, 0.00 h\n"
    assert "1 texts are empty" in output.err
    assert [u.text for u in read_manifest("m/m.jsonl")] == ["IT'S FIVE O'CLOCK", "CAFE NO", ""]
    assert main(["prepare", ".", "--output", "m.jsonl", "--text", "keep"]) == 0
    assert read_manifest("m.jsonl")[1].text == "Café – no."


def test_layouts_are_told_apart_and_joined(corpus: Path) -> None:
    chapter = Path("L/84/121")
    chapter.mkdir(parents=True)
    Path("a.wav").rename(chapter / "84-121-0000.wav")
    (chapter / "84-121.trans.txt").write_text("84-121-0000 BOYS' GAMES\n")
    Path("K").mkdir()
    Path("K/wav.scp").write_text("b b.wav\n")
    Path("K/text").write_text("b Mr. B\n")
    Path("table.csv").write_text("file,text\nb.wav,Three\n")
    assert main(["prepare", "L", "K", "table.csv", "--output", "m.jsonl"]) == 0
    found = [(u.text, u.speaker) for u in read_manifest("m.jsonl")]
    assert found == [("BOYS' GAMES", "84"), ("MISTER B", None), ("THREE", None)]


def test_check(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prepare", ".", "--output", "m.jsonl", "--text", "keep"])
    Path("text.txt").write_text("ONE TWO THREE\n")
    main(["prepare", "--tokenizer", "characters", "text.txt", "--output", "t"])
    capsys.readouterr()
    assert main(["prepare", "--check", "m.jsonl"]) == 0
    assert capsys.readouterr().out.startswith("m.jsonl: 3 utterances, 0.00 h; no problems (char")
    options = ["--model", "t", "--subsampling", "8"]
    assert main(["prepare", "--check", "m.jsonl", *options]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("m.jsonl: utterance 1 (a): tokenizer: the tokenizer does not know")
    assert lines[-1] == "m.jsonl: 3 utterances, 0.00 h; 3 problems in 3 of them"
    main(["prepare", "--check", "m.jsonl", "--model", "characters"])
    assert "the tokenizer does not know" in capsys.readouterr().out
    assert main(["prepare", "--check", "m.jsonl", "--model", "nowhere"]) == 2
    assert "nowhere: no model folder" in capsys.readouterr().err


def test_check_writes_what_is_left(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["prepare", ".", "--output", "m.jsonl"])
    capsys.readouterr()
    assert main(["prepare", "--check", "m.jsonl", "--output", "clean.jsonl", "--json"]) == 2
    output = capsys.readouterr()
    (report,) = json.loads(output.out)
    assert report["n_utterances"] == 3
    assert [(p["utterance"], p["id"], p["kind"]) for p in report["problems"]] == [(3, "c", "text")]
    assert output.err == "clean.jsonl: 2 utterances, 0.00 h are left\n"
    assert main(["prepare", "--check", "clean.jsonl"]) == 0


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_pieces(kind: str, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_text("THE CAT AND THE HAT\n\nTHE BAT\n")
    main(["prepare", "table.csv", "--output", "m.jsonl"])
    arguments = ["--tokenizer", kind, "--size", "16", "m.jsonl", "text.txt"]
    assert main(["prepare", *arguments, "--output", "t"]) == 0
    assert f"t: {kind}, 16 tokens with the blank" in capsys.readouterr().out
    tokenizer = load_tokenizer("t")
    assert tokenizer.decode(tokenizer.encode("THREE BATTED HAT")) == "THREE BATTED HAT"


def test_phones(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("lexicon.txt").write_text("ONE W AH1 N\nTWO T UW1\nT T IY1\n")
    Path("text.txt").write_text("ONE TWO\nTT ONE\n")
    arguments = ["prepare", "--tokenizer", "phones", "--lexicon", "lexicon.txt", "text.txt"]
    assert main([*arguments, "--output", "t"]) == 0
    assert "1 words of the texts cannot be encoded: TT" in capsys.readouterr().err
    tokenizer = load_tokenizer("t")
    assert tokenizer.decode(tokenizer.encode("ONE TWO")) == "W AH N T UW"
    assert main([*arguments, "--output", "t", "--spell-unknown", "--stress"]) == 0
    assert not capsys.readouterr().err
    tokenizer = load_tokenizer("t")
    assert tokenizer.decode(tokenizer.encode("TT")) == "T IY1 T IY1"
    assert main([*arguments, "--output", "t", "--word-ends"]) == 0
    tokenizer = load_tokenizer("t")
    assert tokenizer.decode(tokenizer.encode("ONE TWO")) == "ONE TWO"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["."], "--output is missing"),
        ([".", "--output", "."], "is a folder"),
        (["none", "--output", "m"], "none: there is no such file or folder"),
        (["a.wav", "--output", "m"], "a.wav: not UTF-8 text"),
        (["m.jsonl", "--output", "m"], "is a manifest already"),
        (["table.csv", "--text-column", "said", "--output", "m"], "no column 'said'"),
        (["--tokenizer", "bpe", "a.txt", "--output", "t"], "needs --size"),
        (["--tokenizer", "characters", "table.csv", "--output", "t"], "make a manifest of it"),
        (["--tokenizer", "bpe", "--size", "5", "a.txt", "--output", "t"], "too few"),
        (["--tokenizer", "phones", "a.txt", "--output", "t"], "needs --lexicon"),
        (["--check", "a.txt"], "not JSON"),
        (["--check", "m.jsonl", "--model", "none"], "none: no model folder"),
        (["--check", "m.jsonl", "--subsampling", "0"], "--subsampling 0"),
        (["--check", "m.jsonl", "m.jsonl", "--output", "x"], "one manifest at a time"),
        (["--check", "--tokenizer", "bpe", "x"], "not allowed with"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("m.jsonl").write_text('{"audio_filepath": "a.wav", "duration": 1, "text": "HI"}\n')
    with soundfile.SoundFile("a.wav", "w", 16_000, 1) as file:
        file.write(np.random.default_rng(0).standard_normal(1000).clip(-1, 1))
    assert main(["prepare", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
