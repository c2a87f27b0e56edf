"""The LSTM for training: equal to torch's in float32, as exact as torch's in bfloat16."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from asr.nn.cells import CellWeights
from asr.nn.lstm_training import train_lstm, trains_faster
from asr.nn.recurrent import RecurrentLayer

ROOT = Path(__file__).parents[1]


def make(dtype: torch.dtype, shape: tuple[int, int, int, int]) -> list[Tensor]:
    """Return x (T, B, I), h, c and the four weights, all random and with gradients."""
    n_steps, n_sequences, n_inputs, n_units = shape
    torch.manual_seed(0)
    weights = [parameter.detach() * 2 for parameter in nn.LSTM(n_inputs, n_units).parameters()]
    x = torch.randn(n_steps, n_sequences, n_inputs) * 2
    h = torch.rand(n_sequences, n_units) - 0.5
    c = torch.randn(n_sequences, n_units)
    return [tensor.to(dtype).requires_grad_() for tensor in (x, h, c, *weights)]


def ours(tensors: list[Tensor]) -> list[Tensor]:
    x, h, c, *weights = tensors
    return with_gradients(*train_lstm(x, h, c, CellWeights(*weights)), tensors)


def torchs(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    tensors = [tensor.detach().to(dtype).requires_grad_() for tensor in tensors]
    x, h, c, *weights = tensors
    y, _, last = torch.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, True, False, False)
    return with_gradients(y, last[0], tensors)


def with_gradients(y: Tensor, last: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    slope = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view(y.shape).to(y.dtype)
    total = (y * slope).sum() + (last * last).sum()
    return [y, last, *torch.autograd.grad(total, tensors)]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (9, 3, 5, 7), (20, 12, 32, 64), (5, 33, 40, 19)])
def test_equals_torch(shape: tuple[int, int, int, int]) -> None:
    """Outputs, last cell and the gradients of all that goes in; sizes that fill no vector too."""
    tensors = make(torch.float32, shape)
    expected = torchs(tensors, torch.float64)
    for value, truth in zip(ours(tensors), expected, strict=True):
        torch.testing.assert_close(value.double(), truth, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("shape", [(9, 3, 5, 7), (40, 12, 32, 64)])
def test_bfloat16_is_as_exact_as_torchs(shape: tuple[int, int, int, int]) -> None:
    tensors = make(torch.bfloat16, shape)
    expected = torchs(tensors, torch.float64)
    theirs = torchs(tensors, torch.bfloat16)
    for value, other, truth in zip(ours(tensors), theirs, expected, strict=True):
        error = (value.double() - truth).norm() / truth.norm()
        assert error < 1.5 * (other.double() - truth).norm() / truth.norm() + 2e-3


def test_saturated_gates() -> None:
    """Gates far beyond what their functions tell apart give neither NaN nor a wrong gradient."""
    tensors = make(torch.float32, (6, 2, 3, 4))
    with torch.no_grad():
        tensors[0] *= 1e4
    for value, truth in zip(ours(tensors), torchs(tensors, torch.float64), strict=True):
        torch.testing.assert_close(value.double(), truth, atol=1e-5, rtol=1e-4)


def test_without_packed_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that has not the operators of its compiler gives the same."""
    tensors = make(torch.float32, (9, 3, 5, 7))
    packed = ours(tensors)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    for value, truth in zip(ours(tensors), packed, strict=True):
        torch.testing.assert_close(value, truth)


def test_a_layer_under_autocast_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded sequences in both directions: close to the layer in float32, zero in the padding."""
    torch.manual_seed(0)
    layer = RecurrentLayer(400, 256, bidirectional=True, layer_norm=True)
    x = torch.randn(4, 15, 400)
    lengths = torch.tensor([15, 3, 0, 11])
    slope = torch.linspace(-1, 1, 512)
    parameters = list(layer.parameters())
    calls = []

    def counting(*arguments: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(arguments)
        return train_lstm(*arguments)

    monkeypatch.setattr("asr.nn.recurrent.train_lstm", counting)
    exact = layer(x, lengths)
    exact_gradients = torch.autograd.grad((exact * slope).sum(), parameters)
    assert not calls
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, lengths)
    assert len(calls) == 2
    gradients = torch.autograd.grad((y * slope).sum(), parameters)
    assert (y.float() - exact).norm() < 0.02 * exact.norm()
    assert not y[1, 3:].any()
    for gradient, truth in zip(gradients, exact_gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - truth).norm() < 0.02 * truth.norm()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, lengths)
    assert len(calls) == 2


@pytest.mark.parametrize("bidirectional", [False, True])
def test_state_goes_in_and_out(bidirectional: bool) -> None:
    """From a state to a state, as truncated backpropagation does it; close to float32."""
    torch.manual_seed(0)
    layer = RecurrentLayer(400, 256, bidirectional=bidirectional)
    x = torch.randn(4, 9, 400)
    lengths = torch.full((4,), 9)
    state = tuple(torch.rand_like(part) for part in layer.initial_state(4))
    with torch.no_grad():
        exact, exact_state = layer.forward_with_state(x, lengths, state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert trains_faster(x.bfloat16(), layer.weights())
        y, after = layer.forward_with_state(x, lengths, state)
    for value, truth in zip((y, *after), (exact, *exact_state), strict=True):
        assert value.shape == truth.shape
        assert (value.float() - truth).norm() < 0.02 * truth.norm()


def test_where_it_is_used() -> None:
    """Only in training, in bfloat16 and for layers large enough to gain."""
    small, large = (RecurrentLayer(512, n_units).weights() for n_units in (64, 256))
    x = torch.zeros(2, 3, 512)
    assert trains_faster(x.bfloat16(), large)
    assert not trains_faster(x, large)
    assert not trains_faster(x.bfloat16(), small)
    with torch.no_grad():
        assert not trains_faster(x.bfloat16(), large)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_uncompiled(dtype: torch.dtype) -> None:
    """NUMBA_DISABLE_JIT, as debuggers set it, runs the loops as they stand."""
    program = (
        "import sys, torch; from tests.test_nn_lstm_training import make, ours;"
        f"torch.save([x.detach() for x in ours(make({dtype}, (3, 2, 2, 3)))], sys.argv[1])"
    )
    found = []
    for switch in ("0", "1"):
        with tempfile.NamedTemporaryFile() as file:
            environment = {**os.environ, "NUMBA_DISABLE_JIT": switch}
            subprocess.run(
                [sys.executable, "-c", program, file.name], env=environment, cwd=ROOT, check=True
            )
            found.append(torch.load(file.name))
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(
            compiled, plain, atol=1e-5, rtol=2e-2 if dtype.itemsize == 2 else 1e-4
        )
