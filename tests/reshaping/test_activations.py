"""Activations are exchanged where they are modules, and named where they are not."""

from collections import Counter

import pytest
import torch
from tests.fusing.alignment.conftest import drawn_network, pictures
from tests.reshaping.parts import answers, batch_of, changed, model_of, there_and_back
from torch import nn

from transfuse.core.errors import UnknownName, UsageError
from transfuse.reshaping.activations import exchange
from transfuse.sources.network import Network
from transfuse.tracing.calls import operator_of
from transfuse.tracing.walking import traced


@pytest.mark.parametrize("name", ["resnet", "vit", "convnext", "efficientnet", "table"])
def test_another_activation_is_saved_and_opened_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model)
    network, change, facts = exchange(model.network, x, "elu")
    assert facts["functional"] == (["relu in the network"] if name == "table" else [])
    assert len(change["modules"]) == facts["exchanged"]
    before, after = (operators(one.body, x) for one in (model.network, network))
    assert after["elu"] == facts["exchanged"] == sum(before.values()) - len(facts["functional"])
    assert facts["changed_by"] > 0
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)
    assert not torch.equal(mine, answers(model.network, x))


def operators(body, x):
    """How often each activation is called in a graph."""
    names = [operator_of(node).rstrip("_") for node in traced(body, x).graph.nodes]
    return Counter(name for name in names if name in ("relu", "gelu", "silu", "elu"))


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_those_of_configurations(name, tiny_networks, tmp_path):
    model = model_of(name, tiny_networks)
    x = batch_of(model)
    network, change, facts = exchange(model.network, x, "relu")
    assert (facts["exchanged"], facts["functional"]) == (2, [])
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)


def test_there_and_back_again_is_the_same_function():
    network = Network(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.GELU()), nn.Linear(6, 2)).eval()
    x = torch.randn(9, 4)
    there, change, _ = exchange(network, x, "relu")
    assert list(change["modules"]) == ["3"]
    by_hand = network.head(torch.relu(network.body[2](torch.relu(network.body[0](x)))))
    assert torch.allclose(answers(there, x), by_hand)


def test_functions_and_gates_stay():
    network = Network(drawn_network("encoder")[:-1], drawn_network("encoder")[-1]).eval()
    with pytest.raises(UsageError, match=r"relu in 3, which stay"):
        exchange(network, pictures(2), "gelu")
    gated = Network(nn.Sequential(nn.Linear(4, 5), nn.Sigmoid(), nn.ReLU()), nn.Linear(5, 2)).eval()
    assert list(exchange(gated, torch.randn(3, 4), "gelu")[1]["modules"]) == ["2"]


def test_unknown_activations_are_refused():
    with pytest.raises(UnknownName, match="relu"):
        exchange(model_of("table").network, torch.randn(2, 4), "rellu")
