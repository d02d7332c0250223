"""Small sources of every family, with the head that they were trained with, and small tasks of every kind.

Letters: N examples, C classes or target columns.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from transfuse.core.digests import of_bytes, of_many, of_value
from transfuse.core.nouns import Examples, Source, Task
from transfuse.sources.references import find

SIZE = 32
SOURCE_CLASSES = 5
FAMILIES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "MobileNet": ("mobilenetv3_small_050", {}),
    "VGG": ("vgg11", {"mlp_ratio": 0.002}),  # eight units in the middle of its head; see `thin_vgg`
    "ResNet": ("test_resnet", {}),
    "EfficientNet": ("test_efficientnet", {}),
    "ConvNeXt": ("test_convnext", {}),
    "ViT": ("test_vit", {"img_size": [SIZE, SIZE]}),
    "Swin": (
        "swin_tiny_patch4_window7_224",
        {"img_size": [SIZE, SIZE], "embed_dim": 16, "depths": [1, 1, 1], "num_heads": [2, 2, 2], "window_size": 4},
    ),
}
NET = """
import torch
from torch import nn
from torch.nn import functional


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(self.third(self.second(self.first(x))).mean((2, 3)))


def small():
    return Small()
"""


def written(name: str, folder: Path) -> Source:
    """A family's source, from a weights file that has a head of five classes."""
    architecture, arguments = FAMILIES[name]
    torch.manual_seed(1)
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    network = timm.create_model(architecture, num_classes=SOURCE_CLASSES, **plain)
    path = folder / f"{name}.safetensors"
    save_file(network.state_dict(), path)
    source = find(f"file:{path}@timm:{architecture}", size=SIZE)
    builder = {"timm": architecture, "arguments": arguments}
    return replace(source, name=name, builder=builder, digest=of_many([source.digest, of_value(builder)]))


def written_small(folder: Path) -> Source:
    """A user's plain module in a file of theirs, with weights."""
    (folder / "nets.py").write_text(NET)
    scope: dict[str, Any] = {"__name__": "nets"}
    exec(NET, scope)
    torch.manual_seed(2)
    save_file(scope["small"]().state_dict(), folder / "small.safetensors")
    return find(f"file:{folder / 'small.safetensors'}@{folder / 'nets.py'}:small", size=SIZE, trust_code=True)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the weights of the sources lie."""
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="session", autouse=True)
def thin_vgg() -> Iterator[None]:
    """timm's VGG takes its widths from a table only, of which the smallest network has 128 million parameters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(timm.models.vgg.cfgs, "vgg11", (8, "M", 12, "M", 16, 16, "M", 24, 24, "M", 24, 24, "M"))
        yield


@pytest.fixture(scope="session", params=[*FAMILIES, "user's module"])
def family(request: pytest.FixtureRequest, folder: Path) -> Source:
    """One source after the other."""
    return written_small(folder) if request.param == "user's module" else written(request.param, folder)


@pytest.fixture(scope="session")
def small(folder: Path) -> Source:
    """The quickest source: three convolutions with batch norms, and a head."""
    return written_small(folder)


@pytest.fixture(scope="session")
def vit(folder: Path) -> Source:
    """A small transformer: no batch norms."""
    return written("ViT", folder)


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
    light = 70 + 80 * levels_NC[:, None, None, :] + generator.normal(0, 40, (count, SIZE, SIZE, 3))
    pictures = list(np.clip(light, 0, 255).astype(np.uint8))
    return Examples(
        items=pictures,
        targets=targets,
        digests=tuple(of_bytes(picture.tobytes()) for picture in pictures),
        names=tuple(f"row {place}" for place in range(count)),
    )


def small_task(kind: str) -> Task:
    """24 training, 9 validation and 9 test pictures of three colours."""
    sizes = {"train": 24, "valid": 9, "test": 9}
    splits = {split: examples(kind, count, seed) for seed, (split, count) in enumerate(sizes.items())}
    classes = ("red light", "green light") if kind == "regression" else ("red", "green", "blue")
    return Task(name=f"colours, {kind}", kind=kind, classes=classes, splits=splits, seed=0, digest=f"colours {kind}")


@pytest.fixture(scope="session")
def task() -> Task:
    """Which colour a picture has."""
    return small_task("single-label")


@pytest.fixture(scope="session")
def tasks() -> Mapping[str, Task]:
    """A small task of every kind."""
    return {kind: small_task(kind) for kind in ("single-label", "multi-label", "regression")}
