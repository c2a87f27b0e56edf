"""`asr score` from files to figures."""

import json
from pathlib import Path

import pytest

from asr.cli import main


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    references = [("ann", "a1", "THE CAT SAT"), ("ann", "a2", "ON"), ("bob", "b1", "MY MAT")]
    lines = [
        json.dumps({"audio_filepath": f"{name}.wav", "duration": 1, "text": text, "speaker": who})
        for who, name, text in references
    ]
    Path("ref.jsonl").write_text("\n".join(lines))
    Path("ref.txt").write_text("THE CAT SAT\nON\nMY MAT\n")
    Path("a.trn").write_text("MY HAT (b1)\nTHE BIG CAT SET (a1)\n(a2)\n")
    Path("b.trn").write_text("THE CAT SAT (a1)\nON (a2)\nMY HAT (b1)\n")
    Path("cased.txt").write_text("The cat sat.\nOn...\nmy “mat”!\n")
    return tmp_path


def test_text(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "a.trn", "--worst", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("WER 66.67%  (95 % interval ")
    assert lines[0].endswith("bootstrap over speakers)")
    assert lines[2] == "words 6: 2 substituted, 1 inserted, 1 deleted"
    assert lines[3] == "utterances 3: 3 with errors (100.00%)"
    assert lines[5:] == [
        "a1: 2 errors in 3 words",
        "REF: THE *** CAT SAT",
        "HYP: THE BIG CAT SET",
        "         I       S",
    ]


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "a.trn", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["wer"] == pytest.approx(4 / 6)
    assert result["interval_over"] == "speakers"
    assert [utterance["id"] for utterance in result["worst"]] == ["a1", "a2", "b1"]


def test_two_systems(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "ref.jsonl", "a.trn", "b.trn"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("A: a.trn\nWER 66.67%")
    assert "\n\nB: b.trn\nWER 16.67%" in text
    assert "\n\nB - A: WER -50.00%  (95 % interval -75.00% to +0.00%, paired boot" in text
    assert main(["score", "ref.jsonl", "a.trn", "b.trn", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["comparison"]["difference"] == pytest.approx(-0.5)
    assert result["a"]["wer"] == pytest.approx(4 / 6)
    assert result["b"]["wer"] == pytest.approx(1 / 6)


def test_text_counts_as_it_is_unless_normalised(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", "ref.txt", "cased.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 1.0
    assert main(["score", "ref.txt", "cased.txt", "--json", "--normalize"]) == 0
    assert json.loads(capsys.readouterr().out)["wer"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ref.txt", "none.txt"], "none.txt: cannot be read"),
        (["ref.jsonl", "b2.trn"], "2 utterances without hypothesis: a2, b1"),
        (["ref.txt", "short.txt"], "3 references but 1 hypotheses"),
        (["ref.txt", "ref.txt", "--worst", "-1"], "--worst -1"),
        (["ref.txt", "ref.txt", "--bootstrap", "0"], "--bootstrap 0"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("b2.trn").write_text("THE CAT (a1)\n")
    Path("short.txt").write_text("THE CAT\n")
    assert main(["score", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err
    assert output.err.count("\n") == 1
    assert not output.out
