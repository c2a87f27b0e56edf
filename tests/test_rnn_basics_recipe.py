"""recipes/rnn_basics: gradients by hand against autograd, gates by hand, the made-up tasks."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.recipe_scripts import imported

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "rnn_basics"
MODULES = ("basics_config", "counting", "gradients", "memory_tasks", "gates", "results")


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh", "sigmoid"])
def test_gradients_by_hand_are_those_of_autograd(recipe: SimpleNamespace, activation: str) -> None:
    counting = recipe.counting
    random = np.random.default_rng(0)
    weights = counting.Recurrence(
        random.normal(size=(3, 3)) / 2, random.normal(size=(2, 3)), random.normal(size=(3, 2))
    )
    inputs, targets = random.normal(size=(4, 7, 2)), random.normal(size=(4, 7, 2))
    states, outputs = counting.forward(weights, inputs, activation)
    gradient, state_gradients = counting.backward(
        weights, inputs, states, 2 * (outputs - targets), activation
    )

    W, U, V = (torch.from_numpy(a).requires_grad_() for a in weights.arrays())
    s = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    s_0, loss = s, torch.zeros((), dtype=torch.float64)
    f = {"identity": lambda a: a}.get(activation) or getattr(torch, activation)
    for t in range(7):
        s = f(s @ W + torch.from_numpy(inputs[:, t]) @ U)
        np.testing.assert_allclose(states[:, t + 1], s.detach().numpy(), rtol=1e-12, atol=1e-14)
        loss = loss + ((s @ V - torch.from_numpy(targets[:, t])) ** 2).sum()
    loss.backward()
    pairs = zip((*gradient.arrays(), state_gradients[:, 0]), (W, U, V, s_0), strict=True)
    for ours, theirs in pairs:
        assert theirs.grad is not None
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_counts_length_100_exactly_after_length_20(recipe: SimpleNamespace, seed: int) -> None:
    counting = recipe.counting
    weights, history = counting.train(recipe.basics_config.CountingConfig(), seed)
    assert history[-1]["loss"] < 1e-9
    inputs, counts = counting.make_sequences(500, 100, np.random.default_rng(seed))
    _, outputs = counting.forward(weights, inputs, "identity")
    assert (np.rint(outputs) == counts).all()


def test_gradient_over_time_is_the_power_of_the_matrix(recipe: SimpleNamespace) -> None:
    bits = torch.ones(2, 30, 1)
    for radius in (0.5, 1.0, 1.2):
        model = recipe.gradients.Counter("identity", 6, radius, seed=0)
        norms = recipe.gradients.gradient_norms(model, bits)
        expected = [radius ** (30 - t) for t in range(31)]
        assert norms == pytest.approx(expected, rel=1e-4)
    sigmoid = recipe.gradients.Counter("sigmoid", 6, 1.2, seed=0)
    assert recipe.gradients.gradient_norms(sigmoid, bits)[0] < 1e-10  # f' is at most 1/4


def test_clipping_saves_what_explodes(recipe: SimpleNamespace) -> None:
    config = recipe.basics_config.GradientConfig(task_length=60, steps=40)
    make = recipe.gradients.Counter
    wild = recipe.gradients.train(config, make("relu", 16, 1.5, 0), clip=False, seed=0)
    tame = recipe.gradients.train(config, make("relu", 16, 1.5, 0), clip=True, seed=0)
    assert not math.isfinite(wild["gradient"][-1])
    assert len(tame["loss"]) == 40
    assert tame["loss"][-1] < tame["loss"][0]


def test_lstm_set_by_hand_keeps_the_value(recipe: SimpleNamespace) -> None:
    gates = recipe.gates
    inputs = torch.zeros(2000, 3, dtype=torch.float64)
    inputs[:, 0] = torch.linspace(-9, 9, 2000, dtype=torch.float64)
    inputs[3, :2] = torch.tensor([4.2, 1.0])
    inputs[1500, :2] = torch.tensor([-1.0, 1.0])
    inputs[[2, 4, 1499, 1999], 2] = 1
    trace = gates.run(gates.keeper().weights, inputs)
    output = trace.output[:, 0] / gates.SCALE
    assert output[[2, 4, 1499, 1999]].tolist() == pytest.approx([0, 4.2, 4.2, -1.0], abs=1e-4)
    assert output[4] == output[1499]
    unread = torch.ones(2000, dtype=torch.bool)
    unread[[2, 4, 1499, 1999]] = False
    assert output[unread].abs().max() < 1e-12


@pytest.mark.parametrize("delay", [2, 10, 100])
def test_adding_sequences_have_two_marks_and_their_sum(recipe: SimpleNamespace, delay: int) -> None:
    batch = recipe.memory_tasks.adding_batch(50, delay, np.random.default_rng(0))
    numbers, marks = batch.inputs.unbind(-1)
    assert batch.inputs.shape == (50, delay, 2)
    assert (marks.sum(1) == 2).all()
    assert torch.allclose((numbers * marks).sum(1), batch.targets)
    assert marks[:, max(2, delay // 2) :].sum() == 0


def test_copy_sequences_ask_for_what_stood_first(recipe: SimpleNamespace) -> None:
    batch = recipe.memory_tasks.copy_batch(6, 7, 3, np.random.default_rng(0))
    tokens = batch.inputs.argmax(-1)
    assert batch.inputs.shape == (6, 13, 10)
    assert (tokens[:, :3] == batch.targets).all()
    assert (tokens[:, 3:10] == 8).all()
    assert (tokens[:, 10:] == 9).all()


def test_chrono_biases_span_the_delay(recipe: SimpleNamespace) -> None:
    config = recipe.basics_config.MemoryConfig(hidden_size=200)
    model = recipe.memory_tasks.make_model(config, "adding", "lstm-chrono", 500, seed=0)
    (weights,) = model.layer.weights()
    i, f, _, _ = weights.bias_ih.detach().chunk(4)
    assert torch.equal(i, -f)
    assert 0 <= float(f.min()) < 3
    assert 6 < float(f.max()) <= math.log(499)


def test_table_says_what_was_not_solved(recipe: SimpleNamespace) -> None:
    run = {"task": "copy", "delay": 10, "steps": 300, "figure": 0.5, "seconds": 2.0}
    rows = [{**run, "cell": "gru", "solved_at": 250}, {**run, "cell": "rnn", "solved_at": None}]
    text = recipe.results.table({"memory": rows, "machine": "a machine"})
    assert text.endswith("| copy | 10 | not within 300 (0.500) | **250** (2 s) |")


def run(*options: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHON": sys.executable}
    command = ["bash", str(RECIPE / "run.sh"), *map(str, options)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=290, check=False
    )


@pytest.mark.recipe
def test_tiny_runs_all_lessons(tmp_path: Path) -> None:
    done = run("--conf", "tiny", "--exp", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["counting"]["exact"] == 1.0
    assert score["gates"]["kept"] == pytest.approx(4.2, abs=1e-4)
    solved = {run["cell"]: run["solved_at"] for run in score["memory"]}
    assert solved["lstm"] is not None
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        "counting.png",
        "gates_by_hand.png",
        "gates_learned.png",
        "gradients_over_time.png",
        "gradients_over_updates.png",
    }


@pytest.mark.recipe
def test_unknown_lesson_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run("--conf", "tiny", "--exp", tmp_path, "--lessons", "swimming")
    assert done.returncode == 2
    assert "lesson 'swimming': use counting" in done.stderr
