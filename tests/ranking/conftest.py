"""Sources that see colours well, badly or not at all, and small tasks of every kind.

Letters: N examples, C classes or target columns.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from transfuse.core.digests import of_bytes
from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.sources.references import find

SIZE = 16
NET = """
from torch import nn


class Small(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 12, 2, 2), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(12, 12, 1), nn.ReLU())
        self.fourth = nn.Sequential(nn.Conv2d(12, 12, 1), nn.ReLU())
        self.fc = nn.Linear(12, classes) if classes else None

    def forward(self, x):
        x = self.fourth(self.third(self.second(self.first(x)))).mean((2, 3))
        return x if self.fc is None else self.fc(x)


def headed():
    return Small(5)


def headless():
    return Small(0)
"""
Make = Callable[..., Source]
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def source_of(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A function from a name, a seed, a change of the weights and the network's function to a source."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "nets.py").write_text(NET)
    scope: dict[str, Any] = {"__name__": "nets"}
    exec(NET, scope)

    def make(
        name: str, seed: int = 0, change: Callable[[Tensors], None] | None = None, function: str = "headed"
    ) -> Source:
        torch.manual_seed(seed)
        tensors = scope[function]().state_dict()
        if change is not None:
            change(tensors)
        save_file(tensors, folder / f"{name}.safetensors")
        reference = f"file:{folder / name}.safetensors@{folder / 'nets.py'}:{function}"
        return find(reference, size=SIZE, trust_code=True)

    return make


def coloured(tensors: Tensors) -> None:
    """One unit a colour in every layer, so that what the first layer sees of a colour arrives at the last."""
    for layer in ("first", "second", "third", "fourth"):
        weight = tensors[f"{layer}.0.weight"]
        weight *= 0.1
        weight[:3, :3] = torch.eye(3)[:, :, None, None] / weight[0, 0].numel()
        tensors[f"{layer}.0.bias"].zero_()


def dimmed(tensors: Tensors) -> None:
    """Sees one corner of each patch, and no colours."""
    tensors["first.0.weight"][:] = tensors["first.0.weight"].mean(1, keepdim=True)
    tensors["first.0.weight"][:, :, 1:, 1:] = 0


def killed(tensors: Tensors) -> None:
    """Every unit is far below its threshold for every picture."""
    tensors["first.0.bias"].fill_(-1e3)


def poisoned(tensors: Tensors) -> None:
    """Gives NaN for every picture."""
    tensors["fourth.0.weight"].fill_(float("nan"))


@pytest.fixture(scope="session")
def good(source_of: Make) -> Source:
    """Passes every colour on."""
    return source_of("good", 1, coloured)


@pytest.fixture(scope="session")
def dim(source_of: Make) -> Source:
    """Blind for colours."""
    return source_of("dim", 2, dimmed, "headless")


@pytest.fixture(scope="session")
def dead(source_of: Make) -> Source:
    """Features that are constant."""
    return source_of("dead", 3, killed)


@pytest.fixture(scope="session")
def nan(source_of: Make) -> Source:
    """Features that are no numbers."""
    return source_of("nan", 4, poisoned)


def examples(kind: str, count: int, seed: int) -> Examples:
    """Noisy pictures whose three colours are as strong as the targets say."""
    generator = np.random.default_rng(seed)
    if kind == "single-label":
        targets = np.arange(count) % 3
        levels_NC = np.eye(3)[targets]
    elif kind == "multi-label":
        targets = np.stack([np.arange(count) >> bit & 1 for bit in range(3)], axis=1).astype(np.float32)
        levels_NC = targets.astype(float)
    else:
        levels_NC = generator.uniform(size=(count, 3))
        targets = (20 + 50 * levels_NC[:, :2]).astype(np.float32)
    light = 70 + 80 * levels_NC[:, None, None, :] + generator.normal(0, 60, (count, SIZE, SIZE, 3))
    pictures = list(np.clip(light, 0, 255).astype(np.uint8))
    return Examples(
        items=pictures,
        targets=targets,
        digests=tuple(of_bytes(picture.tobytes()) for picture in pictures),
        names=tuple(f"row {place}" for place in range(count)),
    )


def small_task(kind: str = "single-label", count: int = 60, seed: int = 0) -> Task:
    """A task of three colours, with its training split only."""
    classes = ("red light", "green light") if kind == "regression" else ("red", "green", "blue")
    splits = {"train": examples(kind, count, seed)}
    return Task(name="colours", kind=kind, classes=classes, splits=splits, seed=0, digest=f"{kind} {count}")


@pytest.fixture(scope="session")
def task() -> Task:
    """60 pictures: which colour has each?"""
    return small_task()


@pytest.fixture(scope="session")
def tasks() -> Mapping[str, Task]:
    """A small task of every kind."""
    return {kind: small_task(kind) for kind in ("single-label", "multi-label", "regression")}


@pytest.fixture(scope="session")
def task_of() -> Callable[..., Task]:
    """`small_task`."""
    return small_task


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a feature cache of its own."""
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counted:
    """A run that counts the pictures that pass through a network, as extraction announces them."""

    def __init__(self) -> None:
        self.pictures = 0
        self._done = 0
        self.run = Run(watch=self._watch)

    def _watch(self, event: Mapping[str, Any]) -> None:
        if event["stage"] == "extracting":
            self.pictures += event["done"] - self._done
            self._done = event["done"] if event["done"] < event["total"] else 0


@pytest.fixture
def counted() -> Counted:
    """Has `run` and `pictures`."""
    return Counted()


def grouped(task: Task, groups: tuple[str, ...]) -> Task:
    """The task with its examples in groups."""
    return replace(task, splits={"train": replace(task.splits["train"], groups=groups)})
