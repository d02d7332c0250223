"""Wider networks answer as before, in both modes of their norms, and their copies part when they learn."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fusing.alignment.conftest import NETWORKS, drawn_network, pictures
from tests.reshaping.parts import answers, batch_of, changed, model_of, there_and_back
from torch import nn

from transfuse.core.errors import UsageError, WeightsError
from transfuse.reshaping.widening import TOLERANCE, widen
from transfuse.sources.bodies import of_function
from transfuse.sources.network import Network

FOLDERS = ("bert", "llama")
WHOLE = ("attention", "convnext", "swin", "vit", "encoder")  # their streams run through norms over channels


def network_of(name):
    body, _, head = of_function(drawn_network(name), (3, 32, 32))
    return Network(body.eval(), head or nn.Identity()).eval()


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("name", "ratio"), [*((name, 1.5) for name in NETWORKS), *((name, 2.0) for name in WHOLE)])
def test_every_kind_of_network_keeps_its_function(name, ratio):
    network = network_of(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    wider, change, facts = widen(network, pictures(), ratio)
    other = pictures(3, seed=7)
    assert size(wider) > (1.05 if name in WHOLE and ratio < 2 else 1.2 * ratio / 1.5) * size(network)
    assert facts["difference"] <= TOLERANCE
    torch.testing.assert_close(answers(wider, other), answers(network, other), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert set(change["tensors"]) < {key.removeprefix("body.") for key in before}
    if name in WHOLE and ratio < 2:
        assert any("give 2 or more" in why for why in facts["kept"].values())


@pytest.mark.parametrize("name", ["resnet", "vit", "table"])
def test_a_saved_model_is_built_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model)
    wider, change, _ = widen(model.network, x, 2)
    ours, again = there_and_back(changed(model, wider, change), tmp_path / "model", x)
    assert torch.equal(ours, again)
    torch.testing.assert_close(ours, answers(model.network, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FOLDERS)
def test_networks_for_texts(name, tiny_networks, tmp_path):
    model = model_of(name, tiny_networks)
    x = batch_of(model)
    wider, change, facts = widen(model.network, x, 1.5)
    ours, again = there_and_back(changed(model, wider, change), tmp_path / "model", x)
    assert torch.equal(ours, again)
    assert facts["grown"]
    torch.testing.assert_close(ours, answers(model.network, x), rtol=1e-4, atol=1e-4)


def test_twice(tmp_path):
    model = model_of("resnet")
    x = batch_of(model)
    once, first, _ = widen(model.network, x, 1.5)
    twice, second, _ = widen(once, x, 1.5)
    ours, again = there_and_back(changed(model, twice, first, second), tmp_path / "model", x)
    assert torch.equal(ours, again)
    torch.testing.assert_close(ours, answers(model.network, x), rtol=1e-4, atol=1e-4)


def test_batch_norms_in_training_too():
    network = network_of("resnet")
    wider, _, _ = widen(network, pictures(), 1.5)
    torch.testing.assert_close(
        answers(wider.train(), pictures(8)), answers(network.train(), pictures(8)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_copies_part_under_any_optimiser(optimizer):
    network = network_of("mlp")
    wider, _, facts = widen(network, pictures(), 2)
    wider.requires_grad_(True).train()
    weight = wider.get_parameter("body.1.weight")
    assert facts["grown"]["body.1.weight[0]"] == [20, 40]
    assert int((_apart(weight) == 0).sum()) == 40  # every unit has one exact copy
    steps = optimizer(wider.parameters(), lr=1e-2)
    for step in range(3):
        steps.zero_grad()
        wider(pictures(8, seed=step)).square().sum().backward()
        steps.step()
    assert float(_apart(weight).min()) > 0


def _apart(weight):
    """Largest difference of every row from every other; 1 from itself."""
    rows = weight.detach()
    return (rows[:, None] - rows[None]).abs().amax(-1) + torch.eye(len(rows))


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(1.05, 4.0), st.integers(0, 2**31))
def test_any_ratio_and_seed(ratio, seed):
    network = network_of("grouped")
    wider, _, _ = widen(network, pictures(), ratio, seed=seed)
    torch.testing.assert_close(answers(wider, pictures(3)), answers(network, pictures(3)), rtol=1e-4, atol=1e-4)


def test_the_weight_of_a_unit_is_split_between_its_copies():
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 2)).eval()
    wider, change, _ = widen(network, torch.randn(2, 4), 2, seed=3)
    made, head = wider.get_parameter("body.1.weight").detach(), wider.get_parameter("head.weight").detach()
    old = network.get_parameter("body.1.weight").detach()
    came_from = [int((old == row).all(1).nonzero()[0, 0]) for row in made]
    assert sorted(came_from) == [0, 0, 1, 1, 2, 2]
    for unit in range(3):
        own = [i for i, source in enumerate(came_from) if source == unit]
        total = head[:, own].sum(1)
        np.testing.assert_allclose(total, network.get_parameter("head.weight").detach()[:, unit], rtol=1e-6)
        assert not torch.allclose(head[:, own[0]], head[:, own[1]])  # uneven, or they would never part
    assert change == {
        "change": "sizes",
        "tensors": {"1.weight": [6, 4], "1.bias": [6]},
        "attributes": {"1": {"out_features": 6}},
    }


class Numbered(nn.Module):
    """Its code holds numbers: of pixels, which happen to be as many as its channels, and of channels, by any name."""

    def __init__(self):
        super().__init__()
        self.img_size, self.out_chs, self.nf = 16, 32, 32
        self.one, self.two = nn.Conv2d(3, 16, 1), nn.Conv2d(16, 16, 3, padding=1, groups=16)

    def forward(self, x):
        assert x.shape[-1] == self.img_size
        x = torch.relu(self.one(x))
        return torch.cat([x, self.two(x)], 1)[:, : self.out_chs].mean((2, 3)).view(-1, self.nf)


def test_numbers_in_modules_follow_units_and_nothing_else():
    network = Network(Numbered(), nn.Linear(32, 3)).eval()
    x = torch.randn(2, 3, 16, 16)
    wider, change, _ = widen(network, x, 1.5)
    assert change["attributes"][""] == {"out_chs": 48, "nf": 48}
    torch.testing.assert_close(answers(wider, x), answers(network, x), rtol=1e-4, atol=1e-5)


class Added(nn.Module):
    """Its units are summed up without weights, so their number is part of the function."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 6)

    def forward(self, x):
        return torch.relu(self.one(x)).sum(1, keepdim=True)


@pytest.mark.parametrize("ratio", [1.0, 0.5, float("nan"), float("inf")])
def test_a_ratio_must_be_above_1(ratio):
    with pytest.raises(UsageError, match="`widen` must be above 1"):
        widen(network_of("mlp"), pictures(), ratio)


def test_what_cannot_grow_is_refused_with_the_reason():
    with pytest.raises(WeightsError, match="cannot be widened by 2: it is added up in body"):
        widen(Network(Added(), nn.Linear(1, 2)).eval(), torch.randn(2, 4), 2)
