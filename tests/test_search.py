"""Search: greedy, beam and sampling against one another, brute force, and distributions."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from asr.errors import ConfigError
from asr.nn.cells import State
from asr.nn.seq2seq import EncoderDecoder
from asr.search import (
    END,
    Autoregressive,
    Generated,
    Sampling,
    beam_search,
    greedy,
    sample,
    select_state,
)
from lm.neural import LstmLM

V = 4


def network(n_tokens: int = V, *, scale: float = 4.0, ending: float = -1.5) -> EncoderDecoder:
    torch.manual_seed(0)
    made = EncoderDecoder(6, n_tokens, embedding_size=5, hidden_size=4)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(scale)  # far from uniform
        made.decoder.output.bias[END] += ending
    return made.eval()


def sources() -> tuple[Tensor, Tensor]:
    source = torch.randint(6, (7, 5), generator=torch.Generator().manual_seed(4))
    return source, torch.tensor([5, 1, 3, 5, 4, 2, 5])


def started(model: EncoderDecoder) -> State:
    with torch.no_grad():
        return model.start(*sources())


@torch.no_grad()
def log_probs_of(model: EncoderDecoder, row: int, sequences: list[tuple[int, ...]]) -> list[float]:
    """log P(tokens, end | source) by teacher forcing."""
    source, lengths = sources()
    n, length = len(sequences), int(lengths[row])
    tokens = torch.zeros(n, max(map(len, sequences)) + 2, dtype=torch.int64)
    mask = torch.zeros(tokens[:, 1:].shape)
    for number, sequence in enumerate(sequences):
        tokens[number, 1 : len(sequence) + 1] = torch.tensor(sequence)
        mask[number, : len(sequence) + 1] = 1
    same = source[row, :length].expand(n, -1), torch.full((n,), length)
    log_probs = model(*same, tokens[:, :-1])
    picked = log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
    sums: list[float] = (picked * mask).sum(1).tolist()
    return sums


def all_sequences(max_length: int, n_tokens: int = V) -> list[tuple[int, ...]]:
    lengths = range(max_length + 1)
    return [y for n in lengths for y in itertools.product(range(1, n_tokens), repeat=n)]


class Table:
    """A model without memory that gives the same distribution at each step."""

    def __init__(self, *probabilities: float) -> None:
        self.log_probs = torch.tensor(probabilities).log()

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        return self.log_probs.expand(len(tokens), -1), state

    def start(self, n_sequences: int) -> State:
        return (torch.zeros(1, n_sequences, 1),)


@pytest.mark.parametrize("scale", [1.0, 3.0, 4.0])
def test_scores_are_those_of_teacher_forcing(scale: float) -> None:
    model = network(scale=scale)
    limits = [6, 5, 4, 3, 2, 1, 0]
    state = started(model)
    drawn = sample(model, state, limits, generator=torch.Generator().manual_seed(1))
    results = [[one] for one in (*greedy(model, state, limits), *drawn)]
    results += beam_search(model, state, limits, width=3)
    for number, found in enumerate(results):
        row = number % 7
        for one in found:
            assert len(one.tokens) <= limits[row]
            assert one.log_prob == pytest.approx(
                log_probs_of(model, row, [one.tokens])[0], abs=1e-4
            )
            assert one.score == one.log_prob


@pytest.mark.parametrize("length_exponent", [0.0, 0.7, 1.0])
@pytest.mark.parametrize(("scale", "ending"), [(2.0, 1.0), (4.0, 1.0), (4.0, 2.0), (5.0, 3.0)])
def test_a_beam_of_width_1_is_greedy(scale: float, ending: float, length_exponent: float) -> None:
    model = network(7, scale=scale, ending=ending)
    limits = [9, 4, 7, 8, 3, 2, 0]
    ones = greedy(model, started(model), limits)
    assert len({one.tokens for one in ones}) > 3
    beams = beam_search(model, started(model), limits, width=1, length_exponent=length_exponent)
    for one, (beam,) in zip(ones, beams, strict=True):
        assert beam.tokens == one.tokens
        assert beam.log_prob == pytest.approx(one.log_prob, abs=1e-5)
        assert beam.score == pytest.approx(
            one.log_prob / (len(one.tokens) + 1) ** length_exponent, abs=1e-5
        )


@pytest.mark.parametrize("length_exponent", [0.0, 0.6, 1.0])
def test_a_wide_beam_is_brute_force(length_exponent: float) -> None:
    model = network()
    max_length = 4
    every = all_sequences(max_length)
    found = beam_search(
        model, started(model), [max_length] * 7, width=len(every), length_exponent=length_exponent
    )
    for row, results in enumerate(found):
        log_probs = log_probs_of(model, row, every)
        scores = {
            y: log_prob / (len(y) + 1) ** length_exponent
            for y, log_prob in zip(every, log_probs, strict=True)
        }
        ranked = sorted(every, key=lambda y: -scores[y])
        assert {one.tokens for one in results} == set(every)
        assert [one.score for one in results] == pytest.approx(
            [scores[y] for y in ranked], abs=1e-4
        )
        assert results[0].tokens == ranked[0]
        # No end was left out: probabilities of all, cut at the length, sum to less than 1.
        assert 0 < sum(math.exp(one.log_prob) for one in results) < 1


def test_a_wider_beam_finds_what_greedy_misses() -> None:
    gains = [
        beam[0].log_prob - one.log_prob
        for scale in (2.0, 3.0)
        for model in [network(7, scale=scale)]
        for one, beam in zip(
            greedy(model, started(model), [8] * 7),
            beam_search(model, started(model), [8] * 7, width=20),
            strict=True,
        )
    ]
    assert min(gains) > -1e-4
    assert max(gains) > 0.01


@pytest.mark.parametrize("width", [1, 3, 10])
def test_a_batch_is_its_sequences(width: int) -> None:
    model = network(7, ending=1.0)
    limits = [9, 1, 7, 0, 3, 2, 12]
    state = started(model)
    together = beam_search(model, state, limits, width=width, length_exponent=0.5)
    ones = greedy(model, state, limits)
    for row, limit in enumerate(limits):
        own = select_state(state, torch.tensor([row]))
        (alone,) = beam_search(model, own, [limit], width=width, length_exponent=0.5)
        assert [one.tokens for one in alone] == [one.tokens for one in together[row]]
        assert [one.score for one in alone] == pytest.approx(
            [one.score for one in together[row]], abs=1e-5
        )
        assert greedy(model, own, [limit])[0].tokens == ones[row].tokens


def test_results_are_the_best_first_and_each_once() -> None:
    model = network(7)
    for found in beam_search(model, started(model), [5] * 7, width=8, length_exponent=1.0):
        assert 1 <= len(found) <= 8
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert len({one.tokens for one in found}) == len(found)


def test_length_normalisation_by_hand() -> None:
    # The end comes with 0.4, token 1 with 0.6: alone the end is the likelier the shorter.
    model = Table(0.4, 0.6)
    (by_sum,) = beam_search(model, model.start(1), [3], width=10)
    (by_mean,) = beam_search(model, model.start(1), [3], width=10, length_exponent=1.0)
    assert [len(one.tokens) for one in by_sum] == [0, 1, 2, 3]
    assert [len(one.tokens) for one in by_mean] == [3, 2, 1, 0]
    assert by_mean[0].score == pytest.approx((3 * math.log(0.6) + math.log(0.4)) / 4)


def test_first_and_forbidden_tokens() -> None:
    torch.manual_seed(0)
    model = LstmLM(5, embedding_size=6, hidden_size=8).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    state = model.start(4)
    first, limits = [0, 1, 2, 3], [6] * 4
    generator = torch.Generator().manual_seed(0)
    everything: list[Generated] = [
        *greedy(model, state, limits, first=first, forbidden=[2]),
        *itertools.chain(*beam_search(model, state, limits, width=6, first=first, forbidden=[2])),
        *sample(model, state, limits, generator=generator, first=first, forbidden=[2]),
    ]
    assert any(one.tokens for one in everything)
    assert not any(2 in one.tokens for one in everything)
    with torch.no_grad():
        log_probs, _ = model.step(state, torch.tensor(first))
    log_probs[:, 2] = -torch.inf
    starts = [one.tokens[:1] or (END,) for one in greedy(model, state, limits, first=first,
                                                           forbidden=[2])]  # fmt: skip
    assert [start[0] for start in starts] == log_probs.argmax(-1).tolist()


def test_samples_have_the_model_s_distribution() -> None:
    model = network()
    n, max_length = 4000, 2
    row = 3
    state = select_state(started(model), torch.full((n,), row))
    found = sample(model, state, [max_length] * n, generator=torch.Generator().manual_seed(0))
    counts = Counter(one.tokens for one in found)
    every = all_sequences(max_length)
    for tokens, expected in zip(every, log_probs_of(model, row, every), strict=True):
        if len(tokens) == max_length:
            # It is ended, whatever the model says.
            source, lengths = sources()
            with torch.no_grad():
                after = model(source[row, None], lengths[row, None], torch.tensor([[0, *tokens]]))
            expected -= float(after[0, -1, END])
        p = math.exp(expected)
        assert abs(counts[tokens] - n * p) <= 4 * math.sqrt(n * p * (1 - p)) + 1


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), [0.1, 0.4, 0.3, 0.2]),
        (Sampling(temperature=0.5), [1 / 30, 16 / 30, 9 / 30, 4 / 30]),
        (Sampling(top_k=2), [0, 4 / 7, 3 / 7, 0]),
        (Sampling(top_k=9), [0.1, 0.4, 0.3, 0.2]),
        (Sampling(top_p=0.6), [0, 4 / 7, 3 / 7, 0]),
        (Sampling(top_p=0.01), [0, 1, 0, 0]),
        (Sampling(top_k=3, top_p=0.75), [0, 4 / 7, 3 / 7, 0]),
        (Sampling(temperature=0.5, top_p=0.8), [0, 16 / 25, 9 / 25, 0]),
    ],
)
def test_sharpened_distributions(sampling: Sampling, expected: list[float]) -> None:
    probabilities = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)
    sharpened = sampling.probabilities(probabilities.log().expand(2, -1))
    torch.testing.assert_close(sharpened[1], torch.tensor(expected, dtype=torch.float64))
    n = 4000
    model = Table(0.1, 0.4, 0.3, 0.2)
    generator = torch.Generator().manual_seed(0)
    found = sample(model, model.start(n), [1] * n, generator=generator, sampling=sampling)
    counts = Counter(one.tokens[0] if one.tokens else END for one in found)
    for token, p in enumerate(expected):
        assert abs(counts[token] - n * p) <= 4 * math.sqrt(n * p * (1 - p))


def test_a_seed_decides_what_is_drawn() -> None:
    model = network()

    def draw(seed: int) -> list[Generated]:
        return sample(model, started(model), [9] * 7, generator=torch.Generator().manual_seed(seed))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_cold_samples_are_greedy() -> None:
    model = network()
    generator = torch.Generator().manual_seed(0)
    cold = sample(
        model, started(model), [9] * 7, generator=generator, sampling=Sampling(temperature=1e-4)
    )
    assert [one.tokens for one in cold] == [
        o.tokens for o in greedy(model, started(model), [9] * 7)
    ]


def test_wrong_values_are_refused() -> None:
    model: Autoregressive = Table(0.5, 0.5)
    with pytest.raises(ConfigError, match="temperature 0"):
        Sampling(temperature=0)
    with pytest.raises(ConfigError, match="temperature nan"):
        Sampling(temperature=math.nan)
    with pytest.raises(ConfigError, match="top_k -1"):
        Sampling(top_k=-1)
    with pytest.raises(ConfigError, match="top_p 0"):
        Sampling(top_p=0)
    with pytest.raises(ConfigError, match=r"top_p 1\.5"):
        Sampling(top_p=1.5)
    with pytest.raises(ConfigError, match="beam width 0"):
        beam_search(model, (torch.zeros(1, 1, 1),), [3], width=0)
