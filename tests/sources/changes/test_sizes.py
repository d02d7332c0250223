"""Sizes from a file: what fits is made, what does not is refused before anything large is made."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import ModelError
from transfuse.sources.changes.sizes import replayed


def body():
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6))


def change(tensors=(), attributes=()):
    return {"change": "sizes", "tensors": dict(tensors), "attributes": dict(attributes)}


def test_tensors_and_numbers_are_those_of_the_change():
    wanted = {"0.weight": [9, 4], "0.bias": [9], "1.weight": [9], "1.bias": [9]}
    numbers = {"0": {"out_features": 9}, "1": {"normalized_shape": [9]}}
    made = replayed(body(), change(wanted, numbers))
    assert made[0].out_features == 9 and made[1].normalized_shape == (9,)
    assert made(torch.randn(2, 4)).shape == (2, 9)
    assert float(made[0].weight.detach().std()) > 0


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (change({"2.weight": [1]}), "does not have"),
        (change({"0.weight": [10**6, 10**6]}), "shape of at most"),
        (change({"0.weight": [-1, 4]}), "shape of at most"),
        (change({"0.weight": "9"}), "shape of at most"),
        (change({}, {"0": {"out_features": "9"}}), "which is none"),
        (change({}, {"0": {"forward": 9}}), "which is none"),
        (change({}, {"0": {"training": 1}}), "which is none"),
        (change({}, {"1": {"normalized_shape": [9, "x"]}}), "which is none"),
    ],
)
def test_what_is_no_size_is_refused(wrong, told):
    with pytest.raises(ModelError, match=told):
        replayed(body(), wrong)
