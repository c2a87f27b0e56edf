"""recipes/digits: splits and strings of made-up recordings; one seed on the real ones."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import inspect
from asr.manifest import Utterance, read_manifest
from tests.recipe_scripts import run

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "digits"
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def prepare(data: Path, output: Path) -> "subprocess.CompletedProcess[str]":
    return run(sys.executable, RECIPE / "prepare.py", data, output)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, recordings 0 to 10 of each digit; a digit is a level of its own."""
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for digit in range(10):
        for speaker in ("anna", "jean_luc"):
            for index in range(11):
                level = 0.05 * (digit + 1)
                samples = level * random.choice([-1.0, 1.0], 1000 + 80 * index)
                path = folder / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, samples, 8_000, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def manifests(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("manifests")
    done = prepare(recordings, output)
    assert done.returncode == 0, done.stderr
    assert "official: 40 train, 80 dev, 100 test" in done.stdout
    return output


def test_some_speakers_and_strings(recordings: Path, tmp_path: Path) -> None:
    program = RECIPE / "prepare.py"
    done = run(sys.executable, program, recordings, tmp_path, "--speakers", 1, "--strings", 3, 2, 1)
    assert done.returncode == 0, done.stderr
    assert "official: 20 train, 40 dev, 50 test" in done.stdout
    assert "connected: 23 train, 2 dev, 1 test" in done.stdout
    assert {u.speaker for u in read_manifest(tmp_path / "connected-train.jsonl")} == {"anna"}


def parts(manifests: Path, name: str) -> dict[str, list[Utterance]]:
    return {p: read_manifest(manifests / f"{name}-{p}.jsonl") for p in ("train", "dev", "test")}


def index(utterance: Utterance) -> int:
    return int(utterance.audio_filepath.stem.rpartition("_")[2])


def test_official_split(manifests: Path) -> None:
    found = parts(manifests, "official")
    assert {index(u) for u in found["test"]} == {0, 1, 2, 3, 4}
    assert {index(u) for u in found["dev"]} == {5, 6, 7, 8}
    assert {index(u) for u in found["train"]} == {9, 10}
    for utterance in found["test"]:
        assert utterance.text == WORDS[int(utterance.audio_filepath.stem[0])]
        assert utterance.duration == inspect(utterance.audio_filepath).duration
    assert Counter(u.speaker for u in found["test"]) == {"anna": 50, "jean_luc": 50}


def test_a_speaker_is_left_out_of_training_and_dev(manifests: Path) -> None:
    found = parts(manifests, "without-jean_luc")
    assert {u.speaker for u in found["test"]} == {"jean_luc"}
    assert len(found["test"]) == 110
    assert {u.speaker for u in found["train"] + found["dev"]} == {"anna"}
    # The official test recordings are in no training set.
    assert min(index(u) for u in found["train"]) == 9
    assert {index(u) for u in found["dev"]} == {5, 6, 7, 8}


def test_connected_digits_are_recordings_of_their_part_with_pauses(
    recordings: Path, manifests: Path
) -> None:
    found = parts(manifests, "connected")
    indices = {"train": {9, 10}, "dev": {5, 6, 7, 8}, "test": {0, 1, 2, 3, 4}}
    strings = {p: [u for u in us if " " in u.text] for p, us in found.items()}
    assert {len(u.text.split()) for u in strings["train"]} == {3, 4, 5, 6, 7}
    assert strings["test"] == found["test"]
    single = [u for u in found["train"] if " " not in u.text]
    assert single == parts(manifests, "official")["train"]
    for part, utterances in strings.items():
        for utterance in utterances[:20]:
            samples, rate = soundfile.read(utterance.audio_filepath)
            assert utterance.duration == pytest.approx(len(samples) / rate, abs=1e-6)
            clips = [
                [soundfile.read(recordings / f"{WORDS.index(w)}_{utterance.speaker}_{i}.wav")[0]
                 for i in indices[part]]
                for w in utterance.text.split()
            ]  # fmt: skip
            assert _is_joined_from(samples, clips)


def _is_joined_from(samples: np.ndarray, clips: list[list[np.ndarray]]) -> bool:
    """Whether one clip of each list follows the other in order, each found as it is."""
    end = 0
    for choices in clips:
        places = [_place(samples, clip, end) for clip in choices]
        found = [(place, len(clip)) for place, clip in zip(places, choices, strict=True) if place]
        if not found:
            return False
        # At least the pause in front of each: 50 ms.
        place, length = min(found)
        if place - end < 400:
            return False
        end = place + length
    return len(samples) - end >= 400


def _place(samples: np.ndarray, clip: np.ndarray, start: int) -> int:
    head = np.lib.stride_tricks.sliding_window_view(samples[start:], 64)
    for place in np.flatnonzero(np.isclose(head, clip[:64], atol=1e-4).all(axis=1)):
        there = samples[start + place : start + place + len(clip)]
        if len(there) == len(clip) and np.allclose(there, clip, atol=1e-4):
            return int(start + place)
    return 0


def test_the_same_recordings_give_the_same_strings(
    recordings: Path, manifests: Path, tmp_path: Path
) -> None:
    assert prepare(recordings, tmp_path).returncode == 0
    for path in sorted(manifests.glob("connected-*.jsonl")):
        assert (tmp_path / path.name).read_text() == path.read_text()
    for path in sorted((manifests / "connected" / "test").glob("*.flac"))[:10]:
        assert (tmp_path / "connected" / "test" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["ten_anna_0.wav", "1_anna.wav", "1_anna_x.wav"])
def test_other_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.zeros(800), 8_000)
    done = prepare(tmp_path, tmp_path / "out")
    assert done.returncode == 2
    assert name in done.stderr
    assert done.stderr.count("\n") == 1


def test_score_is_the_mean_of_the_seeds(tmp_path: Path) -> None:
    def decoded(name: str, *lines: tuple[str, str, str]) -> None:
        path = tmp_path / "decode" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        fields = [{"text": t, "pred_text": p, "speaker": s} for t, p, s in lines]
        path.write_text("".join(json.dumps(each) + "\n" for each in fields))

    right = ("ONE", "ONE", "anna")
    decoded("seed-0", right, ("TWO", "TWO", "jean"))
    decoded("seed-1", right, ("TWO", "NINE", "jean"))
    decoded("without-anna", ("ONE", "NINE", "anna"))
    decoded("without-jean", ("TWO", "TWO", "jean"))
    decoded("connected", ("ONE TWO THREE FOUR", "ONE TWO FOUR", "anna"), right)
    decoded("words-seed-1", right, ("TWO", "TWO", "jean"))
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "seconds").write_text("41 60\n")
    models = ["seed-0", "seed-1", "without-anna", "without-jean", "connected"]
    done = run(sys.executable, RECIPE / "score.py", tmp_path, *models)
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["wer"] == 0.25
    assert score["official_lexicon"]["wer"] == 0.0
    assert score["loso"]["wer"] == 0.5
    assert [score["models"][name]["wer"] for name in models] == [0.0, 0.5, 1.0, 0.0, 0.2]
    assert score["models"]["seed-1"]["training_seconds"] == 41
    assert "| official split, seed-1 | 50.00% | 1 / 2 | 41 s (60 s) |" in done.stdout

    readme = tmp_path / "README.md"
    readme.write_text("above\n<!-- results -->\nold\n<!-- end of results -->\nbelow\n")
    again = run(sys.executable, RECIPE / "score.py", "--table", tmp_path, "--readme", readme)
    assert again.stdout == done.stdout
    rows = "".join(line for line in done.stdout.splitlines(keepends=True)[:-1])
    assert readme.read_text() == (
        f"above\n<!-- results -->\n{rows}<!-- end of results -->\nbelow\n"
    )


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--seeds", "a"], "--seeds 'a'"), (["--variants", "loso x"], "--variants x")],
)
def test_wrong_options(tmp_path: Path, options: list[str], part: str) -> None:
    done = run("bash", RECIPE / "run.sh", "--data", tmp_path, "--exp", tmp_path, *options)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.recipe
@pytest.mark.timeout(600)
def test_tiny_learns(asr_data: Path, tmp_path: Path) -> None:
    command = ["bash", RECIPE / "run.sh", "--data", asr_data / "fsdd", "--exp", tmp_path]
    done = run(*command, "--conf", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["wer"] < 0.8  # chance is 0.9
    assert score["official_lexicon"]["wer"] < 0.8


@pytest.mark.timeout(600)
def test_one_seed_on_real_recordings(asr_data: Path, tmp_path: Path) -> None:
    command = ["bash", RECIPE / "run.sh", "--data", asr_data, "--exp", tmp_path]
    command += ["--seeds", "0", "--variants", "none"]
    done = run(*command)
    print(done.stdout)  # the figures and times, shown with -rP
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["official"]["n_words"] == 300
    assert score["wer"] <= 0.05
