"""Masks, reversal and the convolutional subsampling: exact lengths, no leak of padding."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr.errors import ConfigError
from asr.nn.masking import mask_padding, reverse_padded, sequence_mask
from asr.nn.subsampling import ConvSubsampling, ResidualBlock

FACTORS = (2, 3, 4, 8)

every_factor = pytest.mark.parametrize("factor", FACTORS)


def make(factor: int, n_features: int = 20, *, with_blocks: bool = False) -> ConvSubsampling:
    torch.manual_seed(0)
    plain = ConvSubsampling(n_features, 6, factor, 10)
    if not with_blocks:
        return plain
    n_blocks = [2, 1, 1][: len(plain.convolutions)]
    subsampling = ConvSubsampling(n_features, 6, factor, 10, n_blocks)
    for parameter in subsampling.blocks.parameters():
        nn.init.normal_(parameter, std=0.2)
    return subsampling


def test_sequence_mask() -> None:
    mask = sequence_mask(torch.tensor([3, 0, 1]), 3)
    assert mask.tolist() == [[True, True, True], [False, False, False], [True, False, False]]


def test_mask_padding_takes_any_rank_and_type_and_drops_nan() -> None:
    lengths = torch.tensor([1, 2])
    x = torch.full((2, 2, 3, 4), float("nan"), dtype=torch.bfloat16)
    x[0, 0], x[1] = 5, 7
    y = mask_padding(x, lengths)
    assert y.dtype == torch.bfloat16
    assert y[:, :, 0, 0].tolist() == [[5, 0], [7, 7]]
    assert mask_padding(torch.tensor([[4, 4], [4, 4]]), lengths).tolist() == [[4, 0], [4, 4]]


def test_reverse_padded_reverses_inside_only_and_undoes_itself() -> None:
    x = torch.arange(1.0, 9).view(2, 4, 1)
    lengths = torch.tensor([3, 0])
    y = reverse_padded(x, lengths)
    assert y[..., 0].tolist() == [[3, 2, 1, 4], [5, 6, 7, 8]]
    assert torch.equal(reverse_padded(y, lengths), x)


@every_factor
def test_length_is_the_ceiling_for_every_number_of_frames(factor: int) -> None:
    subsampling = make(factor, n_features=5)
    for n_frames in range(1, 40):
        y, lengths = subsampling(torch.randn(1, n_frames, 5), torch.tensor([n_frames]))
        assert y.shape == (1, math.ceil(n_frames / factor), 10)
        assert lengths.tolist() == [math.ceil(n_frames / factor)]
    assert subsampling.output_lengths(torch.tensor([0, 1, factor, factor + 1])).tolist() == [
        0,
        1,
        1,
        2,
    ]


@every_factor
def test_output_frame_is_centred_on_its_input_frame(factor: int) -> None:
    """With kernels that only pick their centre, output t is input t * factor."""
    subsampling = ConvSubsampling(1, 1, factor, 1)
    for convolution in subsampling.convolutions:
        nn.init.dirac_(convolution.weight)
        nn.init.zeros_(convolution.bias)
    nn.init.ones_(subsampling.projection.weight)
    nn.init.zeros_(subsampling.projection.bias)
    x = torch.arange(1.0, 30).view(1, -1, 1)
    y, _ = subsampling(x, torch.tensor([29]))
    assert torch.equal(y, x[:, ::factor])


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 70), min_size=2, max_size=5).filter(any),
    factor=st.sampled_from(FACTORS),
    n_features=st.sampled_from([20, 13]),
    with_blocks=st.booleans(),
)
def test_alone_equals_batched(
    lengths: list[int], factor: int, n_features: int, with_blocks: bool
) -> None:
    subsampling = make(factor, n_features, with_blocks=with_blocks)
    x = torch.randn(len(lengths), max(lengths) + 3, n_features)
    x[~sequence_mask(torch.tensor(lengths), x.shape[1])] = float("nan")
    y, y_lengths = subsampling(x, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        n_out = math.ceil(length / factor)
        assert y_lengths[row] == n_out
        assert not y[row, n_out:].any()
        if length:
            alone, _ = subsampling(x[row, None, :length], torch.tensor([length]))
            torch.testing.assert_close(y[row, :n_out], alone[0], atol=1e-5, rtol=0)


@every_factor
@pytest.mark.parametrize("with_blocks", [False, True])
def test_gradients_are_right_and_padding_has_none(factor: int, with_blocks: bool) -> None:
    subsampling = make(factor, n_features=4, with_blocks=with_blocks).double()
    lengths = torch.tensor([9, 4])
    x = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: subsampling(x, lengths)[0], x)
    subsampling(x, lengths)[0].square().sum().backward()
    assert x.grad is not None
    assert x.grad[0].any()
    assert not x.grad[1, 4:].any()


def test_new_blocks_change_nothing_and_learn() -> None:
    plain = make(4)
    grown = ConvSubsampling(20, 6, 4, 10, [1, 2])
    missing = grown.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert len(missing) == 3 * 4
    x, lengths = torch.randn(2, 50, 20), torch.tensor([50, 31])
    expected, _ = plain(x, lengths)
    y, _ = grown(x, lengths)
    assert torch.equal(y, expected)
    y.square().sum().backward()
    assert all(block.outer.weight.grad.any() for stage in grown.blocks for block in stage)


def test_a_block_is_what_its_equation_says() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3)
    nn.init.normal_(block.outer.weight)
    nn.init.normal_(block.outer.bias)
    x = torch.randn(1, 3, 8, 5)
    inside = nn.functional.conv2d(x.relu(), block.inner.weight, block.inner.bias, padding=1).relu()
    outer = nn.functional.conv2d(inside, block.outer.weight, block.outer.bias, padding=1)
    found = block(x, torch.zeros(1, 1, 8, 1, dtype=torch.bool))
    torch.testing.assert_close(found, x + outer)


def test_bfloat16_autocast_is_close_to_float32() -> None:
    subsampling = make(4)
    x, lengths = torch.randn(2, 50, 20), torch.tensor([50, 31])
    expected, _ = subsampling(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = subsampling(x, lengths)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, atol=0.03, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@every_factor
def test_cuda_equals_cpu(factor: int) -> None:
    subsampling = make(factor).double()
    x, lengths = torch.randn(3, 50, 20, dtype=torch.float64), torch.tensor([50, 31, 7])
    expected, _ = subsampling(x, lengths)
    y, y_lengths = subsampling.cuda()(x.cuda(), lengths.cuda())
    torch.testing.assert_close(y.cpu(), expected)
    assert torch.equal(y_lengths.cpu(), subsampling.output_lengths(lengths))


def test_bad_input_is_named() -> None:
    with pytest.raises(ConfigError, match="subsampling factor 5: use one of 2, 3, 4, 8"):
        ConvSubsampling(80, 32, 5, 320)
    with pytest.raises(ConfigError, match=r"residual blocks \[1\]: .* by 4 has 2 convolutions"):
        ConvSubsampling(80, 32, 4, 320, [1])
    with pytest.raises(ValueError, match=r"features \(2, 30, 40\): needs \(batch, frames, 20\)"):
        make(2)(torch.randn(2, 30, 40), torch.tensor([30, 30]))
