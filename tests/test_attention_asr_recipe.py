"""recipes/attention_asr: the joint loss, listener and speller as a folder, decoding; a tiny run."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from asr.data import Batch
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from asr.toml_config import parse_toml
from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "attention_asr"
SMALL = """
[features]
n_mels = 16
[model]
subsampling_channels = 4
input_size = 8
hidden_size = 8
n_layers = 1
[speller]
embedding_size = 6
hidden_size = 10
attention_size = 7
ctc_weight = 0.25
"""


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ("las", "decode", "train", "score")) as modules:
        yield modules


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


@pytest.fixture
def las(recipe: SimpleNamespace) -> Any:
    torch.manual_seed(0)
    config = parse_toml(recipe.las.LasConfig, SMALL, source="test")
    recognizer = Recognizer(config.listener(), CharTokenizer())
    made = recipe.las.ListenAttendSpell.around(recognizer, config.speller)
    recognizer.eval()
    made.decoder.eval()
    return made


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(2, 60, 16, generator=generator)
    features[1, 40:] = 0
    return Batch(
        features=features,
        feature_lengths=torch.tensor([60, 40]),
        tokens=torch.tensor([[4, 9, 9, 2], [7, 3, 0, 0]]),
        token_lengths=torch.tensor([4, 2]),
        ids=("a", "b"),
        seconds=1.0,
    )


@torch.no_grad()
def test_the_loss_weighs_ctc_and_attention(recipe: SimpleNamespace, las: Any) -> None:
    given = batch()
    found = float(recipe.las.JointTraining(las, None)(given))
    expected = 0.0
    for row, (n_frames, n_tokens) in enumerate(((60, 4), (40, 2))):
        tokens = given.tokens[row, :n_tokens]
        features = given.features[row : row + 1, :n_frames]
        memory = las.listen(
            las.recognizer.normalizer(features, torch.tensor([n_frames])), torch.tensor([n_frames])
        )
        ctc = F.ctc_loss(
            memory.log_probs.transpose(0, 1), tokens[None], memory.lengths,
            torch.tensor([n_tokens]), reduction="sum",
        )  # fmt: skip
        state, attention, before = memory.state, 0.0, torch.tensor([0])
        for token in [*tokens, torch.tensor(0)]:
            log_probs, state = las.decoder.step(state, before)
            attention -= float(log_probs[0, token])
            before = token[None]
        expected += 0.25 * float(ctc) + 0.75 * attention
    assert found == pytest.approx(expected, rel=1e-4)


def test_attention_alone_leaves_the_ctc_output_as_it_is(recipe: SimpleNamespace, las: Any) -> None:
    alone = recipe.las.ListenAttendSpell(
        las.recognizer, las.decoder, las.config.model_copy(update={"ctc_weight": 0.0})
    )
    recipe.las.JointTraining(alone, None)(batch()).backward()
    assert las.recognizer.network.output.weight.grad is None
    assert las.decoder.output.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in las.recognizer.network.stack.parameters())


def test_a_folder_gives_the_same_model(recipe: SimpleNamespace, las: Any, tmp_path: Path) -> None:
    las.save(tmp_path, {"wer": 1.0})
    # It is a recogniser, too.
    assert Recognizer.load(tmp_path).tokenizer.n_tokens == las.recognizer.tokenizer.n_tokens
    loaded = recipe.las.ListenAttendSpell.load(tmp_path)
    assert loaded.config == las.config
    features = [*batch().features]
    features[1] = features[1][:40]
    for weight in (0.0, 0.25, 1.0):
        texts = []
        for model in (las, loaded):
            memory = model.hear(features)
            texts.append(model.spell(memory, width=3, ctc_weight=weight))
            for row, length in zip(
                model.align(memory, texts[-1]), memory.lengths.tolist(), strict=True
            ):
                assert row.shape[1] == length
                torch.testing.assert_close(row.sum(1), torch.ones(len(row)))
        assert texts[0] == texts[1]


def test_each_utterance_is_found_as_if_it_were_alone(las: Any) -> None:
    features = [*batch().features]
    features[1] = features[1][:40]
    together = las.spell(las.hear(features), width=4, ctc_weight=0.3)
    alone = [las.spell(las.hear([each]), width=4, ctc_weight=0.3)[0] for each in features]
    assert together == alone


def test_attention_that_goes_forward(recipe: SimpleNamespace) -> None:
    is_monotonic = recipe.decode.is_monotonic
    assert is_monotonic(torch.eye(4)[[0, 1, 3]])
    assert not is_monotonic(torch.eye(4)[[0, 2, 1]])
    assert not is_monotonic(torch.eye(4)[[0, 1, 1]])


def test_what_cannot_be_done(
    script: Script, recipe: SimpleNamespace, las: Any, tiny_model: Path, tmp_path: Path
) -> None:
    exp = tmp_path / "exp"
    exp.mkdir()
    (exp / "speller.toml").write_text("hidden_size = 3\n")
    model, damaged = tmp_path / "model", tmp_path / "damaged"
    for folder in (model, damaged):
        folder.mkdir()
        las.save(folder, {"wer": 1.0})
    (damaged / "speller.toml").write_text("hidden_size = 3\n")
    for program, arguments, part in (
        ("train.py", [RECIPE / "conf" / "tiny.toml", exp], "another [speller]"),
        ("train.py", [RECIPE / "conf" / "tiny.toml", exp, "--ctc-only"], "data.train"),
        ("decode.py", [tiny_model, "x.jsonl", tmp_path / "o.jsonl"], "without a speller"),
        ("decode.py", [damaged, "x.jsonl", tmp_path / "o.jsonl"], "do not belong together"),
        ("decode.py", [model, "x.jsonl", tmp_path / "o.jsonl", "--also", "2"], "--also 2"),
        ("score.py", [exp], "nothing to score"),
    ):
        done = script(program, *arguments)
        assert done.returncode == 2, program
        assert part in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_recipe(asr_data: Path, tmp_path: Path) -> None:
    done = run(
        "bash", RECIPE / "run.sh", "--conf", "tiny", "--exp", tmp_path,
        "--data", asr_data / "fsdd",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert list(score["decoded"]) == ["ctc", "joint", "joint-1", "joint-0", "joint-0.7"]
    # The joint model's listener began as that of CTC: the same statistics of the features.
    ctc, joint = (Recognizer.load(tmp_path / model) for model in ("ctc", "joint"))
    torch.testing.assert_close(joint.normalizer.state_dict(), ctc.normalizer.state_dict())
    assert score["wer"] == score["decoded"]["joint-0.7"]["wer"]
    assert score["decoded"]["joint"]["n_utterances"] == 40
    assert (tmp_path / "joint.png").read_bytes().startswith(b"\x89PNG")
