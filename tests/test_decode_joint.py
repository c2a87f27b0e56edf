"""CTC as an autoregressive model against brute force and the CTC loss; joint decoding."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from asr.decode.joint import CtcPrefixModel, JointModel
from asr.models.ctc import ctc_loss
from asr.nn.seq2seq import EncoderDecoder
from asr.search import beam_search, greedy, select_state


def random_log_probs(n_sequences: int, n_frames: int, n_tokens: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(n_sequences, n_frames, n_tokens, generator=generator)).log_softmax(-1)


def texts(log_probs: Tensor) -> dict[tuple[int, ...], float]:
    """P of every text, summed over its alignments (T, V)."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(token for token, _ in itertools.groupby(path) if token)
        p = math.exp(sum(float(frame[token]) for frame, token in zip(log_probs, path, strict=True)))
        found[text] = found.get(text, 0.0) + p
    return found


def follow(model: CtcPrefixModel, tokens: tuple[int, ...]) -> Tensor:
    """log P(. | each beginning of tokens), (U + 1, V)."""
    state, steps = model.start(), []
    for token in (0, *tokens):
        log_probs, state = model.step(state, torch.tensor([token]))
        steps.append(log_probs[0])
    return torch.stack(steps)


@pytest.mark.parametrize("seed", range(3))
def test_next_tokens_are_those_of_all_alignments(seed: int) -> None:
    (log_probs,) = random_log_probs(1, 5, 3, seed)
    probability = texts(log_probs)
    model = CtcPrefixModel(log_probs[None], torch.tensor([5]))

    def begins(prefix: tuple[int, ...]) -> float:
        return sum(p for text, p in probability.items() if text[: len(prefix)] == prefix)

    for prefix in ((), (1,), (1, 1), (1, 2), (2, 2, 2), (1, 2, 1, 2)):
        expected = [probability[prefix], *(begins((*prefix, token)) for token in (1, 2))]
        found = follow(model, prefix)[-1].exp()
        assert found.tolist() == pytest.approx([p / begins(prefix) for p in expected], rel=1e-5)
        assert float(found.sum()) == pytest.approx(1.0)


def test_what_does_not_fit_into_the_frames_has_no_probability() -> None:
    model = CtcPrefixModel(random_log_probs(1, 5, 3), torch.tensor([5]))
    steps = follow(model, (1, 1, 1, 1))  # needs 7 frames
    assert steps[2, 1].isfinite()
    assert steps[3, 1] == -torch.inf
    assert (steps[4] == -torch.inf).all()


def test_a_text_has_the_probability_of_the_ctc_loss_alone_and_in_a_batch() -> None:
    log_probs = random_log_probs(3, 30, 8)
    lengths = torch.tensor([30, 17, 24])
    tokens = torch.tensor([[3, 3, 1, 7, 2], [5, 5, 5, 1, 4], [6, 2, 2, 6, 6]])
    model = CtcPrefixModel(log_probs, lengths)
    state, totals = model.start(), torch.zeros(3, dtype=torch.float64)
    end = torch.zeros(3, dtype=torch.int64)
    for before, token in itertools.pairwise([end, *tokens.T, end]):
        step, state = model.step(state, before)
        totals += step.gather(1, token[:, None])[:, 0]
    for row, length in enumerate(lengths.tolist()):
        loss = ctc_loss(
            log_probs[row : row + 1, :length], torch.tensor([length]), tokens[row : row + 1],
            torch.tensor([5]),
        )  # fmt: skip
        assert float(totals[row]) == pytest.approx(-float(loss), rel=1e-5)
        alone = CtcPrefixModel(log_probs[row : row + 1, :length], torch.tensor([length]))
        path = follow(alone, tuple(tokens[row].tolist()))
        ids = torch.tensor([*tokens[row].tolist(), 0])
        assert float(path.gather(1, ids[:, None]).sum()) == pytest.approx(float(totals[row]))


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_likeliest_text(seed: int) -> None:
    log_probs = random_log_probs(2, 5, 4, seed)
    model = CtcPrefixModel(log_probs, torch.tensor([5, 4]))
    found = beam_search(model, model.start(), [5, 5], width=200)
    for row, length in enumerate((5, 4)):
        probability = texts(log_probs[row, :length])
        best = max(probability, key=probability.__getitem__)
        assert found[row][0].tokens == best
        assert found[row][0].log_prob == pytest.approx(math.log(probability[best]), rel=1e-5)


@pytest.fixture
def decoder() -> EncoderDecoder:
    torch.manual_seed(3)
    return EncoderDecoder(9, 4, embedding_size=6, hidden_size=5).eval()


@torch.no_grad()
def test_joint_probabilities_are_the_weighted_sum(decoder: EncoderDecoder) -> None:
    log_probs = random_log_probs(2, 6, 4)
    ctc = CtcPrefixModel(log_probs, torch.tensor([6, 5]))
    source, lengths = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2])
    own = decoder.start(source, lengths)
    joint = JointModel(ctc, decoder, 0.3)
    state, ctc_state = joint.start(own), ctc.start()
    for tokens in ([0, 0], [1, 3], [1, 2]):
        read = torch.tensor(tokens)
        found, state = joint.step(state, read)
        of_ctc, ctc_state = ctc.step(ctc_state, read)
        of_decoder, own = decoder.step(own, read)
        torch.testing.assert_close(found, 0.3 * of_ctc + 0.7 * of_decoder.double())
    rows = torch.tensor([1, 1, 0])  # a search picks rows
    read = torch.tensor([2, 1, 3])
    picked, _ = joint.step(select_state(state, rows), read)
    of_ctc, _ = ctc.step(select_state(ctc_state, rows), read)
    of_decoder, _ = decoder.step(select_state(own, rows), read)
    torch.testing.assert_close(picked, 0.3 * of_ctc + 0.7 * of_decoder.double())


@torch.no_grad()
def test_without_weight_a_model_is_not_asked(decoder: EncoderDecoder) -> None:
    log_probs = random_log_probs(2, 6, 4)
    ctc = CtcPrefixModel(log_probs, torch.tensor([6, 5]))
    own = decoder.start(torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([3, 2]))
    for weight, alone, state in ((0.0, decoder, own), (1.0, ctc, ctc.start())):
        joint = JointModel(ctc, decoder, weight)
        for width in (1, 3):
            expected = beam_search(alone, state, [6, 6], width=width)
            assert beam_search(joint, joint.start(own), [6, 6], width=width) == expected
        assert greedy(joint, joint.start(own), [6, 6]) == greedy(alone, state, [6, 6])
