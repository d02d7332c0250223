"""Sources that know something, nothing, or the wrong thing; a small task of coloured pictures."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transfuse.core.digests import of_bytes
from transfuse.core.nouns import Examples, Source, Task
from transfuse.sources.references import find

SIZE = 24
NET = """
from torch import nn


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.second(self.first(x)).mean((2, 3)))


def small():
    return Small()
"""
Make = Callable[..., Source]


@pytest.fixture(scope="session")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function from a name, a seed and a change of the weights to a source with them."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "nets.py").write_text(NET)
    scope: dict[str, Any] = {"__name__": "nets"}
    exec(NET, scope)

    def make(name: str, seed: int = 0, change: Callable[[dict[str, torch.Tensor]], None] | None = None) -> Source:
        torch.manual_seed(seed)
        tensors = scope["small"]().state_dict()
        if change is not None:
            change(tensors)
        save_file(tensors, folder / f"{name}.safetensors")
        return find(f"file:{folder / name}.safetensors@{folder / 'nets.py'}:small", size=SIZE, trust_code=True)

    return make


@pytest.fixture(scope="session")
def good(source_of: Make) -> Source:
    """Random filters, which tell colours well."""
    return source_of("good")


@pytest.fixture(scope="session")
def dead(source_of: Make) -> Source:
    """Every unit is far below its threshold for every picture: no feature, and no gradient that could mend it."""

    def kill(tensors: dict[str, torch.Tensor]) -> None:
        for layer in ("first", "second"):
            tensors[f"{layer}.1.weight"].fill_(1e-3)
            tensors[f"{layer}.1.bias"].fill_(-10.0)

    return source_of("dead", change=kill)


def examples(count: int, seed: int) -> Examples:
    """Noisy pictures in three colours."""
    generator = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    light = 80 + 70 * np.eye(3)[targets][:, None, None, :] + generator.normal(0, 40, (count, SIZE, SIZE, 3))
    pictures = list(np.clip(light, 0, 255).astype(np.uint8))
    return Examples(
        items=pictures,
        targets=targets,
        digests=tuple(of_bytes(picture.tobytes()) for picture in pictures),
        names=tuple(f"{seed}/{place}" for place in range(count)),
    )


@pytest.fixture(scope="session")
def task() -> Task:
    """30 training, 18 validation and 45 test pictures."""
    splits = {"train": examples(30, 0), "valid": examples(18, 1), "test": examples(45, 2)}
    return Task(
        name="colours", kind="single-label", classes=("red", "green", "blue"), splits=splits, seed=0, digest="colours"
    )
