"""What anybody can see of a picture, as numbers.

Letters: N pictures; H, W height and width in pixels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from transfuse.tasks.images.cropping import ink_box
from transfuse.tasks.images.decoding import decode
from transfuse.tasks.images.loading import default_workers

LOOKS = {
    "brightness": "Brightness (0 black, 1 white)",
    "contrast": "Contrast (deviation of grey levels, 0..0.5)",
    "colour": "Colourfulness (mean distance of a pixel's channels)",
    "height": "Height in pixels",
    "width": "Width in pixels",
    "shape": "Width over height",
    "sharpness": "Sharpness (difference of neighbouring pixels over contrast)",
    "filled": "The share of the picture inside the box around what differs from the border",
}
"""Statistics by name, with what each is."""
_SIDE = 64


def looks_of(items: Sequence[Any]) -> dict[str, np.ndarray]:
    """Each statistic of N pictures, float64 (N,). Raises `DataError` for a picture that cannot be read."""
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        rows = list(pool.map(_look, items))
    return {name: np.array([row[name] for row in rows]) for name in LOOKS}


def _look(item: Any) -> dict[str, float]:
    pixels_HW3 = decode(item, 3)
    height, width = pixels_HW3.shape[:2]
    small = Image.fromarray(pixels_HW3)
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    colours = np.asarray(small, np.float64) / 255
    grey_HW = colours.mean(axis=2)
    contrast = float(grey_HW.std())
    steps = [np.abs(np.diff(grey_HW, axis=axis)).mean() for axis in (0, 1) if grey_HW.shape[axis] > 1]
    return {
        "brightness": float(grey_HW.mean()),
        "contrast": contrast,
        "colour": float(colours.std(axis=2).mean()),
        "height": float(height),
        "width": float(width),
        "shape": width / height,
        "sharpness": float(np.mean(steps)) / contrast if steps and contrast > 1e-6 else 0.0,
        "filled": _filled(grey_HW),
    }


def _filled(grey_HW: np.ndarray) -> float:
    """0..1: area of the box around all pixels that differ from the border's median grey."""
    box = ink_box(grey_HW)
    return 0.0 if box is None else (box[2] - box[0]) * (box[3] - box[1]) / grey_HW.size
