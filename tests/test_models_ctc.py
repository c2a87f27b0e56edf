"""The acoustic model: losses against brute force, independence of the batch."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from asr.models import ctc
from asr.models.ctc import CtcModel, consistency_loss, ctc_loss
from asr.models.ctc_forward_backward import losses_and_posteriors


@pytest.fixture(params=["compiled", "torch"])
def training(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the loss and its gradient are those of the compiled loop."""
    compiled: bool = request.param == "compiled"
    if not compiled:
        monkeypatch.setattr(ctc, "_trains_faster", lambda log_probs: False)
    return compiled


def brute_force(log_probs: torch.Tensor, target: list[int]) -> float:
    """Sum over all alignments whose collapsed form is the target."""
    n_frames, n_symbols = log_probs.shape
    total = 0.0
    for path in itertools.product(range(n_symbols), repeat=n_frames):
        collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if collapsed == target:
            total += math.exp(sum(float(log_probs[t, s]) for t, s in enumerate(path)))
    return -math.log(total)


@pytest.mark.parametrize("target", [[1], [1, 2], [1, 1], [2, 1, 2], []])
def test_loss_sums_all_alignments(training: bool, target: list[int]) -> None:
    torch.manual_seed(len(target))
    log_probs = torch.randn(1, 5, 3).log_softmax(-1).requires_grad_()
    tokens = torch.tensor([target], dtype=torch.long).reshape(1, -1)
    loss = ctc_loss(log_probs, torch.tensor([5]), tokens, torch.tensor([len(target)]))
    assert loss.item() == pytest.approx(brute_force(log_probs[0].detach(), target), rel=1e-5)
    assert (type(loss.grad_fn).__name__ == "_CtcLossBackward") == training


def test_loss_counted_by_hand() -> None:
    """Two frames, P(a) = 0.4, P(blank) = 0.6: aa, a-, -a give 0.16 + 0.24 + 0.24."""
    log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    loss = ctc_loss(log_probs, torch.tensor([2]), torch.tensor([[1]]), torch.tensor([1]))
    assert float(loss) == pytest.approx(-math.log(0.64), rel=1e-6)


def test_loss_of_a_batch_is_the_sum_and_ignores_padding(training: bool) -> None:
    torch.manual_seed(0)
    log_probs = torch.randn(2, 9, 4).log_softmax(-1).requires_grad_()
    lengths, token_lengths = torch.tensor([9, 4]), torch.tensor([3, 1])
    tokens = torch.tensor([[1, 2, 3], [2, 3, 3]])
    both = ctc_loss(log_probs, lengths, tokens, token_lengths)
    first = ctc_loss(log_probs[:1], lengths[:1], tokens[:1], token_lengths[:1])
    second = ctc_loss(log_probs[1:, :4], lengths[1:], tokens[1:, :1], token_lengths[1:])
    torch.testing.assert_close(both, first + second)


def test_impossible_target_is_infinite(training: bool) -> None:
    """Two equal labels need three frames."""
    log_probs = torch.zeros(1, 2, 3).log_softmax(-1).requires_grad_()
    loss = ctc_loss(log_probs, torch.tensor([2]), torch.tensor([[1, 1]]), torch.tensor([2]))
    assert math.isinf(loss.item())


def test_output_that_is_no_number_is_not_hidden() -> None:
    log_probs = torch.randn(1, 4, 3).log_softmax(-1)
    log_probs[0, 2, 1] = math.nan
    loss = ctc_loss(log_probs.requires_grad_(), torch.tensor([4]), *_targets([[1]]))
    assert math.isnan(loss.item())


def _targets(texts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.tensor(text, dtype=torch.int64) for text in texts]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(text) for text in texts])


def test_compiled_loss_is_torchs_in_double_precision() -> None:
    """Long utterances of sharp output, short and empty targets, no frame to spare."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(400, 120), (333, 1), (50, 0), (20, 20), (1, 1), (0, 0)]
    lengths = torch.tensor([n_frames for n_frames, _ in sizes])
    texts = [torch.randint(1, 30, (n,), generator=generator).tolist() for _, n in sizes]
    texts[3] = [*range(1, 21)]
    log_probs = (5 * torch.randn(len(sizes), 400, 30, generator=generator)).log_softmax(-1)
    weight = torch.tensor(0.3)
    ours, exact = log_probs.clone().requires_grad_(), log_probs.double().requires_grad_()
    found = weight * ctc_loss(ours, lengths, *_targets(texts))
    expected = weight * torch.nn.functional.ctc_loss(
        exact.transpose(0, 1), _targets(texts)[0], lengths, _targets(texts)[1], reduction="sum"
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    found.backward()
    expected.backward()
    assert ours.grad is not None
    assert exact.grad is not None
    # torch's gradient is that of logits whose log-softmax it was given.
    inside = torch.arange(400) < lengths[:, None]
    through_softmax = exact.grad - weight * exact.detach().exp() * inside.unsqueeze(2)
    torch.testing.assert_close(ours.grad.double(), through_softmax, atol=1e-5, rtol=0)
    assert not ours.grad[1, 333:].any()


def test_threads_make_no_difference() -> None:
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(5, 40, 6, generator=generator).log_softmax(-1)
    targets = _targets([[1, 2, 3], [4], [], [5, 5], [2, 1] * 8])
    lengths = torch.tensor([40, 10, 5, 7, 30])
    n_threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            found.append(losses_and_posteriors(log_probs, lengths, *targets))
    finally:
        torch.set_num_threads(n_threads)
    for one, several in zip(*found, strict=True):
        assert torch.equal(one, several)


def test_consistency_is_a_symmetric_divergence_with_stopped_targets() -> None:
    torch.manual_seed(0)
    a = torch.randn(2, 3, 4).log_softmax(-1).requires_grad_()
    b = torch.randn(2, 3, 4).log_softmax(-1).requires_grad_()
    lengths = torch.tensor([3, 2])
    loss = consistency_loss(a, b, lengths)
    expected = 0.0
    for i, n in enumerate([3, 2]):
        for t in range(n):
            p, q = a[i, t].detach(), b[i, t].detach()
            expected += 0.5 * float((p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert a.grad is not None
    # Only the estimate of KL(sg(b) || a) pulls at a: its gradient is -P_b / 2.
    torch.testing.assert_close(a.grad[0], -0.5 * b[0].detach().exp())
    assert torch.equal(a.grad[1, 2], torch.zeros(4))
    assert float(consistency_loss(a, a, lengths).detach()) == pytest.approx(0.0, abs=1e-6)


MODELS = {
    "plain": {"layer_norm": False},
    "normed x2": {"subsampling": 2},
    "projected x3": {"subsampling": 3, "projection_size": 5},
    "heads x4": {"intermediate_layers": (1,)},
    "gru x8": {"cell": "gru", "subsampling": 8},
}


def build(name: str) -> CtcModel:
    torch.manual_seed(3)
    options = {"subsampling": 4, **MODELS[name]}
    return CtcModel(
        20, 7, subsampling_channels=4, input_size=10, hidden_size=9, n_layers=2, **options
    ).eval()


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=15)
@given(lengths=st.lists(st.integers(1, 70), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_alone_equals_batched(name: str, lengths: list[int], seed: int) -> None:
    model = build(name)
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), max(lengths) + 5, 20, generator=generator)
    with torch.no_grad():
        batched = model(features, torch.tensor(lengths))
        for i, n in enumerate(lengths):
            alone = model(features[i : i + 1, :n], torch.tensor([n]))
            valid = int(alone.lengths[0])
            assert valid == int(batched.lengths[i]) == math.ceil(n / model.subsampling_factor)
            difference = batched.log_probs[i, :valid] - alone.log_probs[0]
            assert float(difference.abs().max()) < 1e-5


def test_heads_speak_in_training_only() -> None:
    model = build("heads x4")
    features, lengths = torch.randn(2, 30, 20), torch.tensor([30, 20])
    assert model(features, lengths).intermediate == ()
    (head,) = model.train()(features, lengths).intermediate
    assert head.shape == (2, 8, 7)
    torch.testing.assert_close(head.exp().sum(-1), torch.ones(2, 8))


def test_log_probs_are_float32_under_autocast() -> None:
    model = build("gru x8")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.randn(2, 40, 20), torch.tensor([40, 33]))
    assert output.log_probs.dtype == torch.float32
    torch.testing.assert_close(output.log_probs.exp().sum(-1), torch.ones(2, 5))
