"""Encoder and decoder: steps equal teacher forcing, a batch its sequences, and they learn."""

import pytest
import torch
from torch import Tensor

from asr.errors import ConfigError
from asr.nn.masking import sequence_mask
from asr.nn.seq2seq import EncoderDecoder, sequence_loss, teacher_forced
from asr.search import select_state

S, V = 9, 7
KINDS = [
    pytest.param("lstm", True, 1, id="lstm, attention"),
    pytest.param("lstm", True, 2, id="lstm, attention, 2 layers"),
    pytest.param("gru", True, 1, id="gru, attention"),
    pytest.param("lstm", False, 2, id="lstm, plain"),
    pytest.param("gru", False, 1, id="gru, plain"),
]


def network(cell: str, attention: bool, n_layers: int, dropout: float = 0.0) -> EncoderDecoder:
    torch.manual_seed(1)
    made = EncoderDecoder(
        S, V, embedding_size=6, hidden_size=5, n_layers=n_layers, cell=cell, attention=attention,
        dropout=dropout,
    )  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)  # far from uniform
    return made.eval()


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    source = torch.randint(S, (3, 8), generator=generator)
    tokens = torch.randint(V, (3, 6), generator=generator)
    tokens[:, 0] = 0
    return source, torch.tensor([8, 3, 6]), tokens


@pytest.mark.parametrize(("cell", "attention", "n_layers"), KINDS)
@torch.no_grad()
def test_steps_equal_teacher_forcing(cell: str, attention: bool, n_layers: int) -> None:
    model = network(cell, attention, n_layers)
    source, lengths, tokens = batch()
    whole = model(source, lengths, tokens)
    torch.testing.assert_close(whole.logsumexp(-1), torch.zeros(3, 6), atol=1e-5, rtol=0)
    assert whole.std() > 0.2
    state = model.start(source, lengths)
    for i in range(6):
        log_probs, state = model.step(state, tokens[:, i])
        torch.testing.assert_close(log_probs, whole[:, i])


@pytest.mark.parametrize(("cell", "attention", "n_layers"), KINDS)
@torch.no_grad()
def test_a_batch_is_its_sequences(cell: str, attention: bool, n_layers: int) -> None:
    model = network(cell, attention, n_layers)
    source, lengths, tokens = batch()
    whole = model(source, lengths, tokens)
    other = source.clone()
    other[1, 3:] = 5  # padding
    torch.testing.assert_close(model(other, lengths, tokens), whole)
    for row, length in enumerate(lengths.tolist()):
        alone = model(source[row : row + 1, :length], torch.tensor([length]), tokens[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row])


@pytest.mark.parametrize(("cell", "attention", "n_layers"), KINDS)
@torch.no_grad()
def test_states_are_picked_by_row(cell: str, attention: bool, n_layers: int) -> None:
    model = network(cell, attention, n_layers)
    source, lengths, tokens = batch()
    _, state = model.step(model.start(source, lengths), tokens[:, 0])
    rows = torch.tensor([2, 0, 2])
    picked, _ = model.step(select_state(state, rows), tokens[rows, 1])
    every, _ = model.step(state, tokens[:, 1])
    torch.testing.assert_close(picked, every[rows])


@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_the_whole_source_is_read(attention: bool) -> None:
    model = network("lstm", attention, 1)
    source, lengths, tokens = batch()
    whole = model(source, lengths, tokens)
    for place in range(8):
        other = source.clone()
        other[0, place] = (other[0, place] + 1) % S
        assert (model(other, lengths, tokens)[0] - whole[0]).abs().max() > 1e-4


@torch.no_grad()
def test_alignment() -> None:
    model = network("lstm", True, 1)
    source, lengths, tokens = batch()
    weights = model.decoder.align(model.start(source, lengths), tokens)
    assert weights.shape == (3, 6, 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6))
    assert not weights[1, :, 3:].any()
    plain = network("lstm", False, 1)
    with pytest.raises(ConfigError, match="without attention"):
        plain.decoder.align(plain.start(source, lengths), tokens)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match="'transformer'"):
        network("transformer", True, 1)


@pytest.mark.parametrize("attention", [True, False])
def test_learns_to_reverse(attention: bool) -> None:
    torch.manual_seed(3)
    n_tokens, length = 5, 4
    model = EncoderDecoder(
        n_tokens, n_tokens, embedding_size=16, hidden_size=24, attention=attention
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def draw(n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        source = torch.randint(1, n_tokens, (n, length))
        lengths = torch.full((n,), length)
        end = torch.zeros(n, 1, dtype=torch.int64)
        backwards = source.flip(1)
        return source, lengths, torch.cat([end, backwards], 1), torch.cat([backwards, end], 1)

    for _ in range(300):
        source, lengths, inputs, targets = draw(32)
        log_probs = model(source, lengths, inputs)
        loss = -log_probs.gather(-1, targets[..., None]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if loss < 0.005:
            break
    source, lengths, inputs, targets = draw(200)
    with torch.no_grad():
        found = model(source, lengths, inputs).argmax(-1)
    assert (found == targets).float().mean() > 0.99


@torch.no_grad()
def test_places_inside_alone_give_the_same() -> None:
    model = network("gru", True, 1)
    source, lengths, tokens = batch()
    inside = torch.tensor([2, 6, 4])
    mask = sequence_mask(inside, 6)
    whole = model(source, lengths, tokens)
    torch.testing.assert_close(model(source, lengths, tokens, inside), whole[mask])
    targets = tokens.roll(-1, 1)
    for smoothing in (0.0, 0.1):
        expected = 0.0
        for row, length in enumerate(inside.tolist()):
            for i in range(length):
                of_target, mean = whole[row, i, targets[row, i]], whole[row, i].mean()
                expected -= float((1 - smoothing) * of_target + smoothing * mean)
        for given in (whole, whole[mask]):
            found = sequence_loss(given, targets, inside, smoothing)
            assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_decoder_reads_its_targets_a_step_later() -> None:
    assert teacher_forced(torch.tensor([[4, 5, 0], [6, 0, 0]])).tolist() == [[0, 4, 5], [0, 6, 0]]


def test_a_tied_output_is_the_table_of_vectors() -> None:
    torch.manual_seed(1)
    sizes = {"embedding_size": 6, "hidden_size": 5}
    tied = EncoderDecoder(S, V, **sizes, tie_embeddings=True)
    free = EncoderDecoder(S, V, **sizes)
    assert tied.decoder.output.weight is tied.decoder.embedding.weight
    assert sum(p.numel() for p in tied.decoder.output.parameters()) == V * 6 + V
    names = [name for name, _ in tied.named_parameters()]
    assert len(names) == len(list(free.named_parameters())) - 1
    source, lengths, tokens = batch()
    log_probs = tied(source, lengths, tokens)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(3, 6), atol=1e-5, rtol=0)
