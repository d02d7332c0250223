"""Units that nothing misses go first; the size is met; what is left is a plain smaller network."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fusing.alignment.conftest import drawn_network, pictures
from tests.reshaping.parts import answers, batch_of, changed, model_of, there_and_back
from torch import nn

from transfuse.core.errors import UsageError, WeightsError
from transfuse.reshaping.importance import importance
from transfuse.reshaping.pruning import prune
from transfuse.reshaping.resizing import anatomy_of
from transfuse.sources.bodies import of_function
from transfuse.sources.changes.table import replayed
from transfuse.sources.network import Network
from transfuse.sources.opening import rebuild
from transfuse.training.losses import cross_entropy


def labelled(x, classes=3):
    return [(x, torch.arange(len(x)) % classes)]


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def network_of(name):
    body, _, head = of_function(drawn_network(name), (3, 32, 32))
    return Network(body.eval(), head or nn.Identity()).eval()


@pytest.mark.parametrize("name", ["vgg", "grouped", "regnet", "mobilenet", "convnext", "swin", "vit"])
def test_every_kind_of_network_gets_as_small_as_asked(name):
    network = network_of(name)
    before = answers(network, pictures())
    smaller, _, facts = prune(network, labelled(pictures(8), 5), 0.4, cross_entropy, rounds=2 if name == "vit" else 1)
    assert size(smaller) <= 0.6 * size(network)
    assert size(smaller) >= 0.3 * size(network)  # no more than needed, but for whole units
    assert answers(smaller, pictures(3)).shape == (3, 5)
    assert facts["sizes"]
    assert all(after < was for was, after in facts["sizes"].values())
    assert torch.equal(answers(network, pictures()), before)


@pytest.mark.parametrize("name", ["resnet", "vit", "table"])
def test_a_saved_model_is_built_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model, 8)
    smaller, change, _ = prune(model.network, labelled(x), 0.3, cross_entropy, rounds=1)
    ours, again = there_and_back(changed(model, smaller, change), tmp_path / "model", x)
    assert torch.equal(ours, again)


@pytest.mark.parametrize(
    ("name", "fixed", "free"),
    [
        ("grouped", "grouped.weight[0]", "mixed.weight[0]"),
        ("attention", "place[2]", "up.weight[0]"),
        ("encoder", "0.weight[0]", "3.linear1.weight[0]"),
    ],
)
def test_units_whose_number_the_code_needs_stay(name, fixed, free):
    network = network_of(name)
    smaller, _, facts = prune(network, labelled(pictures(8), 5), 0.1, cross_entropy, rounds=2)
    assert "depend on their number" in facts["kept"][f"body.{fixed}"]
    before, after = facts["sizes"][f"body.{free}"]
    assert after < before
    assert size(smaller) <= 0.9 * size(network)
    assert answers(smaller, pictures(3)).isfinite().all()


def test_units_that_do_nothing_go_first():
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(6, 20), nn.ReLU()), nn.Linear(20, 3)).eval()
    with torch.no_grad():
        network.head.weight[:, 5:] = 0.0  # nobody listens to these
    x = torch.randn(32, 6)
    smaller, _, facts = prune(network, labelled(x), 0.7, cross_entropy, rounds=1)
    assert facts["sizes"] == {"body.1.weight[0]": [20, 5]}
    torch.testing.assert_close(answers(smaller, x), answers(network, x))


def test_importance_is_the_squared_sum_of_gradient_times_weight():
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.Tanh()), nn.Linear(4, 3)).eval()
    batches = [(torch.randn(8, 6), torch.arange(8) % 3) for _ in range(2)]
    anatomy = anatomy_of(network, batches[0][0])
    found = importance(network, anatomy, batches, cross_entropy)[0]
    expected = torch.zeros(4, dtype=torch.float64)
    for x, y in batches:  # the derivative with respect to a factor on the unit's weights and bias
        factor = torch.ones(4, requires_grad=True)
        layer = network.body[1]
        hidden = torch.tanh(x @ (layer.weight.detach() * factor[:, None]).T + layer.bias.detach() * factor)
        cross_entropy(hidden @ network.head.weight.detach().T + network.head.bias.detach(), y).mean().backward()
        expected += factor.grad.double() ** 2
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-9)
    assert not any(parameter.grad is not None for parameter in network.parameters())


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.05, 0.6))
def test_any_share(share):
    network = network_of("grouped")
    smaller, _, _ = prune(network, labelled(pictures(8), 5), share, cross_entropy, rounds=1)
    assert size(smaller) <= (1 - share) * size(network) + 1
    assert answers(smaller, pictures(2)).isfinite().all()


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_must_be_between_0_and_1(share):
    with pytest.raises(UsageError, match="`prune` must be a share"):
        prune(network_of("mlp"), labelled(pictures(8), 5), share, cross_entropy)


def test_too_much_is_refused():
    with pytest.raises(WeightsError, match="keeps a tenth of its units"):
        prune(network_of("vit"), labelled(pictures(8), 5), 0.99, cross_entropy, rounds=1)


def test_without_its_weights_the_shape_is_drawn_not_empty():
    model = model_of("resnet")
    x = batch_of(model, 8)
    smaller, change, _ = prune(model.network, labelled(x), 0.3, cross_entropy, rounds=1)
    body = replayed(rebuild(model.builder), change)
    names = [name for name in change["tensors"] if name.endswith("conv1.weight")]
    assert names
    assert all(float(body.state_dict()[name].std()) > 0 for name in names)
    assert body.state_dict().keys() == smaller.body.state_dict().keys()
