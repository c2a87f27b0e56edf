"""The optimizers of torch without its compiler: the same updates, and it is not loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from asr.optimizers import eager

ROOT = Path(__file__).parents[1]


def updated(kind: type[Optimizer], n_steps: int = 6) -> tuple[Tensor, ...]:
    """Parameters after some updates, with the state written and read half-way."""
    torch.manual_seed(3)
    inputs, targets = torch.randn(8, 4), torch.randn(8, 3)
    network = torch.nn.Linear(4, 3)
    groups = [
        {"params": [network.weight], "weight_decay": 0.1},
        {"params": [network.bias], "lr": 0.03},
    ]
    optimizer = kind(groups, lr=0.01)  # type: ignore[call-arg]

    def loss() -> float:
        optimizer.zero_grad(set_to_none=True)
        value = (network(inputs) - targets).square().mean()
        value.backward()
        return float(value.detach())

    for step in range(n_steps):
        assert optimizer.step(loss)
        if step == n_steps // 2:
            state = optimizer.state_dict()
            optimizer = kind(groups, lr=1.0)  # type: ignore[call-arg]
            optimizer.load_state_dict(state)
    return tuple(parameter.detach() for parameter in network.parameters())


@pytest.mark.parametrize(
    "kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop]
)
def test_the_updates_are_those_of_torch(kind: type[Optimizer]) -> None:
    for own, expected in zip(updated(eager(kind)), updated(kind), strict=True):
        assert torch.equal(own, expected)


def test_training_does_not_load_the_compiler(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from asr.fit import FitSettings, fit
from tests.toy_task import ToyBatches, ToyModule, ToyTask
fit(ToyTask(ToyModule()), ToyBatches(), FitSettings(max_steps=3), Path({str(tmp_path)!r}))
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "torch" in done.stdout.split()
    assert "torch._dynamo" not in done.stdout.split()
