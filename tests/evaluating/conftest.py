"""A model that answers the strongest colour, and class folders of coloured pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transfuse.core.nouns import Examples, Model, Preprocessing, Step, Task
from transfuse.sources.functions import builder_of
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import rebuild

CLASSES = ("blue", "green", "red")
CHANNEL = {"red": 0, "green": 1, "blue": 2}
CODE = """
from torch import nn


def means():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity(), nn.BatchNorm1d(3))
"""


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """Its logits are ten times the mean colours."""
    (tmp_path / "nets.py").write_text(CODE)
    builder = {**builder_of(f"{tmp_path / 'nets.py'}:means", trust_code=True), "input": [3, 8, 8]}
    network = Network(rebuild(builder, trust_code=True), new_head(3, 3)).eval()
    with torch.no_grad():
        network.head.weight.copy_(10 * torch.eye(3)[[CHANNEL[name] for name in CLASSES]])
        network.head.bias.zero_()
    return Model(
        name="colours",
        kind="single-label",
        classes=CLASSES,
        preprocessing=Preprocessing(size=(8, 8)),
        builder=builder,
        head={"kind": "linear"},
        network=network,
        provenance=Step(verb="transfer", method="probe"),
    )


@pytest.fixture
def worse(model: Model) -> Model:
    """The same, but it takes every blue picture for a red one."""
    network = Network(model.network.body, new_head(3, 3)).eval()
    with torch.no_grad():
        network.head.weight.copy_(model.network.head.weight)
        network.head.bias.copy_(torch.tensor([-100.0, 0.0, 3.0]))
    return replace(model, name="worse", network=network)


def picture(name: str, generator: np.random.Generator) -> np.ndarray:
    """uint8 (12, 12, 3), noisy, strongest in one colour."""
    pixels = generator.integers(0, 90, (12, 12, 3))
    pixels[:, :, CHANNEL[name]] += 120
    return pixels.astype(np.uint8)


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes class folders with so many pictures of each name."""

    def write(name: str, **counts: int) -> Path:
        generator = np.random.default_rng(0)
        for label, count in counts.items():
            (tmp_path / name / label).mkdir(parents=True)
            for place in range(count):
                shown = label if label in CHANNEL else "red"
                Image.fromarray(picture(shown, generator)).save(tmp_path / name / label / f"{place}.png")
        return tmp_path / name

    return write


@pytest.fixture
def task() -> Task:
    """24 test pictures; 2 of the 8 blue ones are labelled green."""
    generator = np.random.default_rng(1)
    shown = [CLASSES[place % 3] for place in range(24)]
    targets = np.array([CLASSES.index(name) for name in shown])
    targets[np.flatnonzero(targets == 0)[:2]] = 1
    names = tuple(f"row {place}" for place in range(24))
    test = Examples(items=[picture(name, generator) for name in shown], targets=targets, digests=names, names=names)
    return Task(name="t", kind="single-label", classes=CLASSES, splits={"test": test}, seed=0, digest="d")
