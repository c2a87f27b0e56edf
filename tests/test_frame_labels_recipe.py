"""recipes/frame_labels: borders of phones, networks, accuracies; a tiny run."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from asr.manifest import Utterance
from asr.toml_config import load_toml
from asr.world import World
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "frame_labels"
PHONES = ("SIL", "AA", "AH", "B", "DH", "K", "S")


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ("frames", "labeller", "prepare", "train", "score")) as modules:
        yield modules


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def said(*times: tuple[str, float, float]) -> dict[str, Any]:
    return {"tokens": [{"text": text, "start": start, "end": end} for text, start, end in times]}


def test_phones_meet_in_the_middle_and_words_have_a_margin(recipe: SimpleNamespace) -> None:
    alignment = said(
        ("DH", 0.50, 0.54), ("AH", 0.58, 0.62), ("|", 0.62, 0.66),
        ("B", 0.66, 0.70), ("AA", 0.90, 0.94), ("K", 0.94, 1.0), ("S", 1.26, 1.30), ("|", 1.3, 1.4),
        ("AH", 2.00, 2.04), ("|", 2.04, 2.08),
    )  # fmt: skip
    segments = recipe.frames.phone_segments(alignment)
    assert [segment.phone for segment in segments] == ["DH", "AH", "B", "AA", "K", "S", "AH"]
    starts = [segment.start for segment in segments]
    ends = [segment.end for segment in segments]
    assert starts[0] == pytest.approx(0.50 - 0.08)
    assert ends[0] == starts[1] == pytest.approx(0.56)
    # Words that are close meet in the middle, too.
    assert ends[1] == starts[2] == pytest.approx(0.64)
    assert ends[2:5] == starts[3:6] == pytest.approx([0.80, 0.94, 1.13])
    assert ends[5] == pytest.approx(1.30 + 0.08)
    assert (starts[6], ends[6]) == pytest.approx((2.00 - 0.08, 2.04 + 0.08))
    names = recipe.frames.phone_names({"a.flac": segments[:3], "b.flac": segments[3:]})
    assert names == PHONES


def test_a_frame_has_the_phone_of_its_middle(recipe: SimpleNamespace) -> None:
    segments = [
        recipe.frames.Segment("B", 0.04, 0.08),
        recipe.frames.Segment("S", 0.08, 0.10),
        recipe.frames.Segment("AH", 0.15, 0.20),
    ]
    labels = recipe.frames.labels_of_frames(segments, 10, 2, PHONES)
    # Middles at 0.0125, 0.0325, 0.0525, ... seconds.
    expected = ["SIL", "SIL", "B", "B", "S", "SIL", "SIL", "AH", "AH", "AH"]
    assert [PHONES[label] for label in labels] == expected


def labelled(recipe: SimpleNamespace, lengths: Sequence[int], n_features: int = 20) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [
        recipe.frames.LabelledUtterance(
            Utterance(Path(f"{number}.flac"), 1.0, "THE BOX", str(number)),
            torch.randn(length, n_features, generator=generator),
            torch.randint(0, len(PHONES), (length,), generator=generator),
        )
        for number, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("model", ["mlp", "bilstm"])
def test_padding_changes_nothing(recipe: SimpleNamespace, model: str) -> None:
    config = load_toml(recipe.labeller.FrameLabelsConfig, RECIPE / "conf" / "tiny.toml")
    network = recipe.labeller.make_labeller(model, config, len(PHONES)).eval()
    training = recipe.labeller.FrameTraining(network)
    utterances = labelled(recipe, (7, 12, 3))
    together = recipe.labeller.FrameBatch.of(utterances)
    assert (together.weight, together.amount) == (22, 22)
    apart = [recipe.labeller.FrameBatch.of([utterance]) for utterance in utterances]
    with torch.no_grad():
        loss = float(training(together))
        assert loss == pytest.approx(sum(float(training(each)) for each in apart), rel=1e-5)
    task = recipe.labeller.FrameTask(network, config, utterances)
    with torch.no_grad():
        measured = task.evaluate(World())
    assert measured["loss"] == pytest.approx(loss / 22, rel=1e-5)
    right = sum(
        int((network(each.features, each.lengths)[0].argmax(-1) == each.labels[0]).sum())
        for each in apart
    )
    assert measured["error"] == pytest.approx(1 - right / 22)


def test_only_the_bilstm_has_context(recipe: SimpleNamespace) -> None:
    config = load_toml(recipe.labeller.FrameLabelsConfig, RECIPE / "conf" / "tiny.toml")
    (utterance,) = labelled(recipe, (9,))
    changed = utterance.features.clone()
    changed[4] += 1
    for model, n_changed in (("mlp", 1), ("bilstm", 9)):
        network = recipe.labeller.make_labeller(model, config, len(PHONES)).eval()
        before, after = (
            network(each[None], torch.tensor([9])) for each in (utterance.features, changed)
        )
        assert int((before != after).any(-1).sum()) == n_changed


def test_batches_hold_every_utterance_and_go_on_in_the_middle(recipe: SimpleNamespace) -> None:
    utterances = labelled(recipe, range(3, 11))
    batches = recipe.labeller.FrameBatches(utterances, 2, 0, World())
    assert len(batches) == 4
    whole = [batch.name for batch in batches.epoch(1, 0)]
    assert sorted(", ".join(whole).split(", ")) == [str(number) for number in range(8)]
    assert [batch.name for batch in batches.epoch(1, 2)] == whole[2:]
    assert [batch.name for batch in batches.epoch(2, 0)] != whole
    assert int(batches.largest().lengths.max()) == 10


def test_accuracies_and_runs(recipe: SimpleNamespace) -> None:
    references = torch.tensor([0, 0, 1, 1, 2, 2, 2, 0])
    found = torch.tensor([0, 1, 1, 1, 2, 0, 2, 0])
    assert recipe.score.accuracies(references, found) == {"all": 6 / 8, "speech": 4 / 5}
    assert recipe.score.runs([0, 0, 1, 2, 2]) == [(0, 0, 2), (1, 2, 3), (2, 3, 5)]


def test_some_utterances_of_each_speaker(recipe: SimpleNamespace) -> None:
    utterances = [
        Utterance(Path(f"{speaker}-{number}.flac"), 1.0, "A", speaker)
        for speaker in "cab"
        for number in (2, 1, 3)
    ]
    chosen = recipe.prepare.some_of_each(utterances, 2, 2)
    assert [u.id for u in chosen] == ["a-1", "a-2", "b-1", "b-2"]
    assert len(recipe.prepare.some_of_each(utterances, 5)) == 9


def test_what_cannot_be_done(script: Script, recipe: SimpleNamespace, tmp_path: Path) -> None:
    config = RECIPE / "conf" / "tiny.toml"
    (tmp_path / "manifests").mkdir()
    for name in ("manifests/train.jsonl", "alignments.jsonl"):
        (tmp_path / name).write_text("")
    letters = tmp_path / "letters"
    letters.mkdir()
    line = {"audio_filepath": "a.flac", **said(("A", 0.1, 0.2), (" ", 0.2, 0.3))}
    (letters / "alignments.jsonl").write_text(json.dumps(line) + "\n")
    for program, arguments, part in (
        ("train.py", [config, tmp_path], "holds no utterances"),
        ("train.py", [config, letters], "has no phones"),
        ("score.py", [tmp_path], "models"),
        ("score.py", [tmp_path, "mlp"], "train mlp first"),
    ):
        done = script(program, *arguments)
        assert done.returncode == 2
        assert part in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_recipe(asr_data: Path, tmp_path: Path) -> None:
    done = run(
        "bash", RECIPE / "run.sh", "--conf", "tiny", "--exp", tmp_path,
        "--data", asr_data / "LibriSpeech", "--dev", "dev-clean-20spk",
        "--test", "test-clean-10spk",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    names = [one["name"] for one in score["results"]]
    assert names[0].startswith("always: ")
    assert names[2:] == ["mlp", "bilstm"]
    assert all(0 <= one["speech"] <= 1 for one in score["results"])
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
