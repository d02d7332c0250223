"""Saved Models that are small enough to be written by hand."""

import pytest
import torch

from transfuse.core.nouns import Model, Preprocessing, Step
from transfuse.sources.functions import builder_of
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import rebuild

CODE = """
from torch import nn


def means():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity(), nn.BatchNorm1d(3))
"""


@pytest.fixture
def colours(tmp_path):
    """A function from a head's matrix to a saved Model that judges pictures by their mean colours."""
    (tmp_path / "nets.py").write_text(CODE)
    builder = {**builder_of(f"{tmp_path / 'nets.py'}:means", trust_code=True), "input": [3, 8, 8]}

    def make(name, weight, classes=("cat", "dog", "eel"), size=8, **fields):
        built = Network(rebuild(builder, trust_code=True), new_head(3, len(classes))).eval()
        with torch.no_grad():
            built.head.weight.copy_(torch.as_tensor(weight))
            built.head.bias.zero_()
            built.get_submodule("body.3").running_mean.fill_(len(name) / 100)
        model = Model(
            **{"name": name, "kind": "single-label", "builder": builder, "head": {"kind": "linear"}, "network": built,
               "preprocessing": Preprocessing(size=(size, size)), "provenance": Step(verb="transfer", method=name),
               "classes": classes, **fields},
        )  # fmt: skip
        return model.save(tmp_path / name)

    return make
