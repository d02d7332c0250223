"""What every room's tests stand on: one thread a process, a cache of their own, no network, small photographs."""

import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: pytest runs a process for each core
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
from PIL import Image

COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "eel": (60, 60, 200)}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The feature cache lies in a temporary folder, never in the home of who runs the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFUSE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def float32_by_default() -> Iterator[None]:
    """Expected values are those of float32, also on a processor for which bfloat16 would be chosen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transfuse.sources.precision._processor_flags", frozenset)
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 class folders x 12 noisy pictures of 24 x 24, each class of its own colour. Not to be changed."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", each=12)


def write_photos(folder: Path, each: int, seed: int = 0) -> Path:
    """Class folders of noisy coloured PNG pictures."""
    generator = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = generator.normal(0, 40, (24, 24, 3))
            picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{name}{number}.png")
    return folder
