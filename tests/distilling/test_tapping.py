"""Inner layers by module path: what is read is what the module gave."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import UnknownName, UsageError
from transfuse.distilling.tapping import Taps, as_map, last_map


class Overwriting(nn.Module):
    """A batch norm whose output a later operation overwrites, and a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.relu, self.pair = nn.ReLU(inplace=True), nn.Identity()
        self.both = nn.LSTM(4, 4)
        self.unused = nn.Linear(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.pair(self.pair(x)).mean((2, 3))
        return self.both(x)[0]


@pytest.fixture
def net() -> Overwriting:
    torch.manual_seed(0)
    return Overwriting().eval()


def test_an_overwritten_tap_is_found_and_copied(net: Overwriting):
    x = torch.randn(2, 3, 8, 8)
    expected = net.norm(net.conv(x))
    with Taps(net, ["norm", "conv", "relu"], "student") as taps:
        taps.checked(x)
        assert taps.copied == {"norm"}
        net(x)
        found = taps.read()
    torch.testing.assert_close(found["norm"], expected)
    assert expected.min() < 0 == found["relu"].min()


def test_gradients_of_a_copied_tap_are_those_of_the_layer(net: Overwriting):
    x = torch.randn(2, 3, 8, 8)
    with Taps(net, ["norm"], "student") as taps:
        taps.checked(x)
        net(x)
        taps.read()["norm"].pow(2).sum().backward()
    got = net.conv.weight.grad.clone()
    net.zero_grad()
    net.norm(net.conv(x)).pow(2).sum().backward()
    torch.testing.assert_close(got, net.conv.weight.grad)


def test_no_hook_is_left(net: Overwriting):
    with Taps(net, ["norm"], "student"):
        pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("path", "error", "words"),
    [
        ("nrm", UnknownName, "Did you mean 'norm'"),
        ("pair", UsageError, "'pair' of the student is run 2 times"),
        ("unused", UsageError, "'unused' of the student is run 0 times"),
        ("both", UsageError, "'both' of the student gives tuple"),
    ],
)
def test_what_cannot_be_tapped_is_said(net: Overwriting, path, error, words):
    with pytest.raises(error, match=words), Taps(net, [path], "student") as taps:
        taps.checked(torch.randn(2, 3, 8, 8))


@pytest.mark.parametrize(
    ("shape", "channels_last", "expected"),
    [
        ((2, 5, 4, 3), False, (2, 5, 4, 3)),
        ((2, 4, 3, 5), True, (2, 5, 4, 3)),
        ((2, 16, 5), False, (2, 5, 4, 4)),
        ((2, 17, 5), False, (2, 5, 4, 4)),
        ((2, 12, 5), False, (2, 5, 12, 1)),
        ((2, 5), False, (2, 5)),
    ],
)
def test_maps_have_their_channels_second(shape, channels_last, expected):
    assert as_map(torch.zeros(shape), channels_last).shape == expected


def test_the_token_of_the_class_is_left_out():
    tokens = torch.arange(2 * 17 * 3.0).view(2, 17, 3)
    assert as_map(tokens, False)[0, :, 0, 0].tolist() == tokens[0, 1].tolist()


def test_the_last_map_is_that_before_pooling(net: Overwriting):
    assert last_map(net, torch.randn(2, 3, 8, 8)) == ("relu", "norm")  # `pair` runs twice
    body = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_map(body, torch.randn(2, 3, 8, 8)) == ("0", "0.1")
