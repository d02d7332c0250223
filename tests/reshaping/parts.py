"""Small Models of every kind, with nothing in them 0 or 1, and a trip through a saved folder."""

from dataclasses import replace

import torch
from torch import nn

import transfuse as tr
from transfuse.core.nouns import Column, Model, Step, TablePreprocessing
from transfuse.sources import inputs
from transfuse.sources.changes.table import with_change
from transfuse.sources.network import Network, head_from
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.tables.network import network_builder

TIMM = {"resnet": "test_resnet", "convnext": "test_convnext", "efficientnet": "test_efficientnet", "vit": "test_vit"}
CLASSES = ("cat", "dog", "eel")


def shaken(network, seed=0):
    """The network with noise on every gain, shift and statistic."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim < 2:
                tensor += 0.2 * torch.rand_like(tensor)
    return network


def model_of(name, folders=None, head=None, size=32):
    """A Model of a network of timm, of transformers (`bert`, `llama`: from `folders`) or for tables (`table`)."""
    head = head or {"kind": "linear"}
    if name == "table":
        preprocessing = TablePreprocessing(columns=tuple(Column(name=n, role="numeric") for n in "abcd"))
        builder, modality, body = network_builder(preprocessing, (16, 16)), "table", None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            body = rebuild(builder)
    else:
        source = tr.source(str(folders[name])) if folders else tr.source(f"random:timm:{TIMM[name]}", size=size)
        opened = open_source(source)
        builder, modality, body, preprocessing = source.builder, source.modality, opened.body, source.preprocessing
    blank = inputs.blank(preprocessing)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = head_from(head, body.eval()(blank).shape[1], len(CLASSES))
    return Model(
        name=name, modality=modality, kind="single-label", classes=CLASSES, preprocessing=preprocessing,
        builder=builder, head=head, network=shaken(Network(body, made)).eval().requires_grad_(False),
        provenance=Step(verb="test"),
    )  # fmt: skip


def batch_of(model, count=4, seed=0):
    """Random examples as its network takes them."""
    generator = torch.Generator().manual_seed(seed)
    blank = inputs.blank(model.preprocessing, count)
    if blank.dtype == torch.int64:
        ids = torch.randint(4, 40, (count, 7), generator=generator)
        ids[-1, 4:] = inputs.PADDING
        return ids
    shape = (count, *blank.shape[1:])
    return torch.randn(shape, generator=generator)


def changed(model, network, *changes):
    """The Model with another network, its changes in the builder."""
    builder = model.builder
    for change in changes:
        builder = with_change(builder, change)
    return replace(model, network=network, builder=builder)


def answers(network, x):
    """What it gives, without gradients."""
    with torch.no_grad():
        return network(x)


def there_and_back(model, folder, x):
    """The answers of a Model, and of the same saved and loaded again."""
    model.save(folder)
    return answers(model.network, x), answers(Model.load(folder).network, x)


def without_dropout(network):
    """In training mode, but nothing is left out."""
    network.train().requires_grad_(True)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return network
