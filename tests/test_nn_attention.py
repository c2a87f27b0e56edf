"""Additive attention: by hand from its equation, blind to padding, alone as in a batch."""

import torch

from asr.nn.attention import AdditiveAttention

Q, M, A = 3, 4, 5


def attention() -> AdditiveAttention:
    torch.manual_seed(1)
    module = AdditiveAttention(Q, M, A)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)  # far from uniform weights
    return module


@torch.no_grad()
def test_the_equation() -> None:
    module = attention()
    values, query = torch.randn(1, 6, M), torch.randn(1, Q)
    context, weights = module(query, module.remember(values, torch.tensor([6])))
    energies = torch.tensor(
        [
            module.energy.weight[0]
            @ torch.tanh(module.query.weight @ query[0] + module.key.weight @ h + module.key.bias)
            for h in values[0]
        ]
    )
    expected = energies.exp() / energies.exp().sum()
    assert expected.max() > 2 / 6
    torch.testing.assert_close(weights[0], expected)
    torch.testing.assert_close(context[0], expected @ values[0])


def test_a_batch_is_its_sequences_in_values_and_gradients() -> None:
    module = attention()
    values = torch.randn(3, 7, M, requires_grad=True)
    query = torch.randn(3, Q, requires_grad=True)
    lengths = torch.tensor([7, 2, 5])
    context, weights = module(query, module.remember(values, lengths))
    context.square().sum().backward()
    assert values.grad is not None
    assert query.grad is not None
    torch.testing.assert_close(weights.sum(1), torch.ones(3))
    for row, length in enumerate(lengths.tolist()):
        alone = values[row : row + 1, :length].detach().requires_grad_()
        asked = query[row : row + 1].detach().requires_grad_()
        one, of_one = module(asked, module.remember(alone, torch.tensor([length])))
        one.square().sum().backward()
        assert alone.grad is not None
        assert asked.grad is not None
        torch.testing.assert_close(context[row : row + 1], one)
        torch.testing.assert_close(weights[row : row + 1, :length], of_one)
        assert not weights[row, length:].any()
        torch.testing.assert_close(values.grad[row : row + 1, :length], alone.grad)
        assert not values.grad[row, length:].any()
        torch.testing.assert_close(query.grad[row : row + 1], asked.grad)


def test_an_empty_sequence_has_no_context_and_finite_gradients() -> None:
    module = attention()
    values = torch.randn(2, 3, M)
    context, weights = module(torch.randn(2, Q), module.remember(values, torch.tensor([0, 3])))
    assert not context[0].any()
    assert not weights[0].any()
    context.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def read_with_gradients(dtype: torch.dtype) -> list[torch.Tensor]:
    """Return contexts, weights and all gradients of a batch large enough to be read compiled."""
    torch.manual_seed(2)
    n_sequences, n_places, size = 24, 30, 80
    module = AdditiveAttention(Q, M, size).double()
    values = torch.randn(n_sequences, n_places, M, dtype=torch.float64)
    query = torch.randn(n_sequences, Q, dtype=torch.float64)
    lengths = torch.arange(n_sequences)
    in_bfloat16 = dtype == torch.bfloat16
    # Under autocast parameters are float32; the inputs are the same numbers in all types.
    module.to(torch.float32 if in_bfloat16 else dtype)
    values, query = (x.bfloat16().to(dtype).requires_grad_() for x in (values, query))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bfloat16):
        context, weights = module(query, module.remember(values, lengths))
    assert context.grad_fn is not None
    assert ("_Attention" in context.grad_fn.name()) == (dtype != torch.float64)
    loss = (context.double() * torch.linspace(-1, 1, M)).sum() + weights.double().square().sum()
    read = values, query, *module.parameters()
    return [context.detach(), weights.detach(), *torch.autograd.grad(loss, read)]


def test_the_compiled_code_equals_the_equations_in_values_and_gradients() -> None:
    exact = read_with_gradients(torch.float64)
    for found, expected in zip(read_with_gradients(torch.float32), exact, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    for found, expected in zip(read_with_gradients(torch.bfloat16), exact, strict=True):
        assert (found.double() - expected).norm() < 0.02 * expected.norm()
