"""Attacks: against the worst case of a linear model, which is known exactly; balls and boxes; pixels of 0 and 1."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.perturbing.attacks import (
    Ball,
    cross_entropy,
    fgsm,
    gradient,
    noisy_fgsm,
    pgd,
    projected,
    started,
    withstood,
)

SHAPE = (3, 2, 4)
COUNT = math.prod(SHAPE)


def linear(scale: float = 1.0) -> nn.Module:
    """Two classes whose logits are ±½ w·x."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(COUNT, 2))
    torch.manual_seed(0)
    with torch.no_grad():
        weight = scale * torch.randn(COUNT)
        network[1].weight.copy_(torch.stack([weight, -weight]) / 2)
        network[1].bias.zero_()
    return network


def pictures(count: int = 12, low: float = 0.3, high: float = 0.7) -> Tensor:
    """Pixels so far from 0 and 1 that the box is not in the way."""
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(count, *SHAPE, generator=generator)


def margins(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Logit of the truth minus the other one."""
    logits = network(x)
    return logits.gather(1, y[:, None])[:, 0] - logits.gather(1, 1 - y[:, None])[:, 0]


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_the_worst_case_of_a_linear_model_is_found(norm: str, dual: int, steps: int):
    """The margin falls by eps · ‖w‖ in the dual norm, and by no more (Goodfellow et al., section 5)."""
    network, x, ball = linear(), pictures(), Ball(eps=0.1, norm=norm)
    y = network(x).argmax(1)
    found = pgd(network, x, y, ball=ball, keys_B=range(12), steps=steps)
    weight = network[1].weight[0] - network[1].weight[1]
    expected = margins(network, x, y) - 0.1 * weight.norm(dual)
    tolerance = {1: 0.2, 7: 0.01, 20: 0.001}[steps] if norm == "l2" or steps == 1 else 1e-5
    reached = margins(network, found, y)
    assert (reached >= expected - 1e-5).all()
    assert ((reached - expected) <= tolerance * 0.1 * weight.norm(dual)).all()


def test_what_withstands_is_what_the_worst_case_leaves():
    network, x, y = linear(), pictures(200), torch.arange(200) % 2
    weight = network[1].weight[0] - network[1].weight[1]
    exact = margins(network, x, y) > 0.05 * weight.norm(1)
    found = withstood(network, x, y, ball=Ball(eps=0.05), keys_B=range(200))
    assert torch.equal(found, exact) and 0 < int(exact.sum()) < 150


class Counted(nn.Module):
    """Looks at the sum of pixels: white pictures fall by getting darker, black ones by getting lighter."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([total - 0.9 * COUNT, 0.9 * COUNT - total], 1)


@pytest.mark.parametrize("attack", [fgsm, pgd])
def test_pixels_of_0_and_1_have_a_gradient(attack):
    """A clamp in the graph has none there, and leaves a white picture as it is: the trap of many an implementation."""
    x, y = torch.ones(4, *SHAPE), torch.zeros(4, dtype=torch.int64)
    found = attack(Counted(), x, y, ball=Ball(eps=0.2), keys_B=[1, 2, 3, 4])
    torch.testing.assert_close(found, torch.full_like(x, 0.8))
    assert not withstood(Counted(), x, y, ball=Ball(eps=0.2), keys_B=[1, 2, 3, 4]).any()
    slope, _ = gradient(Counted(), torch.cat([x, 0 * x]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), cross_entropy)
    assert (slope != 0).all()


def test_a_network_that_is_very_sure_has_a_gradient():
    """In float32 the probability is 1 and its gradient 0 from a margin of 17 on, in float64 from 37 on."""
    network, x = linear(200.0), pictures(50)
    y = network(x).argmax(1)
    sure = margins(network, x, y) > 20
    assert sure.sum() > 20 and margins(network, x, y).max() > 100
    assert (gradient(network, x, y, cross_entropy)[0][sure].flatten(1).abs().sum(1) > 0).all()


@settings(max_examples=60, deadline=None)
@given(
    eps=st.floats(0, 3), norm=st.sampled_from(["linf", "l2"]), seed=st.integers(0, 1000), steps=st.sampled_from([1, 3])
)
def test_whatever_is_found_lies_in_ball_and_box(eps: float, norm: str, seed: int, steps: int):
    ball, random = Ball(eps=eps, norm=norm), torch.Generator().manual_seed(seed)
    x = torch.rand(3, *SHAPE, generator=random).mul(1.4).sub(0.2).clamp(0, 1)  # some pixels of 0 and of 1
    keys = [seed, seed + 1, seed + 2]
    wild = x + 5 * torch.randn(x.shape, generator=random)
    found = [started(x, ball, keys), projected(wild, x, ball)]
    found.append(pgd(linear(), x, torch.tensor([0, 1, 0]), ball=ball, keys_B=keys, steps=steps))
    for point in found:
        offset = (point - x).flatten(1)
        size = offset.abs().max() if norm == "linf" else offset.norm(dim=1).max()
        assert size <= eps * (1 + 1e-5) + 1e-6 and point.min() >= 0 and point.max() <= 1


@settings(max_examples=40, deadline=None)
@given(eps=st.floats(0.01, 2), seed=st.integers(0, 1000), norm=st.sampled_from(["linf", "l2"]))
def test_projecting_twice_is_projecting_once_and_what_lies_inside_stays(eps: float, seed: int, norm: str):
    ball, random = Ball(eps=eps, norm=norm), torch.Generator().manual_seed(seed)
    x = torch.rand(2, *SHAPE, generator=random)
    once = projected(x + torch.randn(x.shape, generator=random), x, ball)
    torch.testing.assert_close(projected(once, x, ball), once, atol=1e-6, rtol=1e-5)


def test_a_start_is_each_examples_own():
    """Whatever stands beside it in the batch; and starts fill the ball."""
    x = pictures(400)
    keys = list(range(400))
    for norm in ("linf", "l2"):
        ball = Ball(eps=0.1, norm=norm)
        together = started(x, ball, keys)
        assert torch.equal(started(x[7:9], ball, keys[7:9]), together[7:9])
        assert not torch.equal(started(x, ball, keys[::-1]), together)
        offset = (together - x).flatten(1) / 0.1
        size = offset.abs() if norm == "linf" else offset.norm(dim=1)
        assert float(size.mean()) == pytest.approx(0.5, abs=0.05)  # uniform


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noisy_fgsm_steps_by_eps_from_noise_of_twice_that(norm: str):
    network, x, ball = linear(), pictures(), Ball(eps=0.05, norm=norm)
    found = noisy_fgsm(network, x, torch.zeros(12, dtype=torch.int64), ball=ball, keys_B=range(12))
    offset = (found - started(x, Ball(eps=0.1, norm=norm), range(12))).flatten(1)
    size = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    torch.testing.assert_close(size, torch.full((12,), 0.05), atol=1e-5, rtol=0)
    assert (network(found)[:, 0] < network(found - offset.view(x.shape))[:, 0]).all()


def test_statistics_gradients_and_modes_are_left_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(32, 2))
    network.train()
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    y = torch.zeros(12, dtype=torch.int64)
    one, again = (pgd(network, pictures(), y, ball=Ball(eps=0.1), keys_B=range(12)) for _ in range(2))
    assert torch.equal(one, again)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training and network[2].training and not network[1].training


def test_a_network_without_gradients_is_told_in_words():
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.detach() > 0.5).float().flatten(1)[:, :2]

    with pytest.raises(UsageError, match="does not let them through"):
        pgd(Counts(), pictures(), torch.zeros(12, dtype=torch.int64), ball=Ball(eps=0.1), keys_B=range(12))


@pytest.mark.parametrize("wrong", [{"eps": -0.1}, {"eps": float("nan")}, {"eps": 0.1, "norm": "l0"}])
def test_a_ball_that_is_none_is_refused(wrong):
    with pytest.raises(UsageError):
        Ball(**wrong)


def test_it_is_as_strong_as_autoattack():
    """Within 3 points above it on scikit-learn's digits 0 to 3; a clamp in the graph was 14 points above."""
    pytest.importorskip("pyautoattack")
    from sklearn.datasets import load_digits

    from transfuse.perturbing.autoattack import withstood_all

    digits = load_digits()
    few = digits.target < 4  # as many targets as AutoAttack has to try are what it takes
    x = torch.from_numpy(digits.images[few, None] / 16).float()
    y = torch.from_numpy(digits.target[few])
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 4))
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[200:]), y[200:]).backward()
        optimizer.step()
    ball = Ball(eps=0.1)
    own = withstood(network, x[:100], y[:100], ball=ball, keys_B=range(100)).numpy()
    best = withstood_all(network, x[:100], y[:100], ball=ball, classes=4, seed=0).numpy()
    assert 0.2 < best.mean() < 0.8
    assert own.mean() - best.mean() <= 0.03
    assert np.mean(best & ~own) <= 0.02  # what withstands AutoAttack withstands this
