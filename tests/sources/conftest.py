"""Small networks, a small task and a cache of its own for the tests of sources."""

from pathlib import Path

import numpy as np
import pytest

from transfuse.core.nouns import Examples, Task

NETS = """
import torch
from torch import nn
from torch.nn import functional


class LambdaLayer(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv = nn.Conv2d(a, b, 3, 1 if a == b else 2, 1)
        self.bn = nn.BatchNorm2d(b)
        pad = (0, 0, 0, 0, (b - a) // 2, (b - a) // 2)
        self.shortcut = LambdaLayer(lambda x: functional.pad(x[:, :, ::2, ::2], pad)) if a != b else nn.Sequential()

    def forward(self, x):
        return functional.relu(self.bn(self.conv(x)) + self.shortcut(x))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(Block(8, 8), Block(8, 8))
        self.layer2 = nn.Sequential(Block(8, 16), Block(16, 16))
        self.linear = nn.Linear(16, 5)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer2(self.layer1(x))
        x = functional.avg_pool2d(x, x.size()[3])
        x = functional.dropout(x.view(x.size(0), -1), 0.5, training=self.training)
        return self.linear(x)


class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Sequential(Block(4, 8), Block(8, 8))

    def forward(self, x):
        shallow = self.first(x)
        return {"shallow": shallow, "deep": [shallow, self.second(shallow)]}


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x)
        if x.mean() > 0:
            x = x + 1
        return self.fc(x.mean((2, 3)))


def residual():
    return Residual()


def maps():
    return Maps()


def branching():
    return Branching()


def grey():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def broken():
    raise RuntimeError("out of order")


def number():
    return 3
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """A user's file with functions that build networks."""
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture
def task() -> Task:
    """37 training and 5 test pictures of several sizes."""
    generator = np.random.default_rng(0)

    def examples(count: int, name: str) -> Examples:
        shapes = [(24 + index % 3, 20, 3) for index in range(count)]
        return Examples(
            items=[generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes],
            targets=np.arange(count) % 3,
            digests=tuple(f"{name}{index}" for index in range(count)),
            names=tuple(f"row {index}" for index in range(count)),
        )

    return Task(
        name="toys",
        kind="single-label",
        classes=("a", "b", "c"),
        splits={"train": examples(37, "train"), "test": examples(5, "test")},
        seed=0,
        digest="toys",
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a feature cache of its own, and no network."""
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "cache"
