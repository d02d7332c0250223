"""Depthwise convolutions are computed in float32 beside bfloat16; all others are not."""

import pytest
import torch
from torch import nn

from transfuse.training.precision import autocast

CPU = torch.device("cpu")


def found(conv: nn.Conv2d, precision: str = "bfloat16") -> torch.Tensor:
    x = torch.randn(2, conv.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with autocast(CPU, precision):
        answer: torch.Tensor = conv(x)
    return answer


@pytest.mark.parametrize("stride", [1, 2])
def test_a_depthwise_convolution_is_that_of_float32(stride: int) -> None:
    conv = nn.Conv2d(6, 12, 3, stride, groups=6)
    answer = found(conv)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, found(conv, "float32"))


def test_its_gradients_too_behind_a_layer_in_bfloat16() -> None:
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, 2, groups=6))
    x = torch.randn(2, 3, 8, 8)
    with autocast(CPU, "bfloat16"):
        network(x).sum().backward()
    halves = network[0](x).detach().bfloat16().float().requires_grad_()
    expected = torch.autograd.grad(network[1](halves).sum(), network[1].weight)[0]
    assert network[1].weight.grad is not None
    torch.testing.assert_close(network[1].weight.grad, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("conv", [nn.Conv2d(6, 6, 3), nn.Conv2d(6, 6, 3, groups=3)])
def test_other_convolutions_are_in_bfloat16(conv: nn.Conv2d) -> None:
    assert found(conv).dtype == torch.bfloat16


def test_one_channel_has_no_groups_and_is_in_bfloat16() -> None:
    assert found(nn.Conv2d(1, 4, 3)).dtype == torch.bfloat16
