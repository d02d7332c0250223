"""AutoAttack as it is called here: few classes, no eps, the layout of gradients, the same answer again."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import MissingExtra
from transfuse.perturbing import autoattack
from transfuse.perturbing.attacks import Ball


def network(classes: int) -> nn.Module:
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 16, classes))
    return found.to(memory_format=torch.channels_last)


def pictures(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_few_classes_are_attacked_too(classes: int):
    pytest.importorskip("pyautoattack")
    found, x = network(classes), pictures()
    y = found(x).argmax(1)
    before = torch.random.get_rng_state()
    broken = autoattack.withstood_all(found, x, y, ball=Ball(eps=0.9), classes=classes, seed=0)
    assert not broken.any() and torch.equal(before, torch.random.get_rng_state())
    y[:2] = (y[:2] + 1) % classes
    right = autoattack.withstood_all(found, x, y, ball=Ball(eps=0.0), classes=classes, seed=0)
    assert right.tolist() == [False] * 2 + [True] * 4


def test_gradients_are_laid_out_plainly():
    """The package views them as rows of numbers, which those of convolutions laid out channels-last are not."""
    pytest.importorskip("pyautoattack")
    x = pictures().to(memory_format=torch.channels_last).requires_grad_()
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 2)).to(memory_format=torch.channels_last)
    plain = torch.autograd.grad(features(x).sum(), x)[0]
    slope = torch.autograd.grad(autoattack._Contiguous(features)(x).sum(), x)[0]
    assert slope.is_contiguous() and not plain.is_contiguous()
    torch.testing.assert_close(slope, plain)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "pyautoattack", None)
    with pytest.raises(MissingExtra, match=r"transfuse\[robust\]"):
        autoattack.require_autoattack()
