"""Permutations found from the graph keep the network's function; what is not understood keeps its order."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from transfuse.fusing.alignment.permuting import change, drawn, identity, permuted, proven
from transfuse.fusing.alignment.symmetry import symmetry_of
from transfuse.tracing.walking import Untraceable

KINDS = {  # groups, and how many of them have an order of their own at each position of another
    "mlp": (2, 0),
    "vgg": (3, 0),
    "grouped": (6, 1),
    "attention": (5, 2),  # stream, hidden, heads; channels of queries and keys, channels of values
    "encoder": (5, 2),
    "swin": (10, 4),
    "resnet": (11, 0),
    "convnext": (13, 0),
    "mobilenet": (13, 0),
    "regnet": (14, 0),
    "vit": (5, 2),
}


@pytest.mark.parametrize("name", KINDS)
def test_random_orders_keep_the_function(name, found, some_pictures):
    network, symmetry = found(name)
    assert symmetry.unknown == ()
    assert change(network, symmetry, some_pictures(3, seed=1), drawn(symmetry, 1)) < 1e-12
    assert proven(network, symmetry, some_pictures()) == symmetry


@pytest.mark.parametrize(("name", "groups"), KINDS.items())
def test_everything_but_the_last_layer_is_found(name, groups, found):
    network, symmetry = found(name)
    within = sum(group.parent is not None for group in symmetry.groups)
    moved = {block.tensor for block in symmetry.blocks}
    still = [n for n, tensor in network.named_parameters() if n not in moved and tensor.numel() > 1]
    assert (len(symmetry.groups), within) == groups
    assert [n for n in still if network.get_parameter(n).shape != (5,)] == []  # all but the bias of the classes


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31))
def test_any_order_of_heads_and_of_channels_within_each(found, some_pictures, seed):
    network, symmetry = found("attention")
    orders = drawn(symmetry, seed)
    own = next(o for o, group in zip(orders, symmetry.groups, strict=True) if group.parent is not None)
    assert own.shape == (3, 8)
    assert change(network, symmetry, some_pictures(), orders) < 1e-12


def test_permuting_really_moves_units(found):
    network, symmetry = found("mlp")
    state = network.state_dict()
    moved, still = (permuted(state, symmetry, orders) for orders in (drawn(symmetry, 0), identity(symmetry)))
    assert all(torch.equal(still[name], state[name]) for name in state)
    assert not torch.equal(moved["3.running_var"], state["3.running_var"])
    assert torch.equal(moved["3.running_var"].sort().values, state["3.running_var"].sort().values)
    assert torch.equal(moved["6.bias"], state["6.bias"])


class Odd(nn.Module):
    """Its second layer sees sorted units, which tracing cannot follow by permutations."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(8, 12), nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x):
        return self.three(torch.relu(self.two(self.one(x).cumsum(1).sort(1).values)))


def test_what_is_not_understood_keeps_its_order_and_is_named():
    network = Odd()
    symmetry = symmetry_of(network, torch.randn(4, 8))
    assert [group.size for group in symmetry.groups] == [9]
    assert change(network, symmetry, torch.randn(4, 8), drawn(symmetry, 0)) < 1e-12


class Sorted(Odd):
    def forward(self, x):
        return self.three(torch.relu(self.two(torch.fft.rfft(self.one(x)).abs()[:, :1] * self.one(x))))


def test_the_place_that_is_not_understood_is_told():
    symmetry = symmetry_of(Sorted(), torch.randn(4, 8))
    assert symmetry.unknown == ("fft_rfft",) and [group.size for group in symmetry.groups] == [9]


def test_a_group_that_fails_the_proof_is_taken_out_and_named(found, some_pictures):
    network, symmetry = found("mlp")
    blocks = tuple(block for block in symmetry.blocks if block.tensor != "4.bias")  # as if a rule had missed it
    wrong = replace(symmetry, blocks=blocks)
    kept = proven(network, wrong, some_pictures())
    assert len(kept.unknown) == 1 and "changed what the network answers" in kept.unknown[0]
    assert change(network, kept, some_pictures(), drawn(kept, 0)) < 1e-12
    assert {g for block in kept.blocks for g in block.groups} - {None} == {0}


class Branching(nn.Module):
    def forward(self, x):
        return x if float(x.sum()) > 0 else -x


def test_a_network_that_cannot_be_traced_is_refused():
    with pytest.raises(Untraceable, match="Branching cannot be traced"):
        symmetry_of(Branching(), torch.randn(2, 3))


def test_tied_weights_share_their_orders():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
            self.three = nn.Linear(8, 8)
            self.three.weight = self.two.weight

        def forward(self, x):
            return self.out(torch.relu(self.three(torch.tanh(self.two(torch.relu(self.one(x)))))))

    network = Tied()
    symmetry = symmetry_of(network, torch.randn(3, 6))
    assert change(network, symmetry, torch.randn(3, 6), drawn(symmetry, 0)) < 1e-12
    assert len(symmetry.groups) == 1  # in and out of one matrix that is used twice
