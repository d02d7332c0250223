"""The part of a picture that is not background: what differs from the border.

Where an object fills another share of the picture than in the data that a network knows, it is seen at another size;
cropping both to the object undoes that. Letters: H, W height and width in pixels; c channels.
"""

import numpy as np
from PIL import Image

_INK = 0.25
"""Share of the largest difference to the border's grey level, above which a pixel is no background."""
Box = tuple[int, int, int, int]
"""Left, upper, right, lower; the last two are outside."""


def ink_box(grey_HW: np.ndarray) -> Box | None:
    """The box around all pixels that differ from the border's median grey; None for a picture of one grey."""
    border = np.concatenate([grey_HW[0], grey_HW[-1], grey_HW[:, 0], grey_HW[:, -1]])
    away_HW = np.abs(grey_HW.astype(np.float64) - np.median(border))
    if away_HW.max() < 1e-6:
        return None
    rows, columns = np.nonzero(away_HW > _INK * away_HW.max())
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def to_ink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The box of a picture in mode L or RGB, on background, in the shape of `size` (height, width).

    What is in the box keeps its shape: a narrow one gets background on both sides.
    """
    box = ink_box(np.asarray(image.convert("L")))
    if box is None:
        return image
    inside = image.crop(box)
    scale = max(inside.height / size[0], inside.width / size[1])
    height, width = max(round(size[0] * scale), inside.height), max(round(size[1] * scale), inside.width)
    canvas = Image.new(image.mode, (width, height), _background(image))
    canvas.paste(inside, ((width - inside.width) // 2, (height - inside.height) // 2))
    return canvas


def _background(image: Image.Image) -> tuple[int, ...] | int:
    """The border's median colour."""
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = tuple(round(float(value)) for value in np.median(border, axis=0))
    return colour if len(colour) > 1 else colour[0]
