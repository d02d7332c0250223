"""Folding: the same outputs, gradients of the same parameters, and nothing left behind."""

import pytest
import torch
from torch import nn

from transfuse.sources.folding import folded
from transfuse.sources.opening import rebuild


def network(name: str) -> nn.Module:
    net = rebuild({"timm": name, "arguments": {}})
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics of their own, or folding would change nothing
            module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
            module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return net.eval()


def gradients(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    net.zero_grad()
    net(x).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}


@pytest.mark.parametrize(("name", "pairs"), [("test_resnet", 15), ("mobilenetv3_small_050", 34), ("test_vit", 0)])
def test_a_folded_network_is_the_same_function_with_the_same_gradients(name: str, pairs: int) -> None:
    side = 160 if "vit" in name else 64
    net, x = network(name), torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    expected, output = gradients(net, x), net(x).detach()
    with folded(net, x[:2]) as count:
        found = gradients(net, x)
        torch.testing.assert_close(net(x).detach(), output, rtol=1e-4, atol=1e-5)
    assert count == pairs
    for parameter, value in expected.items():
        torch.testing.assert_close(found[parameter], value, rtol=1e-3, atol=5e-4 * float(value.abs().max()))


def test_folding_follows_parameters_unless_they_are_constant() -> None:
    net, x = network("test_resnet"), torch.rand(2, 3, 64, 64)
    with torch.no_grad(), folded(net, x):
        for parameter in net.parameters():
            parameter.mul_(0.9)
        moved = net(x)
    torch.testing.assert_close(net(x).detach(), moved, rtol=1e-4, atol=1e-6)
    with torch.no_grad(), folded(net, x, constant=True):
        torch.testing.assert_close(net(x), moved, rtol=1e-4, atol=1e-6)


def test_norms_in_training_mode_normalise_by_the_batch() -> None:
    net, x = network("test_resnet"), torch.rand(4, 3, 64, 64)
    with folded(net, x):
        net.train()
        before = net.bn1.running_mean.clone()
        found = net(x).detach()
        assert not torch.equal(net.bn1.running_mean, before)
    torch.testing.assert_close(found, net(x).detach())


def test_nothing_is_left_behind() -> None:
    net, x = network("test_resnet"), torch.rand(2, 3, 64, 64)
    with pytest.raises(RuntimeError, match="stop"), folded(net, x):
        raise RuntimeError("stop")
    assert not any("forward" in module.__dict__ for module in net.modules())


class Branching(nn.Module):
    """The convolution's output is used beside the norm too: folding would change it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolution(x)
        return self.norm(y) + y


class ChangedInPlace(Branching):
    """What reaches the norm is the convolution's tensor, but no longer its values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.convolution(x).relu_())


@pytest.mark.parametrize("kind", [Branching, ChangedInPlace])
def test_what_cannot_be_folded_stays(kind: type[nn.Module]) -> None:
    net, x = kind().eval(), torch.rand(2, 3, 8, 8)
    expected = net(x)
    with folded(net, x) as count:
        assert count == 0
        assert torch.equal(net(x), expected)
