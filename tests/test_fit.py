"""The training loop: exact resume, ranks, accumulation, guards, schedules."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from asr.checkpoint import atomic_folder, read_tensors, restore_replaced, write_json
from asr.errors import CheckpointError, TrainingError
from asr.fit import FitSettings, fit, learning_rate_at
from asr.training_log import Evaluation, read_metrics
from asr.world import select_device
from tests.toy_task import ToyBatch, ToyBatches, ToyModule, ToyTask

ROOT = Path(__file__).parents[1]


def command(folder: Path, **options: object) -> list[str]:
    settings = [f"{name}={json.dumps(value)}" for name, value in options.items()]
    return [sys.executable, "-m", "tests.toy_task", str(folder), *settings]


def final(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / "final.safetensors")


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def toy(folder: Path, module: nn.Module | None = None, **settings: object) -> ToyTask:
    torch.manual_seed(5)
    task = ToyTask(module or ToyModule())
    fit(task, ToyBatches(), FitSettings(**settings), folder)  # type: ignore[arg-type]
    return task


def test_killed_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    """SIGKILL in the middle of an epoch and in the middle of a save; bit for bit equal."""
    options = {
        "epochs": 4, "checkpoint_every": 5, "ema_decay": 0.9, "accumulate": 2,
        "learning_rate": 0.01, "schedule": "cosine", "warmup_steps": 3, "evaluate_every": 7,
        "ballast": 2_000_000,
    }  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(whole, **options), cwd=ROOT, check=True)

    checkpoints = cut / "checkpoints"
    moments = (
        lambda: (checkpoints / "step-00000005").exists(),
        lambda: any(checkpoints.glob(".step-*10.writing")),
        lambda: (checkpoints / "step-00000015").exists(),
    )
    for moment in moments:
        process = subprocess.Popen(command(cut, pause=0.02, **options), cwd=ROOT)
        while not moment():
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (cut / "final.safetensors").exists()
    subprocess.run(command(cut, **options), cwd=ROOT, check=True)

    assert_equal(final(whole), final(cut))
    assert_equal(
        read_tensors(whole / "best/model.safetensors"), read_tensors(cut / "best/model.safetensors")
    )
    evaluations = [
        [line for line in read_metrics(folder / "metrics.jsonl") if line["kind"] == "dev"]
        for folder in (whole, cut)
    ]
    assert len(evaluations[0]) == 4
    assert evaluations[0] == evaluations[1]


def test_interrupt_saves_and_resumes(tmp_path: Path) -> None:
    options = {"epochs": 2, "checkpoint_every": 1000}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(whole, **options), cwd=ROOT, check=True)
    process = subprocess.Popen(
        command(cut, pause=0.1, **options), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    while not (cut / "best").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() != 0
    (checkpoint,) = (cut / "checkpoints").glob("step-*")
    assert checkpoint.name > "step-00000011"
    subprocess.run(command(cut, **options), cwd=ROOT, check=True)
    assert_equal(final(whole), final(cut))


def test_two_processes_equal_one_with_the_same_global_batch(tmp_path: Path) -> None:
    options = {"epochs": 4, "dropout": 0.0, "learning_rate": 0.01}
    subprocess.run(command(tmp_path / "one", accumulate=2, **options), cwd=ROOT, check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            command(tmp_path / "two", **options),
            cwd=ROOT,
            env=os.environ
            | {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    one, two = final(tmp_path / "one"), final(tmp_path / "two")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-5)
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / "metrics.jsonl")]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == 5
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_accumulation_weighs_terms_not_batches(tmp_path: Path) -> None:
    """One update over two unequal batches has the gradient of their union."""
    torch.manual_seed(0)
    module = ToyModule(dropout=0.0)
    batches = [ToyBatches().batch(0, n) for n in (0, 4)]
    joined = ToyBatch(
        torch.cat([b.bits for b in batches]), torch.cat([b.label for b in batches]), "joined"
    )
    (module(joined) / joined.weight).backward()
    expected = {name: p.grad.clone() for name, p in module.named_parameters()}  # type: ignore[union-attr]
    seen: dict[str, torch.Tensor] = {}
    for name, parameter in module.named_parameters():
        parameter.grad = None
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=name: seen.__setitem__(name, p.grad.clone())
        )

    class Two(ToyBatches):
        def __len__(self) -> int:
            return 2

        def epoch(self, epoch: int, start: int):  # type: ignore[no-untyped-def]
            yield from batches[start:]

    fit(ToyTask(module), Two(), FitSettings(accumulate=2, clip_norm=1e9), tmp_path)
    for name, value in expected.items():
        torch.testing.assert_close(seen[name], value)


def test_nan_guard_names_the_batch_and_keeps_the_weights(tmp_path: Path) -> None:
    class Broken(ToyModule):
        def forward(self, batch: ToyBatch) -> torch.Tensor:
            loss = super().forward(batch)
            return loss * math.nan if batch.name == "batch 0/7" else loss

    task = ToyTask(Broken())
    with pytest.raises(TrainingError, match="batch 0/7") as raised:
        fit(task, ToyBatches(), FitSettings(), tmp_path)
    assert "\n" not in str(raised.value)
    assert all(torch.isfinite(p).all() for p in task.module.parameters())


def test_learns_the_task(tmp_path: Path) -> None:
    toy(tmp_path, ToyModule(dropout=0.0), epochs=40, learning_rate=0.02, schedule="cosine")
    losses = [x["loss"] for x in read_metrics(tmp_path / "metrics.jsonl") if x["kind"] == "dev"]
    assert losses[-1] < 0.1 < losses[0]


def test_keeps_last_checkpoints_and_the_best_model(tmp_path: Path) -> None:
    torch.manual_seed(5)
    task = ToyTask(ToyModule())
    task.scores = [0.9, 0.5, 0.7, 0.8]
    settings = FitSettings(epochs=4, keep=2, checkpoint_every=10)
    result = fit(task, ToyBatches(), settings, tmp_path)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        "step-00000040",
        "step-00000048",
    ]
    assert result.best == (0.5,)
    assert json.loads((tmp_path / "best/metrics.json").read_text())["step"] == 24


def test_stops_early_and_stays_stopped(tmp_path: Path) -> None:
    torch.manual_seed(5)
    task = ToyTask(ToyModule())
    task.scores = [0.9, 0.5, 0.7, 0.6, 0.1]
    settings = FitSettings(epochs=10, patience=2)
    result = fit(task, ToyBatches(), settings, tmp_path)
    assert (result.step, result.best_step) == (48, 24)
    assert "no gain" in result.reason
    assert fit(task, ToyBatches(), settings, tmp_path).step == 48


def test_a_tie_is_decided_by_the_next_figure(tmp_path: Path) -> None:
    class Tied(ToyTask):
        def evaluate(self, world: object) -> dict[str, float]:
            return {"wer": 1.0, "loss": self.scores.pop(0)}

    task = Tied(ToyModule())
    task.scores = [3.0, 2.0, 2.5]
    settings = FitSettings(epochs=3, minimise=("wer", "loss"))
    assert fit(task, ToyBatches(), settings, tmp_path).best == (1.0, 2.0)


def test_averaged_weights_are_evaluated_and_saved(tmp_path: Path) -> None:
    task = toy(tmp_path, epochs=2, ema_decay=0.5, learning_rate=0.05)
    saved = read_tensors(tmp_path / "best/model.safetensors")
    assert not torch.equal(saved["output.weight"], task.module.state_dict()["output.weight"])


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = ToyModule().state_dict()
    after = toy(tmp_path, frozen=("gru.",)).module.state_dict()
    assert torch.equal(before["gru.weight_ih_l0"], after["gru.weight_ih_l0"])
    assert not torch.equal(before["output.weight"], after["output.weight"])
    with pytest.raises(TrainingError, match="nothing to train"):
        toy(tmp_path / "x", frozen=("gru.", "output.", "ballast"))


class Tied(ToyModule):
    """One matrix under two names, as a tied output has it."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Module()
        self.same.weight = self.output.weight


def test_average_of_tied_parameters_is_that_of_one(tmp_path: Path) -> None:
    modules = []
    for name, kind in (("plain", ToyModule), ("tied", Tied)):
        torch.manual_seed(5)
        task = toy(tmp_path / name, kind(), epochs=2, ema_decay=0.5, evaluate_every=5)
        modules.append((task.module, read_tensors(tmp_path / name / "best/model.safetensors")))
    (plain, best), (tied, best_tied) = modules
    assert torch.equal(plain.output.weight, tied.output.weight)
    assert torch.equal(best["output.weight"], best_tied["same.weight"])


def test_rate_factors_scale_the_steps_of_named_parameters(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = {name: value.clone() for name, value in ToyModule().named_parameters()}
    factors = (("gru.weight_ih", 0.1), ("gru.", 0.5))
    steps = []
    for folder, given in (("plain", ()), ("factors", factors)):
        torch.manual_seed(5)
        after = toy(tmp_path / folder, ToyModule(), max_steps=1, rate_factors=given).module
        steps.append({name: value - before[name] for name, value in after.named_parameters()})
    # The first step of Adam is the learning rate times the sign of the gradient, nearly.
    for name, factor in (("gru.weight_ih_l0", 0.1), ("gru.bias_hh_l0", 0.5), ("output.bias", 1)):
        torch.testing.assert_close(steps[1][name], factor * steps[0][name], rtol=1e-3, atol=1e-8)


def test_bfloat16_trains(tmp_path: Path) -> None:
    toy(tmp_path, epochs=2, precision="bfloat16")
    assert read_metrics(tmp_path / "metrics.jsonl")[-1]["loss"] < 1.0


def test_refuses_to_resume_what_does_not_fit(tmp_path: Path) -> None:
    toy(tmp_path)
    with pytest.raises(CheckpointError, match="does not fit"):
        toy(tmp_path, ToyModule(ballast=3), epochs=2)
    with pytest.raises(CheckpointError, match="other training data"):
        fit(ToyTask(ToyModule()), ToyBatches(8), FitSettings(epochs=2), tmp_path)


def test_reports_progress(tmp_path: Path) -> None:
    class Recorder:
        def __init__(self) -> None:
            self.steps: list[int] = []
            self.evaluations: list[Evaluation] = []

        def progress(self, step: int, n_steps: int, values: object) -> None:
            assert n_steps == 24
            assert values["per_second"] > 0  # type: ignore[index]
            assert 0 <= values["waiting"] <= 1  # type: ignore[index]
            self.steps.append(step)

        def evaluation(self, evaluation: Evaluation) -> None:
            self.evaluations.append(evaluation)

    recorder = Recorder()
    fit(ToyTask(ToyModule()), ToyBatches(), FitSettings(epochs=2), tmp_path, reporter=recorder)
    assert recorder.steps == list(range(1, 25))
    assert [e.epoch for e in recorder.evaluations] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("schedule", "at_60", "at_99"),
    [
        ("constant", 1.0, 1.0),
        ("linear", 0.8, 0.02),
        ("cosine", (1 + math.cos(math.pi * 0.2)) / 2, (1 + math.cos(math.pi * 0.98)) / 2),
        ("inverse_sqrt", math.sqrt(50 / 60), math.sqrt(50 / 99)),
    ],
)
def test_learning_rate(schedule: str, at_60: float, at_99: float) -> None:
    settings = FitSettings(learning_rate=1.0, warmup_steps=10, schedule=schedule, decay_start=0.5)
    rates = [learning_rate_at(step, 100, settings) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[49] == 1.0
    assert rates[60] == pytest.approx(at_60)
    assert rates[99] == pytest.approx(max(0.01, at_99))


def test_unknown_device() -> None:
    with pytest.raises(TrainingError, match="--device cpu"):
        select_device("cuda:77")


def test_atomic_folder_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with atomic_folder(folder) as writing:
        write_json(writing / "a.json", 1)
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as writing:
        write_json(writing / "b.json", 1 // 0)
    assert [p.name for p in folder.iterdir()] == ["a.json"]
    with atomic_folder(folder) as writing:
        write_json(writing / "c.json", 3)
    assert [p.name for p in folder.iterdir()] == ["c.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    folder.rename(tmp_path / ".model.old")
    restore_replaced(folder)
    assert folder.is_dir()
