"""The reference cells against torch.nn in values and gradients, and unroll over padding."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from asr.nn.cells import CELLS, Cell, State, unroll

TORCH_CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
TORCH_SEQUENCES = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
assert_exact = partial(torch.testing.assert_close, atol=1e-10, rtol=1e-10)

every_cell = pytest.mark.parametrize("kind", CELLS)


def make(kind: str, input_size: int, hidden_size: int) -> Cell:
    """Return a float64 cell all of whose weights, biases too, are random."""
    torch.manual_seed(0)
    cell = CELLS[kind](input_size, hidden_size).double()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.4)
    return cell


def random_state(cell: Cell, n_sequences: int) -> State:
    return tuple(torch.randn_like(part) for part in cell.initial_state(n_sequences))


def torch_state(state: State) -> Tensor | State:
    return state[0] if len(state) == 1 else state


def gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    """Gradients of a sum that weighs every number of the output differently."""
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return list(torch.autograd.grad((output * weights).sum(), inputs))


@every_cell
def test_cell_equals_torch_in_values_and_gradients(kind: str) -> None:
    cell = make(kind, 5, 7)
    theirs = TORCH_CELLS[kind](5, 7, dtype=torch.float64)
    theirs.load_state_dict(cell.state_dict())
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    state = tuple(part.requires_grad_() for part in random_state(cell, 3))

    ours = torch.cat(cell(x, state))
    expected = theirs(x, torch_state(state))
    expected = torch.cat(expected) if kind == "lstm" else expected

    assert_exact(ours, expected)
    names = [name for name, _ in cell.named_parameters()]
    assert_exact(
        gradients(ours, [x, *state, *(cell.get_parameter(name) for name in names)]),
        gradients(expected, [x, *state, *(theirs.get_parameter(name) for name in names)]),
    )


@every_cell
def test_unroll_equals_torch_in_values_and_gradients(kind: str) -> None:
    cell = make(kind, 4, 6)
    theirs = TORCH_SEQUENCES[kind](4, 6, batch_first=True, dtype=torch.float64)
    theirs.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x = torch.randn(3, 9, 4, dtype=torch.float64, requires_grad=True)
    state = random_state(cell, 3)

    ours, final = unroll(cell, x, torch.full((3,), 9), state)
    expected, expected_final = theirs(x, torch_state(tuple(part[None] for part in state)))

    assert_exact(ours, expected)
    if kind != "lstm":
        expected_final = (expected_final,)
    assert_exact(final, tuple(part[0] for part in expected_final))
    names = [name for name, _ in cell.named_parameters()]
    assert_exact(
        gradients(ours, [x, *(cell.get_parameter(name) for name in names)]),
        gradients(expected, [x, *(theirs.get_parameter(f"{name}_l0") for name in names)]),
    )


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_unroll_of_a_padded_batch_equals_each_sequence_alone(kind: str, reverse: bool) -> None:
    cell = make(kind, 3, 5)
    lengths = torch.tensor([6, 1, 0, 4])
    x = 100 * torch.randn(4, 6, 3, dtype=torch.float64)
    state = random_state(cell, 4)
    y, final = unroll(cell, x, lengths, state, reverse=reverse)
    for row, length in enumerate(lengths.tolist()):
        before = tuple(part[row, None] for part in state)
        outputs = torch.zeros(6, 5, dtype=torch.float64)
        frames = range(length)
        for t in reversed(frames) if reverse else frames:
            before = cell(x[row, t, None], before)
            outputs[t] = before[0][0]
        assert_exact(y[row], outputs)
        assert_exact(tuple(part[row, None] for part in final), before)


@every_cell
@pytest.mark.parametrize("reverse", [False, True])
def test_gradcheck(kind: str, reverse: bool) -> None:
    cell = make(kind, 2, 3)
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    state = tuple(part.requires_grad_() for part in random_state(cell, 2))

    def run(x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, weights = rest[: cell.n_states], rest[cell.n_states :]
        step = lambda x, state: cell.step(x, state, type(cell.weights)(*weights))  # noqa: E731
        y, final = unroll(step, x, torch.tensor([4, 2]), state, reverse=reverse)
        return y, *final

    assert torch.autograd.gradcheck(run, (x, *state, *cell.weights))


@every_cell
def test_initial_weights(kind: str) -> None:
    torch.manual_seed(1)
    cell = CELLS[kind](12, 20)
    for gate in cell.weight_hh.chunk(cell.n_gates):
        torch.testing.assert_close(gate @ gate.T, torch.eye(20), atol=1e-5, rtol=0)
    bound = (6 / (12 + 20)) ** 0.5
    assert 0.9 * bound < cell.weight_ih.abs().max() <= bound
    bias = cell.bias_ih + cell.bias_hh
    expected = torch.zeros_like(bias)
    if kind == "lstm":
        expected[20:40] = 1
    assert torch.equal(bias, expected)


def test_lstm_remembers_through_its_forget_gate() -> None:
    """With a forget gate of 1 and an input gate of 0 the memory stays, whatever comes in."""
    cell = make("lstm", 2, 4)
    with torch.no_grad():
        for bias, value in zip(cell.bias_ih.chunk(4), (-1e3, 1e3, 0.0, 0.0), strict=True):
            bias.fill_(value)
    state = random_state(cell, 2)
    x = torch.randn(2, 50, 2, dtype=torch.float64)
    _, (_, c) = unroll(cell, x, torch.tensor([50, 50]), state)
    assert torch.equal(c, state[1])
