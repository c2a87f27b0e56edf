"""CTC-CRF: the denominator against the sum over all paths, its gradient, the label trigram."""

from itertools import groupby, product

import pytest
import torch
from torch import Tensor

from asr.models import ctc_crf
from asr.models.ctc import ctc_loss
from asr.models.ctc_crf import LabelTrigram, log_partition

SENTENCES = [[1, 2, 3], [1, 1, 2], [3, 2], [2, 2, 1, 3], [1], []]
N_SYMBOLS = 4


@pytest.fixture(scope="module")
def trigram() -> LabelTrigram:
    return LabelTrigram.estimate(SENTENCES, N_SYMBOLS)


def collapse(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in groupby(path) if symbol]


def emissions(n: int, n_frames: int, n_symbols: int = N_SYMBOLS, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, n_frames, n_symbols, generator=generator)).log_softmax(dim=-1)


def padded(sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(s) for s in sentences])
    rows = [s + [0] * (int(lengths.max()) - len(s)) for s in sentences]
    return torch.tensor(rows, dtype=torch.int64), lengths


def every_path(log_probs: Tensor, trigram: LabelTrigram) -> Tensor:
    """log Z of one utterance, added up path by path."""
    paths = list(product(range(log_probs.shape[1]), repeat=len(log_probs)))
    labels = trigram.log_prob(*padded([collapse(path) for path in paths]))
    scores = log_probs[torch.arange(len(log_probs)), torch.tensor(paths)].sum(dim=1)
    return (scores + labels).logsumexp(dim=0)


def test_trigram_is_a_distribution_and_knows_the_edges(trigram: LabelTrigram) -> None:
    table = trigram.probabilities
    assert torch.allclose(table.sum(dim=2), torch.ones(N_SYMBOLS, N_SYMBOLS))
    assert (table > 0).all()
    # No utterance starts with 1 3; four of six start with 1 or 2 rather than end at once.
    log_prob = trigram.log_prob(*padded([[1, 2, 3], [1, 3, 3]]))
    expected = table[0, 0, 1] * table[0, 1, 2] * table[1, 2, 3] * table[2, 3, 0]
    assert log_prob[0].item() == pytest.approx(expected.log().item(), rel=1e-5)
    assert log_prob[0] > log_prob[1]


def test_a_label_that_the_text_lacks_stays_possible() -> None:
    trigram = LabelTrigram.estimate(SENTENCES, N_SYMBOLS + 1)
    assert (trigram.probabilities > 0).all()


def test_partition_sums_every_path(trigram: LabelTrigram) -> None:
    log_probs, lengths = emissions(3, 5), torch.tensor([5, 4, 1])
    expected = [every_path(log_probs[i, :n], trigram) for i, n in enumerate(lengths)]
    found = log_partition(log_probs, lengths, trigram)
    assert torch.allclose(found, torch.stack(expected), atol=1e-4)


def test_gradient_is_that_of_the_sum_and_leaves_the_padding(trigram: LabelTrigram) -> None:
    lengths, weights = torch.tensor([5, 3, 1]), torch.tensor([1.0, -2.0, 0.5])
    direct = emissions(3, 5).requires_grad_()
    ours = direct.detach().clone().requires_grad_()
    sums = [every_path(direct[i, :n], trigram) for i, n in enumerate(lengths)]
    (torch.stack(sums) * weights).sum().backward()
    (log_partition(ours, lengths, trigram) * weights).sum().backward()
    assert direct.grad is not None
    assert ours.grad is not None
    assert torch.allclose(ours.grad, direct.grad, atol=1e-5)
    assert not ours.grad[1, 3:].any()


def test_an_utterance_counts_the_same_alone_and_among_others(
    trigram: LabelTrigram, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a batch is taken in parts, one of them shorter than the others."""
    monkeypatch.setattr(ctc_crf, "_N_TOGETHER", 2)
    log_probs, lengths = emissions(5, 9).requires_grad_(), torch.tensor([4, 9, 6, 1, 3])
    together = log_partition(log_probs, lengths, trigram)
    together.sum().backward()
    assert log_probs.grad is not None
    for i, n in enumerate(lengths.tolist()):
        one = log_probs.detach()[i : i + 1, :n].clone().requires_grad_()
        alone = log_partition(one, torch.tensor([n]), trigram)
        alone.sum().backward()
        torch.testing.assert_close(together[i], alone[0])
        torch.testing.assert_close(log_probs.grad[i, :n], one.grad[0])
        assert not log_probs.grad[i, n:].any()


def test_long_and_sharp_output_stays_finite(trigram: LabelTrigram) -> None:
    log_probs = (100 * emissions(2, 500)).log_softmax(dim=-1).requires_grad_()
    lengths = torch.tensor([500, 400])
    result = log_partition(log_probs, lengths, trigram)
    result.sum().backward()
    assert log_probs.grad is not None
    assert result.isfinite().all()
    assert log_probs.grad.isfinite().all()
    assert torch.allclose(log_probs.grad.sum(dim=(1, 2)), lengths.float(), rtol=1e-4)


def test_right_labels_are_part_of_the_sum(trigram: LabelTrigram) -> None:
    """Every label sequence's share of Z adds up to one: the loss is a negative log-probability."""
    log_probs, lengths = emissions(1, 4), torch.tensor([4])
    log_z = log_partition(log_probs, lengths, trigram)
    sequences = {tuple(collapse(path)) for path in product(range(N_SYMBOLS), repeat=4)}
    total = 0.0
    for sequence in sequences:
        tokens, n = padded([list(sequence)])
        numerator = trigram.log_prob(tokens, n) - ctc_loss(log_probs, lengths, tokens, n)
        total += float((numerator - log_z).exp())
    assert total == pytest.approx(1.0, abs=1e-4)
