"""Matching finds a planted order again, and brings unrelated networks nearer."""

import numpy as np
import pytest
import torch

from transfuse.fusing.alignment.correlating import activation_matched
from transfuse.fusing.alignment.matching import assigned, weight_matched
from transfuse.fusing.alignment.permuting import drawn, permuted

NAMES = ("mlp", "vgg", "attention", "encoder", "swin", "resnet", "convnext", "mobilenet", "regnet", "vit")


def differing(a, b):
    return [name for name in a if not torch.equal(a[name], b[name])]


@pytest.mark.parametrize("name", NAMES)
def test_weight_matching_recovers_a_planted_order_exactly(name, found):
    network, symmetry = found(name)
    state = network.state_dict()
    planted = permuted(state, symmetry, drawn(symmetry, 3))
    assert differing(state, planted)
    orders = weight_matched(state, planted, symmetry, names=[n for n, _ in network.named_parameters()])
    assert differing(state, permuted(planted, symmetry, orders)) == []


@pytest.mark.parametrize("name", ["mlp", "attention", "encoder", "swin", "convnext", "vit"])
def test_activation_matching_recovers_a_planted_order_exactly(name, found, some_pictures):
    network, symmetry = found(name)
    state = network.state_dict()
    planted = permuted(state, symmetry, drawn(symmetry, 3))
    orders = activation_matched(state, planted, symmetry, [some_pictures(4, seed) for seed in range(8)])
    back = permuted(planted, symmetry, orders)
    with torch.no_grad():
        want, have = (torch.func.functional_call(network, s, (some_pictures(),)) for s in (state, back))
    torch.testing.assert_close(have, want)
    assert differing(state, back) == []


def test_a_planted_order_is_found_under_noise(found):
    network, symmetry = found("attention")
    state = network.state_dict()
    generator = torch.Generator().manual_seed(0)
    noisy = {name: t + 0.05 * torch.randn(t.shape, generator=generator) for name, t in state.items()}
    planted = permuted(noisy, symmetry, drawn(symmetry, 5))
    orders = weight_matched(state, planted, symmetry, names=list(state))
    assert differing(noisy, permuted(planted, symmetry, orders)) == []


def test_unrelated_networks_come_nearer(found, drawn_networks):
    network, symmetry = found("resnet")
    a, b = network.state_dict(), drawn_networks("resnet", 1).state_dict()
    names = [n for n, _ in network.named_parameters()]
    back = permuted(b, symmetry, weight_matched(a, b, symmetry, names=names))

    def distance(other):
        return sum(float((a[n] - other[n]).square().sum()) for n in names)

    assert distance(back) < 0.97 * distance(b)


def test_an_assignment_is_the_best_of_all():
    import itertools

    gain = np.random.default_rng(0).normal(size=(5, 5))
    best = max(itertools.permutations(range(5)), key=lambda order: gain[np.arange(5), order].sum())
    assert tuple(assigned(gain)) == best
