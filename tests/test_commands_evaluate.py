import json
from pathlib import Path

import pytest

from asr.audio import save_wav
from asr.cli import main
from asr.manifest import Utterance, write_manifest
from asr.transcribe import load

from .test_transcribe import make_sound


@pytest.fixture
def manifests(tmp_path: Path, tiny_model: Path) -> list[Path]:
    """Two manifests; in the first, each of three utterances lacks a word of its reference."""
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.wav")
        save_wav(paths[-1], make_sound(3.0, seed=number))
    transcripts = load(tiny_model, "cpu").transcribe(paths)
    texts = [transcript.text for transcript in transcripts]
    first = [
        Utterance(path, 3.0, f"{text} indeed.", f"speaker{number}")
        for number, (path, text) in enumerate(zip(paths[:3], texts[:3], strict=True))
    ]
    second = [Utterance(path, 3.0, text) for path, text in zip(paths[3:], texts[3:], strict=True)]
    write_manifest(tmp_path / "first.jsonl", first)
    write_manifest(tmp_path / "second.jsonl", second)
    return [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]


@pytest.fixture
def run(tiny_model: Path, capfd: pytest.CaptureFixture[str]):
    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["evaluate", "--model", str(tiny_model), *map(str, arguments)])
        return code, *capfd.readouterr()

    return run


def test_the_report(run, manifests: list[Path]) -> None:
    code, output, errors = run(manifests[0], "--worst", 2)
    assert (code, errors) == (0, "")
    first, wer, *_ = output.splitlines()
    assert first.startswith(f"{manifests[0]}: 0.1 min of audio in ")
    assert "x real time (RTF 0." in first
    assert wer.startswith("WER ")
    assert "bootstrap over speakers" in wer
    assert "0 substituted, 0 inserted, 3 deleted" in output
    assert output.count("REF: ") == 2
    assert "INDEED" in output


def test_json(run, manifests: list[Path]) -> None:
    code, output, _ = run("--json", "--worst", 1, manifests[0])
    result = json.loads(output)
    assert code == 0
    assert result["deletions"] == 3
    assert result["wer"] == 3 / result["n_words"]
    assert result["cer"] > 0
    assert result["sentence_error_rate"] == 1.0
    assert result["interval"][0] <= result["wer"] <= result["interval"][1]
    assert result["interval_over"] == "speakers"
    assert result["audio_seconds"] == 9.0
    assert result["rtf"] == pytest.approx(result["seconds"] / 9, abs=1e-3)
    assert result["n_failed"] == 0
    assert result["worst"][0]["alignment"][-1] == ["INDEED", ""]
    assert len(result["worst"]) == 1


def test_several_manifests_are_scored_apart_and_together(run, manifests: list[Path]) -> None:
    result = json.loads(run("--json", *manifests)[1])
    parts = [result["manifests"][str(path)] for path in manifests]
    assert [part["deletions"] for part in parts] == [3, 0]
    assert result["deletions"] == 3
    assert result["n_words"] == sum(part["n_words"] for part in parts)
    output = run(*manifests)[1]
    titles = [line.split(":")[0] for line in output.splitlines() if "x real time" in line]
    assert titles == [*map(str, manifests), "all"]


def test_without_normalisation_case_and_punctuation_count(run, manifests: list[Path]) -> None:
    raw = json.loads(run("--json", "--no-normalize", manifests[0])[1])
    assert raw["wer"] == 1.0
    assert raw["worst"][0]["reference"].endswith("indeed.")
    assert json.loads(run("--json", "--normalize", manifests[0])[1])["deletions"] == 3


def test_the_written_hypotheses_can_be_scored(
    run, manifests: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hypotheses.jsonl"
    evaluated = json.loads(run("--json", manifests[0], "--output", path)[1])
    assert main(["score", str(manifests[0]), str(path), "--normalize", "--json"]) == 0
    scored = json.loads(capfd.readouterr().out)
    for name in ("wer", "cer", "n_words", "deletions", "interval"):
        assert scored[name] == evaluated[name]


def test_a_folder_receives_the_hypotheses_and_figures_of_each_manifest(
    run, manifests: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "decoded"
    folder.mkdir()
    code, output, _ = run("--json", *manifests, "--output", folder)
    assert code == 0
    parts = json.loads(output)["manifests"]
    for manifest, n_utterances in zip(manifests, (3, 2), strict=True):
        lines = (folder / manifest.name).read_text().splitlines()
        assert len(lines) == n_utterances
        figures = json.loads((folder / manifest.name).with_suffix(".json").read_text())
        assert figures == parts[str(manifest)]


def test_what_cannot_be_read_is_named_and_the_rest_scored(
    run, manifests: list[Path], tmp_path: Path
) -> None:
    with manifests[0].open("a") as file:
        file.write('{"audio_filepath": "none.wav", "duration": 1.0, "text": "x"}\n')
    code, output, errors = run("--json", manifests[0])
    assert code == 2
    assert errors == f"asr: error: {tmp_path / 'none.wav'}: no such file\n"
    result = json.loads(output)
    assert (result["n_utterances"], result["n_failed"]) == (3, 1)
    code, output, _ = run(manifests[0])
    assert code == 2
    assert "1 utterances left out" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--worst", "-1"], "--worst -1"),
        (["--bootstrap", "0"], "--bootstrap 0"),
        (["--threads", "0"], "--threads 0"),
        (["none.jsonl"], "none.jsonl: cannot be read"),
        (["--output", "/none/none.jsonl"], "/none/none.jsonl: cannot be written"),
        (["--output", "."], "first.jsonl lies there"),
        (["first.jsonl", "--output", "/"], "first.jsonl is the name of two"),
    ],
)
def test_wrong_options(
    arguments: list[str], says: str, run, manifests: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifests[0].parent)
    code, output, errors = run(manifests[0], *arguments)
    assert (code, output) == (2, "")
    assert says in errors
    assert len(errors.splitlines()) == 1
