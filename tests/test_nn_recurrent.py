"""Recurrent layers and stacks: engines, torch, padding, steps and whole sequences agree."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.errors import ConfigError
from asr.nn.cells import CELLS, State
from asr.nn.recurrent import RecurrentLayer, RecurrentStack

TORCH_MODULES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
assert_exact = partial(torch.testing.assert_close, atol=1e-10, rtol=1e-10)
ADDITIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "projection": {"projection_size": 4},
    "layer_norm": {"layer_norm": True},
    "both": {"projection_size": 4, "layer_norm": True},
}

every_cell = pytest.mark.parametrize("cell", CELLS)
every_direction = pytest.mark.parametrize("bidirectional", [False, True])
every_addition = pytest.mark.parametrize("addition", ADDITIONS)


def make(n_layers: int = 2, *, seed: int = 0, **options: Any) -> RecurrentStack:
    """Return a stack (I = 3, H = 5) all of whose weights, biases too, are random."""
    torch.manual_seed(seed)
    stack = RecurrentStack(3, 5, n_layers, **options)
    for parameter in stack.parameters():
        nn.init.normal_(parameter, std=0.5)
    return stack


def random_state(stack: RecurrentStack, n_sequences: int) -> State:
    return tuple(torch.randn_like(part) for part in stack.initial_state(n_sequences))


def run_with_gradients(
    stack: RecurrentStack, x: Tensor, lengths: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the output, and the gradients by parameter name and of "x"."""
    x = x.clone().requires_grad_()
    y = stack(x, lengths)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    names, parameters = zip(*stack.named_parameters(), strict=True)
    gradients = torch.autograd.grad((y * weights).sum(), [x, *parameters])
    return y, dict(zip(("x", *names), gradients, strict=True))


@every_cell
@every_direction
@every_addition
@pytest.mark.parametrize("lengths", [[7, 7, 7, 7], [3, 7, 1, 0]])
def test_engines_agree(cell: str, bidirectional: bool, addition: str, lengths: list[int]) -> None:
    options = {"cell": cell, "bidirectional": bidirectional, **ADDITIONS[addition]}
    fast = make(**options).double()
    reference = make(**options, seed=1, engine="reference").double()
    reference.load_state_dict(fast.state_dict())
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    ours = run_with_gradients(fast, x, torch.tensor(lengths))
    assert_exact(ours, run_with_gradients(reference, x, torch.tensor(lengths)))
    state = random_state(fast, 4)
    assert_exact(
        fast.forward_with_state(x, torch.tensor(lengths), state),
        reference.forward_with_state(x, torch.tensor(lengths), state),
    )


@every_cell
@every_direction
@pytest.mark.parametrize("engine", ["torch", "reference"])
@pytest.mark.parametrize("lengths", [[6, 6, 6], [2, 6, 4]])
def test_stack_equals_torch_module(
    cell: str, bidirectional: bool, engine: str, lengths: list[int]
) -> None:
    """Same outputs and final states as torch's module of several layers on packed sequences."""
    stack = make(3, cell=cell, bidirectional=bidirectional, engine=engine).double()
    theirs = TORCH_MODULES[cell](
        3, 5, 3, batch_first=True, bidirectional=bidirectional, dtype=torch.float64
    )
    renamed = {}
    for name, value in stack.state_dict().items():
        number, weight = name.removeprefix("layers.").split(".rnn.")
        renamed[weight.replace("_l0", f"_l{number}")] = value
    theirs.load_state_dict(renamed)
    x = torch.randn(3, 6, 3, dtype=torch.float64)
    state = random_state(stack, 3)

    packed = pack_padded_sequence(x, torch.tensor(lengths), True, False)
    output, expected_final = theirs(packed, state if cell == "lstm" else state[0])
    expected, _ = pad_packed_sequence(output, True)
    y, final = stack.forward_with_state(x, torch.tensor(lengths), state)

    assert_exact(y, expected)
    torch.testing.assert_close(final, expected_final if cell == "lstm" else (expected_final,))
    zero = stack.initial_state(3)
    assert_exact(
        stack(x, torch.tensor(lengths)), stack.forward_with_state(x, torch.tensor(lengths), zero)[0]
    )


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 25), min_size=2, max_size=5).filter(any),
    cell=st.sampled_from(list(CELLS)),
    bidirectional=st.booleans(),
    addition=st.sampled_from(list(ADDITIONS)),
    engine=st.sampled_from(["torch", "torch", "torch", "reference"]),
)
def test_alone_equals_batched(
    lengths: list[int], cell: str, bidirectional: bool, addition: str, engine: str
) -> None:
    stack = make(cell=cell, bidirectional=bidirectional, engine=engine, **ADDITIONS[addition])
    x = torch.randn(len(lengths), max(lengths) + 2, 3)
    x[0, lengths[0] :] = 1e4
    y = stack(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        assert not y[row, length:].any()
        if length:
            alone = stack(x[row, None, :length], torch.tensor([length]))
            torch.testing.assert_close(y[row, :length], alone[0], atol=1e-5, rtol=0)


@every_cell
@every_addition
@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_steps_equal_the_whole(cell: str, addition: str, engine: str) -> None:
    stack = make(3, cell=cell, engine=engine, **ADDITIONS[addition]).double()
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    state = random_state(stack, 2)
    whole, final = stack.forward_with_state(x, torch.tensor([6, 6]), state)
    outputs = []
    for t in range(6):
        y, state = stack.step(x[:, t], state)
        outputs.append(y)
    assert_exact(torch.stack(outputs, 1), whole)
    assert_exact(state, final)


@every_cell
def test_a_sequence_may_be_run_in_parts(cell: str) -> None:
    stack = make(cell=cell).double()
    x = torch.randn(3, 10, 3, dtype=torch.float64)
    lengths = torch.tensor([10, 4, 7])
    state = random_state(stack, 3)
    whole, final = stack.forward_with_state(x, lengths, state)
    first, state = stack.forward_with_state(x[:, :6], lengths.clamp(max=6), state)
    second, state = stack.forward_with_state(x[:, 6:], (lengths - 6).clamp(min=0), state)
    assert_exact(torch.cat([first, second], 1), whole)
    assert_exact(state, final)


def test_a_state_may_be_picked_and_copied_like_a_beam() -> None:
    stack = make(cell="lstm")
    x = torch.randn(3, 3)
    _, state = stack.step(x, random_state(stack, 3))
    picked = torch.tensor([2, 2, 0, 1])
    y, _ = stack.step(x[picked], tuple(part[:, picked] for part in state))
    torch.testing.assert_close(y, stack.step(x, state)[0][picked])


@every_cell
@every_direction
def test_packed_path_equals_padded_path(cell: str, bidirectional: bool) -> None:
    """What runs on a GPU equals what runs on a CPU, both run here."""
    torch.manual_seed(0)
    layer = RecurrentLayer(3, 5, cell=cell, bidirectional=bidirectional).double()
    x = torch.randn(4, 8, 3, dtype=torch.float64)
    lengths = torch.tensor([5, 8, 1, 0])
    state = tuple(torch.randn_like(part) for part in layer.initial_state(4))
    packed, _ = layer._run_packed(x, lengths, state)
    padded, _ = layer._run_each_direction(x, lengths, state)
    torch.testing.assert_close(layer._finish(packed, lengths), layer._finish(padded, lengths))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@every_cell
@every_direction
@every_addition
def test_cuda_equals_cpu(cell: str, bidirectional: bool, addition: str) -> None:
    stack = make(cell=cell, bidirectional=bidirectional, **ADDITIONS[addition]).double()
    x = torch.randn(4, 9, 3, dtype=torch.float64)
    lengths = torch.tensor([5, 9, 1, 0])
    expected = run_with_gradients(stack, x, lengths)
    y, gradients = run_with_gradients(stack.cuda(), x.cuda(), lengths.cuda())
    torch.testing.assert_close((y.cpu(), {k: v.cpu() for k, v in gradients.items()}), expected)


@every_cell
@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_gradcheck(cell: str, engine: str) -> None:
    torch.manual_seed(0)
    stack = RecurrentStack(
        2, 3, 2, cell=cell, bidirectional=True, projection_size=2, layer_norm=True, engine=engine
    ).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, *_: stack(x, torch.tensor([2, 4])), (x, *stack.parameters()), fast_mode=True
    )


def test_layers_one_by_one_are_the_stack() -> None:
    stack = make(3, bidirectional=True, projection_size=4, layer_norm=True, dropout=0.3).eval()
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 5])
    y = x
    for layer in stack.layers:
        y = layer(y, lengths)
    assert torch.equal(stack(x, lengths), y)
    assert y.shape[-1] == stack.output_size == 4


def test_dropout_is_between_layers_in_training_only() -> None:
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 5])
    deep = make(2, dropout=0.5)
    assert not torch.equal(deep(x, lengths), deep(x, lengths))
    deep.eval()
    assert torch.equal(deep(x, lengths), deep(x, lengths))
    # One layer has nothing between layers: neither its input nor its output is dropped.
    shallow = make(1, dropout=0.5)
    assert torch.equal(shallow(x, lengths), shallow(x, lengths))
    # With everything dropped the second layer sees zeros, the same at every first layer.
    nothing = make(2, dropout=1.0)
    assert torch.equal(nothing(x, lengths), nothing(x + 1, lengths))


@every_cell
@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_weight_drop_is_of_recurrent_weights_and_in_training_only(cell: str, engine: str) -> None:
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 5])
    options: dict[str, Any] = {"cell": cell, "bidirectional": True, "engine": engine}
    plain, dropping = (make(2, weight_drop=p, **options) for p in (0.0, 0.5))
    assert not torch.equal(dropping(x, lengths), dropping(x, lengths))
    # Nothing comes back in the first frame, so that nothing is dropped there.
    ahead = [make(1, weight_drop=p, **options | {"bidirectional": False}) for p in (0.0, 0.5)]
    first, second = (stack(x, lengths) for stack in ahead)
    torch.testing.assert_close(first[:, 0], second[:, 0])
    assert not torch.allclose(first[:, 1], second[:, 1])
    # Also from a state; the same weights as the same seed draws.
    layer = dropping.layers[0]
    torch.manual_seed(0)
    whole = layer(x, lengths)
    torch.manual_seed(0)
    from_state, _ = layer.forward_with_state(x, lengths, layer.initial_state(2))
    torch.testing.assert_close(whole, from_state)
    # The weights themselves stay, and every one gets a gradient over some batches.
    torch.testing.assert_close(plain.eval()(x, lengths), dropping.eval()(x, lengths))
    weight = dropping.train().layers[0].weights()[0].weight_hh
    drawn = [torch.autograd.grad(dropping(x, lengths).sum(), weight)[0] != 0 for _ in range(20)]
    assert not drawn[0].all()
    assert torch.stack(drawn).any(0).all()


@pytest.mark.parametrize("weight_drop", [-0.1, 1.0])
def test_weight_drop_out_of_range(weight_drop: float) -> None:
    with pytest.raises(ConfigError, match=f"weight_drop {weight_drop}"):
        RecurrentLayer(3, 5, weight_drop=weight_drop)


@every_cell
def test_parameters_are_named_as_torch_names_them(cell: str) -> None:
    names = set(make(1, cell=cell, bidirectional=True).state_dict())
    expected = TORCH_MODULES[cell](3, 5, bidirectional=True).state_dict()
    assert names == {f"layers.0.rnn.{name}" for name in expected}


def test_lstm_starts_with_open_forget_gates_and_orthogonal_recurrence() -> None:
    stack = RecurrentStack(3, 5, 2, bidirectional=True)
    for layer in stack.layers:
        for weights in layer.weights():
            assert (weights.bias_ih + weights.bias_hh).tolist() == [0.0] * 5 + [1.0] * 5 + [0] * 10
            for gate in weights.weight_hh.chunk(4):
                torch.testing.assert_close(gate @ gate.T, torch.eye(5), atol=1e-5, rtol=0)


@every_cell
@every_direction
def test_bfloat16_autocast_is_close_to_float32(cell: str, bidirectional: bool) -> None:
    torch.manual_seed(0)
    stack = RecurrentStack(3, 5, 2, cell=cell, bidirectional=bidirectional, layer_norm=True)
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 5])
    expected = stack(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = stack(x, lengths)
        y.float().sum().backward()
        state = stack.initial_state(2)
        again, _ = stack.forward_with_state(x, lengths, state)
    torch.testing.assert_close(y.float(), expected, atol=0.1, rtol=0)
    torch.testing.assert_close(again.float(), expected, atol=0.1, rtol=0)
    for parameter in stack.parameters():
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="recurrent cell 'qrnn': use one of lstm, gru, rnn"):
        RecurrentStack(3, 5, 1, cell="qrnn")
    with pytest.raises(ConfigError, match="recurrent engine 'jax': use one of torch, reference"):
        RecurrentStack(3, 5, 1, engine="jax")
    with pytest.raises(ConfigError, match="0 recurrent layers: use at least 1"):
        RecurrentStack(3, 5, 0)
    stack = make(bidirectional=True)
    with pytest.raises(ValueError, match="a bidirectional layer has no step"):
        stack.step(torch.randn(2, 3), stack.initial_state(2))
