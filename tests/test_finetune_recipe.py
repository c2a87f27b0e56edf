"""recipes/finetune: the split by text, the table, and the whole recipe on a few recordings."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from asr.manifest import Utterance, read_manifest, write_manifest
from tests.recipe_scripts import Script, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "finetune"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def utterances(texts: list[str]) -> list[Utterance]:
    return [
        Utterance(audio_filepath=Path(f"/audio/{n}.wav"), duration=2.0, text=text, speaker="one")
        for n, text in enumerate(texts)
    ]


def parts(folder: Path) -> dict[str, list[Utterance]]:
    return {name: read_manifest(folder / f"{name}.jsonl") for name in ("train", "dev", "test")}


def test_split_gives_each_part_its_share_and_texts_of_its_own(
    tmp_path: Path, script: Script
) -> None:
    # Every fourth sentence is said three times, once in small letters.
    texts = [f"SENTENCE {n}" for n in range(100)]
    texts += texts[::4] + [text.lower() for text in texts[::4]]
    write_manifest(tmp_path / "all.jsonl", utterances(texts))
    done = script("split.py", tmp_path / "all.jsonl", tmp_path)
    assert done.returncode == 0
    assert "train: 120 utterances, 4.0 min" in done.stdout
    found = parts(tmp_path)
    assert [len(found[name]) for name in found] == [120, 15, 15]
    assert Counter(u.text for part in found.values() for u in part) == Counter(texts)
    said = [{u.text.upper() for u in part} for part in found.values()]
    assert sum(map(len, said)) == 100
    # The same seed gives the same parts, another one others.
    script("split.py", tmp_path / "all.jsonl", tmp_path)
    assert parts(tmp_path) == found
    script("split.py", tmp_path / "all.jsonl", tmp_path, "--seed", 1)
    assert parts(tmp_path) != found


def test_split_refuses_too_few_texts(tmp_path: Path, script: Script) -> None:
    write_manifest(tmp_path / "all.jsonl", utterances(["A", "B", "A"]))
    done = script("split.py", tmp_path / "all.jsonl", tmp_path)
    assert done.returncode == 2
    assert "3 utterances with 2 different texts leave nothing for dev and test" in done.stderr
    assert not (tmp_path / "train.jsonl").exists()


def write_decoded(exp: Path, name: str, pairs: list[tuple[str, str]]) -> None:
    lines = [
        json.dumps({"id": str(n), "text": text, "pred_text": heard})
        for n, (text, heard) in enumerate(pairs)
    ]
    (exp / "decode" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def test_score(tmp_path: Path, script: Script) -> None:
    for folder in ("decode", "manifests", "after"):
        (tmp_path / folder).mkdir()
    for name in ("train", "dev", "test"):
        write_manifest(tmp_path / "manifests" / f"{name}.jsonl", utterances(["A B", "C D"]))
    wrong, half = [("A B", "X Y"), ("C D", "X")], [("A B", "A Y"), ("C D", "C")]
    right = [("A B", "A B"), ("C D", "C D")]
    for name, pairs in {
        "before": half, "before-greedy": wrong, "after": right, "after-greedy": half,
    }.items():  # fmt: skip
        write_decoded(tmp_path, name, pairs)
    (tmp_path / "after" / "seconds").write_text("90 120\n")
    done = script("score.py", tmp_path, "before", "after")
    assert done.returncode == 0, done.stderr
    assert "| **adapted** | 50.0%" in done.stdout
    assert "| 1.5 (CPU 2.0) |" in done.stdout
    assert "Adapted against given, language model: -50.0 points" in done.stdout
    result = json.loads((tmp_path / "score.json").read_text())
    assert result["wer"] == 0
    assert result["models"]["before"]["greedy"]["wer"] == 1
    assert script("score.py", tmp_path, "after").returncode == 2


@pytest.mark.recipe
@pytest.mark.timeout(600)
def test_tiny_adapts_and_measures(asr_data: Path, tmp_path: Path) -> None:
    rows = (asr_data / "vctk_p239" / "manifest.tsv").read_text().splitlines()
    shortest = sorted(rows[1:], key=lambda row: float(row.split("\t")[2]))[:30]
    table = tmp_path / "recordings.tsv"
    folder = asr_data / "vctk_p239"
    table.write_text("\n".join([rows[0], *(f"{folder}/{row}" for row in shortest)]) + "\n")
    done = run(
        "bash", RECIPE / "run.sh", "--data", table, "--exp", tmp_path / "exp", "--conf", "tiny"
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "exp" / "score.json").read_text())
    assert set(result["models"]) == {"before", "after"}
    assert result["utterances"] == {"train": 24, "dev": 3, "test": 3}
    # The adapted model takes its language model along, and its own weights for it.
    best = tmp_path / "exp" / "after" / "best"
    assert (best / "decoding.toml").exists()
    assert (best / "words.ngram").exists()
    heard = run(
        sys.executable, "-m", "asr", "transcribe", folder / rows[1].split("\t")[0], "--model", best
    )
    assert heard.returncode == 0, heard.stderr
    assert heard.stdout.strip()
