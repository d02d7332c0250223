"""Balances against likelihoods, closed forms and the papers' definitions written out with autograd."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from transfuse.training.balancing import ASYMMETRY, Equal, GradNorm, Uncertainty, balance_of

SOME = torch.zeros(())


def test_uncertainty_is_the_negative_logarithm_of_the_gaussian_likelihood():
    balance = Uncertainty(["regression"])
    with torch.no_grad():
        balance.log_variance_T.fill_(0.7)
    y_N, found_N = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([0.1, -1.0, 1.0])
    deviation = math.exp(0.35)
    expected = -torch.distributions.Normal(found_N, deviation).log_prob(y_N).mean() - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(balance(((y_N - found_N) ** 2).mean()[None], SOME), expected)


@given(st.floats(0.01, 20), st.floats(0.01, 20))
def test_the_best_uncertainties_are_those_of_the_closed_form(squared: float, entropy: float):
    balance = Uncertainty(["regression", "single-label"])
    losses_T = torch.tensor([squared, entropy])
    with torch.no_grad():
        balance.log_variance_T.copy_(torch.tensor([math.log(squared), math.log(2 * entropy)]))
    value = balance(losses_T, SOME)
    value.backward()
    np.testing.assert_allclose(balance.log_variance_T.grad, 0, atol=1e-5)
    assert value.item() == pytest.approx(1 + 0.5 * math.log(squared) + 0.5 * math.log(2 * entropy), abs=1e-4)
    np.testing.assert_allclose(balance.weights(), [1 / (2 * squared), 1 / (2 * entropy)], rtol=1e-5)


class Toy(nn.Module):
    """Two tasks on one matrix; the losses of the second are ten times as large."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 3, bias=False).double()
        self.heads = nn.ModuleList(nn.Linear(3, 1).double() for _ in range(2))
        self.x_BD, self.y_BT = torch.randn(8, 4).double(), torch.randn(8, 2).double() * torch.tensor([1.0, 10.0])

    def losses(self) -> list[torch.Tensor]:
        features_BD = torch.tanh(self.trunk(self.x_BD))
        return [((head(features_BD)[:, 0] - self.y_BT[:, t]) ** 2).mean() for t, head in enumerate(self.heads)]


def test_gradnorm_learns_by_the_gradient_of_the_paper_s_definition():
    toy, first = Toy(), (1.3, 40.0)
    balance = GradNorm(first).double()
    with torch.no_grad():
        balance.logit_T.copy_(torch.tensor([0.4, -0.3]))
    balance(torch.stack(toy.losses()), toy.trunk.weight).backward()

    # Algorithm 1 of arXiv 1711.02257: G_i = |grad_W w_i L_i|, its wanted length held constant
    w_T = (2 * balance.logit_T.detach().softmax(0)).requires_grad_(True)
    losses = toy.losses()
    lengths = [torch.autograd.grad(w * loss, toy.trunk.weight, create_graph=True)[0].norm()
               for w, loss in zip(w_T, losses, strict=True)]  # fmt: skip
    mean = sum(length.item() for length in lengths) / 2
    left = [loss.item() / begun for loss, begun in zip(losses, first, strict=True)]
    wanted = [mean * (share / (sum(left) / 2)) ** ASYMMETRY for share in left]
    sum(abs(length - want) for length, want in zip(lengths, wanted, strict=True)).backward()
    p_T = w_T.detach() / 2
    jacobian_TT = 2 * (torch.diag(p_T) - torch.outer(p_T, p_T))  # of w = 2 softmax(v)
    torch.testing.assert_close(balance.logit_T.grad, jacobian_TT @ w_T.grad / mean)


def test_gradnorm_moves_the_network_by_the_weighted_losses_alone():
    toy, other = Toy(), Toy()
    balance = GradNorm((1.0, 1.0)).double()
    with torch.no_grad():
        balance.logit_T.copy_(torch.tensor([1.0, 0.0]))
    balance(torch.stack(toy.losses()), toy.trunk.weight).backward()
    a, b = balance.weights()
    (a * other.losses()[0] + b * other.losses()[1]).backward()
    assert a + b == pytest.approx(2)
    for one, same in zip(toy.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, same.grad)


def test_gradnorm_makes_gradients_of_one_length_when_tasks_learn_at_one_pace():
    toy = Toy()
    first = [loss.item() for loss in toy.losses()]
    balance = GradNorm(first).double()
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.02)
    for _ in range(500):
        optimizer.zero_grad()
        balance(torch.stack(toy.losses()), toy.trunk.weight).backward()
        optimizer.step()
    lengths = [torch.autograd.grad(toy.losses()[t], toy.trunk.weight)[0].norm().item() for t in range(2)]
    weighted = [w * length for w, length in zip(balance.weights(), lengths, strict=True)]
    assert lengths[1] > 5 * lengths[0] and weighted[1] == pytest.approx(weighted[0], rel=0.1)


@pytest.mark.parametrize("losses", [(0.0, 0.0), (1e-30, 3.0), (1e15, 1.0)])
def test_gradnorm_stays_finite(losses):
    weight = nn.Parameter(torch.ones(2, 2))
    balance = GradNorm((1.0, 1.0))
    value = balance(torch.stack([loss * weight.sum() for loss in torch.tensor(losses)]), weight)
    value.backward()
    assert balance.logit_T.grad is not None and balance.logit_T.grad.isfinite().all()


def test_one_task_has_nothing_to_balance():
    for name in ("equal", "uncertainty", "gradnorm"):
        assert isinstance(balance_of(name, ["regression"], [1.0]), Equal)
    assert Equal()(torch.tensor([1.0, 2.0]), SOME) == 3 and Equal().weights() is None
