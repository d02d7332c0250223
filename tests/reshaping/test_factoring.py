"""Layers of lower rank: the least change on the examples, within the budget, and the same again after saving."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reshaping.parts import answers, batch_of, changed, model_of, there_and_back
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.reshaping.factoring import factor
from transfuse.sources.changes.factored import two_of
from transfuse.sources.network import Network


def parameters(network):
    return sum(p.numel() for p in network.body.parameters())


def error(network, other, x):
    a, b = answers(network.body, x), answers(other.body, x)
    return float((a - b).square().sum() / a.square().sum())


def low_rank_inputs(count, size, rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, rank, generator=generator) @ torch.randn(rank, size, generator=generator)


def one_layer(inputs=40, outputs=30, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Network(nn.Sequential(nn.Linear(inputs, outputs), nn.Identity()), nn.Identity())


@settings(max_examples=15, deadline=None)
@given(rank=st.integers(1, 9), seed=st.integers(0, 99))
def test_answers_of_a_low_rank_are_kept_exactly(rank, seed):
    x = low_rank_inputs(200, 40, rank, seed)
    network = one_layer(seed=seed)
    smaller, change, _ = factor(network, [x], (rank * 70 + 30) / 1230)
    assert change["layers"] == {"0": rank}
    assert error(network, smaller, x) < 1e-4


def test_it_is_the_best_of_its_rank_on_the_examples():
    """Against the closed form through the inputs' second moment (SVD-LLM), on examples without a mean."""
    x = low_rank_inputs(500, 40, 40) * torch.linspace(0.1, 3, 40)
    x = x - x.mean(0)
    network = one_layer()
    network.body[0].bias.data.zero_()
    smaller, change, _ = factor(network, [x], 0.6)
    rank = change["layers"]["0"]
    root = torch.linalg.cholesky((x.T @ x).double())
    u, s, v = torch.linalg.svd(network.body[0].weight.detach().double() @ root)
    best = (u[:, :rank] * s[:rank]) @ v[:rank] @ torch.linalg.inv(root)
    wanted = answers(network.body, x).double() - x.double() @ best.T
    got = answers(network.body, x) - answers(smaller.body, x)
    assert float(got.double().square().sum()) == pytest.approx(float(wanted.square().sum()), rel=5e-3)
    blind, _, _ = factor(network, [x], 0.6, guide="weights")
    assert error(network, smaller, x) < 0.8 * error(network, blind, x)


def test_the_mean_is_kept():
    x = 5 + low_rank_inputs(300, 40, 20)
    network = one_layer()
    smaller, _, _ = factor(network, [x], 0.3)
    assert torch.allclose(answers(smaller.body, x).mean(0), answers(network.body, x).mean(0), atol=1e-3)


@pytest.mark.parametrize("name", ["resnet", "convnext", "efficientnet", "vit", "table"])
def test_a_smaller_model_is_saved_and_opened_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model, 16)
    network, change, facts = factor(model.network, [x[:8], x[8:]], 0.7)
    assert facts["parameters"] == [parameters(model.network), parameters(network)]
    assert 0.6 < parameters(network) / parameters(model.network) <= 0.7
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_texts_without_their_padding(name, tiny_networks, tmp_path):
    model = model_of(name, tiny_networks)
    x = batch_of(model, 16)
    network, change, _ = factor(model.network, [x], 0.8)
    assert change["layers"]
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)
    longer = torch.cat([x, torch.full((16, 5), -1)], 1)
    assert factor(model.network, [longer], 0.8)[1] == change


def test_operations_are_a_budget_of_their_own():
    model = model_of("resnet")
    x = batch_of(model)
    layers = factor(model.network, [x], 0.6, measure="operations")[1]["layers"]
    assert layers != factor(model.network, [x], 0.6)[1]["layers"]


@pytest.mark.parametrize("layer", [nn.Linear(6, 5, bias=False), nn.Conv2d(6, 5, 3, stride=2, padding=1, dilation=2)])
def test_two_layers_can_be_read_as_one(layer):
    two = two_of(layer, 3)
    x = torch.randn(4, 6) if isinstance(layer, nn.Linear) else torch.randn(4, 6, 9, 9)
    layer.weight.data, layer.bias = two.weight, two.bias
    assert torch.allclose(layer(x), two(x), atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_other_shares_are_refused(share):
    with pytest.raises(UsageError, match="`share` must be above 0"):
        factor(one_layer(), [torch.randn(9, 40)], share)


def test_a_share_out_of_reach_is_refused():
    with pytest.raises(UsageError, match="rank 1 everywhere"):
        factor(one_layer(), [torch.randn(9, 40)], 0.01)
