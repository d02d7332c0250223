"""Deeper networks are the same function, in both modes, and learn in all of their layers."""

import copy

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fusing.alignment.conftest import NETWORKS, drawn_network, pictures
from tests.reshaping.parts import answers, batch_of, changed, model_of, shaken, there_and_back, without_dropout
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.reshaping.deepening import deepen
from transfuse.sources.bodies import of_function
from transfuse.sources.network import Network

FOLDERS = ("bert", "llama")


def network_of(name):
    network = drawn_network(name)
    body, _, head = of_function(network, (3, 32, 32))
    return Network(body.eval(), head or nn.Identity()).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network_keeps_its_function_in_both_modes(name):
    network, x = network_of(name), pictures(4)
    before = copy.deepcopy(network.state_dict())
    deeper, _, facts = deepen(network, x[:2])
    assert sum(facts["blocks"].values()) > 0
    assert torch.equal(answers(deeper, x), answers(network, x))
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    one, other = without_dropout(copy.deepcopy(network)), without_dropout(deeper)
    assert torch.equal(answers(other, x), answers(one, x))


MORE = {
    "densenet": ("densenet121", {"growth_rate": 8, "block_config": (2, 2)}),
    "cait": ("cait_xxs24_224", {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2, "patch_size": 8}),
    "xcit": ("xcit_nano_12_p8_224", {"img_size": 32, "depth": 2, "embed_dim": 24, "num_heads": 2}),
    "registers": ("test_vit3", {"img_size": 32}),
    "normaliser-free": ("test_nfnet", {}),
    "gated convolutions": ("test_mambaout", {}),
}


@pytest.mark.parametrize("name", MORE)
def test_more_architectures(name):
    of_timm, options = MORE[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model(of_timm, num_classes=0, **options)
    network, x = Network(shaken(made), nn.Identity()).eval(), pictures(3)
    deeper, _, facts = deepen(network, x[:2])
    assert sum(facts["blocks"].values()) > 0
    assert torch.equal(answers(deeper, x), answers(network, x))
    one, other = without_dropout(copy.deepcopy(network)), without_dropout(deeper)
    assert torch.equal(answers(other, x), answers(one, x))


@settings(max_examples=5, deadline=None)
@given(times=st.floats(2, 4), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_any_depth_keeps_the_answers_to_any_input(times, scale, seed):
    network = network_of("vit")
    deeper, _, _ = deepen(network, pictures(2), times)
    x = scale * pictures(3, seed)
    assert torch.equal(answers(deeper, x), answers(network, x))


@pytest.mark.parametrize("name", ["resnet", "convnext", "efficientnet", "vit", "table"])
def test_a_deeper_model_is_saved_and_opened_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model)
    network, change, _ = deepen(model.network, x, 2.5)
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)
    assert torch.equal(mine, answers(model.network, x))


@pytest.mark.parametrize("name", FOLDERS)
def test_transformers_for_texts_get_deeper(name, tiny_networks, tmp_path):
    model = model_of(name, tiny_networks)
    x = batch_of(model)
    network, change, facts = deepen(model.network, x)
    assert facts["blocks"] == {"copy": 2 * (name == "llama"), "gated": 2 * (name == "bert"), "new": 0}
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)
    assert torch.equal(mine, answers(model.network, x))


@pytest.mark.parametrize("name", ["resnet", "vit", "encoder", "vgg"])
def test_every_new_tensor_is_reached_within_two_steps(name):
    deeper, _, _ = deepen(network_of(name), pictures(2), 3)
    trained(deeper, 2)
    silent = [key for key, p in deeper.named_parameters() if not p.grad.any()]
    assert not silent


def test_copies_of_one_block_part_from_each_other():
    deeper, change, _ = deepen(network_of("vit"), pictures(2), 3)
    path = change["blocks"][0]["after"]
    trained(deeper, 3)
    original, one, other = (dict(deeper.body.get_submodule(f"{path}.{k}").named_parameters()) for k in range(3))
    assert not any(torch.equal(one[key], other[key]) for key in one if key.endswith("weight"))
    assert not any(torch.equal(one[key], original[key]) for key in one if key.endswith("weight"))


def trained(network, steps):
    learner = torch.optim.SGD(without_dropout(network).parameters(), 0.1)
    for step in range(steps):
        learner.zero_grad()
        network(pictures(4, step)).square().mean().backward()
        learner.step()


def test_it_can_be_deepened_again():
    network, x = network_of("vit"), pictures(3)
    once, _, _ = deepen(network, x[:2])
    twice, _, facts = deepen(once, x[:2])
    assert facts["blocks"]["copy"] == 2
    assert torch.equal(answers(twice, x), answers(network, x))


@pytest.mark.parametrize("times", [1.0, 0.5, 17.0, float("nan")])
def test_other_depths_are_refused(times):
    with pytest.raises(UsageError, match=r"`times` must be above 1"):
        deepen(network_of("mlp"), pictures(2), times)


def test_a_network_without_layers_is_refused():
    class Means(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(UsageError, match="none was found"):
        deepen(Network(Means(), nn.Linear(3, 2)), pictures(2))
