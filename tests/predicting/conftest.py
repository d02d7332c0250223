"""Small models of every kind whose answers are known, without training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Model, Preprocessing, Step
from transfuse.sources.functions import builder_of
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import rebuild

CLASSES = ("red", "green", "blue")
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
CODE = """
from torch import nn


def means():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity(), nn.BatchNorm1d(3))
"""
Make = Callable[..., Model]


@pytest.fixture(scope="session")
def model_of() -> Make:
    """A function from a kind to a model with a random transformer of 32 pixels."""

    def make(kind: str = "single-label", name: str = "colours") -> Model:
        builder = {"timm": "test_vit", "arguments": {"img_size": [32, 32]}}
        body = rebuild(builder)
        torch.manual_seed(0)
        return Model(
            name=name,
            kind=kind,
            classes=CLASSES,
            preprocessing=Preprocessing(size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3),
            builder=builder,
            head={"kind": "mlp", "hidden": 8, "activation": "gelu", "dropout": 0.1},
            network=Network(body, new_head(64, 3, "mlp", 8, "gelu", 0.1)).eval(),
            temperature=1.7,
            provenance=Step(verb="transfer", method="probe", options={"seed": 0}, seconds=1.5),
            metrics={"test": {"accuracy": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40.0}}},
            licence="apache-2.0",
            target_scale=((10.0, 20.0, 30.0), (1.0, 2.0, 3.0)) if kind == "regression" else None,
        )

    return make


@pytest.fixture
def colour_model(tmp_path: Path, model_of: Make) -> Model:
    """A user's function whose features are the mean colours: the answer is the strongest colour."""
    (tmp_path / "nets.py").write_text(CODE)
    builder = {**builder_of(f"{tmp_path / 'nets.py'}:means", trust_code=True), "input": [3, 8, 8]}
    network = Network(rebuild(builder, trust_code=True), new_head(3, 3)).eval()
    with torch.no_grad():
        network.head.weight.copy_(10 * torch.eye(3))
        network.head.bias.zero_()
    pictures = Preprocessing(size=(8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
    return replace(
        model_of(), builder=builder, network=network, head={"kind": "linear"}, preprocessing=pictures, temperature=1.0
    )


@pytest.fixture
def pictures() -> list[np.ndarray]:
    """One picture of each colour, uint8 (20, 24, 3)."""
    return [np.full((20, 24, 3), COLOURS[name], np.uint8) for name in CLASSES]
