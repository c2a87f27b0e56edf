"""recipes/dnc: the addressing of the memory by hand, the tasks, a tiny training."""

import itertools
import json
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
RECIPE = ROOT / "recipes" / "dnc"
MODULES = ("dnc_steps", "dnc_cell", "dnc_tasks", "dnc_train")


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, MODULES) as modules:
        yield modules


def test_content_finds_the_slot_that_looks_like_the_key(recipe: SimpleNamespace) -> None:
    memory = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]])
    keys = torch.tensor([[[0.0, 1.0], [5.0, 0.0]]])
    weights = recipe.dnc_cell.content_weights(memory, keys, torch.tensor([[3.0, 1.0]]))
    e = np.exp
    expected = np.array(
        [
            [1 / (e(3) + 2), e(3) / (e(3) + 2), 1 / (e(3) + 2)],
            [e(1) / (e(1) + 1 + e(-1)), 1 / (e(1) + 1 + e(-1)), e(-1) / (e(1) + 1 + e(-1))],
        ]
    )
    np.testing.assert_allclose(weights[0].numpy(), expected, atol=1e-5)


def test_allocation_takes_the_freest_slot_first(recipe: SimpleNamespace) -> None:
    usage = torch.tensor([[0.9, 0.0, 1.0, 0.5], [1.0, 0.8, 0.25, 1.0], [1.0, 1.0, 1.0, 1.0]])
    expected = [[0, 1, 0, 0], [0, 0.25 * 0.2, 0.75, 0], [0, 0, 0, 0]]
    weights = recipe.dnc_cell.allocate(usage)
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-6)


def test_writing_erases_and_adds(recipe: SimpleNamespace) -> None:
    memory = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    written = recipe.dnc_cell.write_memory(
        memory,
        torch.tensor([[1.0, 0.5]]),
        torch.tensor([[1.0, 0.0]]),
        torch.tensor([[10.0, 20.0]]),
    )
    assert written.tolist() == [[[10.0, 22.0], [6.5, 14.0]]]


def test_links_lead_from_slot_to_slot_in_the_order_of_writing(recipe: SimpleNamespace) -> None:
    order = [2, 0, 3, 1]
    links, precedence = torch.zeros(1, 4, 4), torch.zeros(1, 4)
    for slot in order:
        links, precedence = recipe.dnc_cell.link(links, precedence, torch.eye(4)[slot][None])
    assert precedence.tolist() == [torch.eye(4)[order[-1]].tolist()]
    for before, after in itertools.pairwise(order):
        here, there = torch.eye(4)[before][None, None], torch.eye(4)[after][None, None]
        assert torch.equal(here @ links.transpose(1, 2), there)  # forwards
        assert torch.equal(there @ links, here)  # backwards
    # Writing a slot again takes it out of its old place.
    links, _ = recipe.dnc_cell.link(links, precedence, torch.eye(4)[0][None])
    assert links[0, 0].tolist() == [0, 1, 0, 0]
    assert links[0, :, 0].tolist() == [0, 0, 0, 0]


def test_weightings_stay_weightings_and_the_gradient_is_right(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    cell = recipe.dnc_cell.DncCell(3, 5, n_slots=4, word_size=3, n_heads=2).double()
    cell.compiled = False
    inputs = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)

    def last_reads(x: torch.Tensor) -> torch.Tensor:
        state = cell.initial_state(2)
        for step in x:
            state = cell(step, state)
            for weights in (state.write_weights, state.read_weights, state.precedence):
                assert (weights >= 0).all()
                assert (weights.sum(-1) <= 1 + 1e-9).all()
            assert (state.usage >= 0).all()
            assert (state.usage <= 1 + 1e-9).all()
            assert (state.links.sum(1) <= 1 + 1e-9).all()
            assert (state.links.sum(2) <= 1 + 1e-9).all()
        return state.reads

    assert torch.autograd.gradcheck(last_reads, (inputs,))


def test_the_compiled_step_is_the_readable_one(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    cell = recipe.dnc_cell.DncCell(3, 6, n_slots=5, word_size=4, n_heads=2)
    inputs = torch.randn(7, 3, 3)
    weights = [torch.randn(7, *shape) for shape in ((3, 5, 4), (3, 5), (3, 5, 5))]
    found = []
    for compiled in (False, True):
        cell.compiled = compiled
        cell.zero_grad()
        state, states = cell.initial_state(3), []
        for x in inputs:
            state = cell(x, state)
            states.append(state)
        values = [
            torch.stack([getattr(state, name) for state in states])
            for name in ("memory", "usage", "links", "precedence", "read_weights", "reads")
        ]
        # A loss in which all parts of all states have a share.
        loss = sum((v * w).sum() for v, w in zip(values, weights, strict=False))
        (loss + values[3].square().sum() + values[5].square().sum()).backward()
        found.append([*values, *(parameter.grad.clone() for parameter in cell.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_a_sequence_gives_the_same_alone_and_in_a_batch(recipe: SimpleNamespace) -> None:
    torch.manual_seed(0)
    network = recipe.dnc_cell.Dnc(6, 4, 8, n_slots=5, word_size=4, n_heads=2)
    tokens = torch.randint(6, (3, 9))
    together = network(tokens)
    for row in range(3):
        assert torch.allclose(network(tokens[row : row + 1])[0], together[row], atol=1e-5)


@pytest.mark.parametrize("task", ["copy", "sort", "recall"])
def test_answers_follow_from_the_inputs(recipe: SimpleNamespace, task: str) -> None:
    size = recipe.dnc_tasks.TaskSize(n_symbols=9, longest=5)
    batch = recipe.dnc_tasks.make_batch(task, size, 5, 40, np.random.default_rng(0))
    asked = batch.targets != recipe.dnc_tasks.IGNORED
    for tokens, targets, where in zip(batch.tokens, batch.targets, asked, strict=True):
        answers, inputs = targets[where].tolist(), tokens.tolist()
        if task == "recall":
            keys, values = inputs[0:10:2], inputs[1:10:2]
            assert len(set(keys)) == 5
            assert sorted(inputs[11:]) == sorted(keys)
            assert answers == [values[keys.index(key)] for key in inputs[11:]]
        else:
            expected = sorted(inputs[:5]) if task == "sort" else inputs[:5]
            assert answers == expected
            assert inputs[5:] == [9] + [10] * 5
    assert batch.weight == float(asked.sum())


class Remembered(torch.nn.Module):
    """Is as sure of the right answers of a batch as it is told to be."""

    def __init__(self, targets: torch.Tensor) -> None:
        super().__init__()
        self.targets, self.sureness = targets, 0.0

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        answers = torch.nn.functional.one_hot(self.targets.clamp_min(0), 9)
        return answers.float() * self.sureness


def test_sequences_grow_when_the_longest_are_learned(recipe: SimpleNamespace) -> None:
    size = recipe.dnc_tasks.TaskSize(n_symbols=9, longest=6)
    chance = np.random.default_rng(0)
    batch, shorter = (
        recipe.dnc_tasks.make_batch("copy", size, length, 4, chance) for length in (5, 2)
    )
    network = Remembered(batch.targets)
    loss = recipe.dnc_train.SequenceLoss(network, 5, 6)
    batches = recipe.dnc_tasks.MemoryBatches(
        "copy", size, lambda: int(loss.longest), batch_size=2, per_epoch=200, seed=0
    )
    lengths = [one.length for one in batches.epoch(0, 0)]
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert lengths.count(5) > 100
    for _ in range(20):
        assert float(loss(batch)) == pytest.approx(20 * np.log(9), rel=1e-5)
    assert loss.longest == 5
    network.sureness, network.targets = 20.0, shorter.targets
    for _ in range(20):
        loss(shorter)
    assert loss.longest == 5
    network.targets = batch.targets
    for _ in range(20):
        loss(batch)
    assert loss.longest == 6
    again = recipe.dnc_train.SequenceLoss(network, 5, 6)
    again.load_state_dict(loss.state_dict())
    assert again.longest == 6


@pytest.mark.recipe
def test_tiny_learns_more_than_chance(tmp_path: Path) -> None:
    command = ["bash", str(RECIPE / "run.sh"), "--conf", "tiny", "--exp", str(tmp_path)]
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=290, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "score.json").read_text())["runs"]
    assert run["error"] < 0.6  # chance is 0.75
    assert (tmp_path / "copy.png").stat().st_size > 0
