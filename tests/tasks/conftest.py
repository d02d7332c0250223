"""Small pictures and folders for the tests of tasks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Painter = Callable[..., Image.Image]


@pytest.fixture
def painted() -> Painter:
    """Pictures of smooth coloured noise, each seed unlike the others."""

    def paint(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)

    return paint


@pytest.fixture
def foldered(tmp_path: Path, painted: Painter) -> Callable[..., Path]:
    """Writes `photos/CLASS/N.png`; every picture is another one."""

    def write(counts: dict[str, int], root: str = "photos", first_seed: int = 0) -> Path:
        seed = first_seed
        for folder, count in counts.items():
            (tmp_path / root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                painted(seed).save(tmp_path / root / folder / f"{number}.png")
                seed += 1
        return tmp_path / root

    return write
