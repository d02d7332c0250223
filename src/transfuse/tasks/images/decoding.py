"""From whatever holds a picture to uint8 pixels: rotation, palettes, alpha, CMYK and 16 bits handled on purpose.

Letters: H, W height and width in pixels; C channels (1 grey, 3 RGB).
"""

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from transfuse.core.errors import DataError
from transfuse.core.nouns import Preprocessing
from transfuse.tasks.images.cropping import to_ink
from transfuse.tasks.images.encodings import encoded

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "JPEG2000", "ICO", "TGA", "AVIF")
"""What Pillow may open. Formats that start other programs (EPS) or hold no pixels of their own are left out."""

_ENDINGS = "jpg|jpeg|jpe|jfif|png|apng|gif|bmp|dib|tif|tiff|webp|ppm|pgm|pbm|pnm|jp2|j2k|ico|tga|avif|mpo"
SUFFIXES = frozenset("." + ending for ending in re.split(r"\|", _ENDINGS))
"""Endings of file names that promise a picture."""

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
_WHITES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 255.0, 65535.0)  # few bits: scans and teaching data of 0..16
_JPEG = ("JPEG", "MPO")  # MPO: several JPEG pictures of one view; the first is the photograph
_ORIENTATION = 0x0112  # EXIF tag
_CHANNEL_COUNTS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Stored:
    """A picture inside a table of the `datasets` library, read when it is decoded."""

    table: Any
    """A `datasets.Dataset` whose picture column is not decoded."""
    column: str
    row: int

    def read(self) -> bytes:
        """The encoded picture."""
        cell = self.table[self.row][self.column]
        if cell is None:
            raise DataError(f"Row {self.row} has no picture in column '{self.column}'.")
        return cell["bytes"] if cell.get("bytes") is not None else Path(cell["path"]).read_bytes()


Item = str | Path | bytes | np.ndarray | Image.Image | Stored
"""What can be decoded: a path, an encoded picture in memory, pixels, a Pillow picture, a row of a table."""


def decode(item: Item, channels: int = 3) -> np.ndarray:
    """Pixels of one picture as uint8 (H, W, channels); upright, transparent parts on white, first frame only.

    Raises `DataError` when the picture cannot be read, saying why.
    """
    return _pixels(opened(item, channels))


def resize(picture: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (H, W, C) -> uint8 (h, w, C) of `preprocessing.size`, squashed or cropped as it says."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    return _pixels(encoded(fitted(image, preprocessing), preprocessing.encoding))


def decode_to(item: Item, preprocessing: Preprocessing) -> np.ndarray:
    """`resize(decode(item))` in one go: large JPEG files are decoded at a reduced size."""
    image = fitted(opened(item, preprocessing.channels, _needed(preprocessing)), preprocessing)
    return _pixels(encoded(image, preprocessing.encoding))


def opened(item: Item, channels: int = 3, least: int | None = None) -> Image.Image:
    """The picture in mode L or RGB. With `least`, JPEG files may come reduced, no side below `least` pixels."""
    with explained(described(item)):
        return _composited(_upright(_image(item, least)), "L" if channels == 1 else "RGB")


def examined(data: bytes, whole: int, least: int) -> tuple[Image.Image, bool, tuple[str, ...]]:
    """The picture in mode RGB, whether it has more than `whole` pixels, and whether it is `animated` or `transparent`.

    Above `whole` pixels, JPEG files come reduced, no side below `least` pixels.
    """
    with explained("the picture"), Image.open(io.BytesIO(data), formats=FORMATS) as image:
        large = image.width * image.height > whole
        animated = image.format not in _JPEG and getattr(image, "n_frames", 1) > 1
        picture = _upright(_loaded(image, least if large else None))
        traits = {"animated": animated, "transparent": _transparent(picture)}
        return _composited(picture, "RGB"), large, tuple(name for name, true in traits.items() if true)


def fitted(image: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """The picture at `preprocessing.size`."""
    height, width = preprocessing.size
    if preprocessing.crop == "ink":
        image = to_ink(image, preprocessing.size)
    box = _centre(image.size, (width, height), preprocessing.crop_share) if preprocessing.fit == "crop" else None
    if box is None and image.size == (width, height):
        return image
    # a gap of 3 keeps the result within a grey level of the exact one and is faster on large pictures
    return image.resize((width, height), _RESAMPLING[preprocessing.interpolation], box=box, reducing_gap=3.0)


def described(item: Item) -> str:
    """A name for an item in messages."""
    if isinstance(item, str | Path):
        return str(item)
    if isinstance(item, Stored):
        return f"row {item.row}"
    return "the picture"


def _needed(preprocessing: Preprocessing) -> int | None:
    if preprocessing.crop == "ink":  # how small a part of it will be wanted is not known
        return None
    share = preprocessing.crop_share if preprocessing.fit == "crop" else 1.0
    return round(2 * max(preprocessing.size) / share)


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _image(item: Item, least: int | None) -> Image.Image:
    if isinstance(item, np.ndarray):
        return _from_array(item)
    if isinstance(item, Image.Image):
        return item
    source = io.BytesIO(item.read() if isinstance(item, Stored) else item) if isinstance(item, Stored | bytes) else item
    with Image.open(source, formats=FORMATS) as image:
        return _loaded(image, least)


def _loaded(image: Image.Image, least: int | None) -> Image.Image:
    if least is not None and image.format in _JPEG:
        image.draft(None, (least, least))
    image.load()
    if image.mode == "CMYK" and image.format in _JPEG and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow assumes Adobe's inverted inks even where no Adobe marker says so
    return image


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Whatever Pillow raises becomes a `DataError` that names the picture."""
    try:
        yield
    except Exception as problem:  # Pillow raises errors of many kinds for broken files
        raise DataError(f"{name} cannot be read as a picture: {_reason(problem)}.") from problem


def _from_array(pixels: np.ndarray) -> Image.Image:
    pixels = to_bytes(channels_last(pixels), white_of(pixels))
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def channels_last(pixels: np.ndarray) -> np.ndarray:
    """(H, W), (H, W, C) or (C, H, W) -> (H, W, C), as a view."""
    if pixels.ndim == 2:
        return pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[2] in _CHANNEL_COUNTS:
        return pixels
    if pixels.ndim == 3 and pixels.shape[0] in _CHANNEL_COUNTS:
        return pixels.transpose(1, 2, 0)
    raise DataError(
        f"A picture must have shape (H, W), (H, W, C) or (C, H, W) with 1 to 4 channels, but is {pixels.shape}."
    )


def white_of(pixels: np.ndarray) -> float:
    """The value that stands for white: the first of 1, 2, 4 ... 64, 255, 65535 that is not exceeded, else the largest.

    Raises `DataError` for values that are not finite or are negative.
    """
    if pixels.dtype == np.uint8:
        return 255.0
    if pixels.dtype == bool:
        return 1.0
    if pixels.dtype.kind not in "iuf":
        raise DataError(f"Pixels must be numbers, but are of type {pixels.dtype}.")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0:
        raise DataError(
            f"Pixels must be finite and not negative, but lie in {low:g}..{high:g}. Scale them to 0..1 or 0..255."
        )
    return next((white for white in _WHITES if high <= white), high)


def to_bytes(pixels: np.ndarray, white: float) -> np.ndarray:
    """Pixels of which `white` stands for white, as uint8."""
    if pixels.dtype == np.uint8 and white == 255.0:
        return pixels
    return np.clip(pixels * np.float32(255.0 / white) + np.float32(0.5), 0, 255).astype(np.uint8)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height once the picture is turned as its EXIF data say; of a header, whose pixels stay untouched."""
    if image.format == "PNG" and "exif" not in image.info:  # Pillow would decode all pixels to look behind them
        return image.size
    turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return (image.height, image.width) if turned else image.size


def _upright(image: Image.Image) -> Image.Image:
    if image.getexif().get(_ORIENTATION, 1) == 1:  # exif_transpose would copy
        return image
    return ImageOps.exif_transpose(image)


def _composited(image: Image.Image, mode: str) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_deep(image).convert(mode)
    if _has_alpha(image):
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(canvas, image).convert("RGB")
    if mode == "L" and image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _transparent(image: Image.Image) -> bool:
    """Whether any pixel lets the ground shine through."""
    return _has_alpha(image) and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _from_deep(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float pictures, scaled instead of clipped."""
    pixels = np.asarray(image).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise DataError("it holds values that are not finite")
    high = float(pixels.max())
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((step for step in steps if high <= step), high)
    return Image.fromarray(to_bytes(np.maximum(pixels, 0), white))


def _centre(size: tuple[int, int], wanted: tuple[int, int], share: float) -> tuple[float, float, float, float]:
    """The largest centred box of the wanted shape, times `share`: (left, upper, right, lower)."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1]) * share
    half_width, half_height = wanted[0] * scale / 2, wanted[1] * scale / 2
    x, y = size[0] / 2, size[1] / 2
    return (
        max(0, x - half_width),
        max(0, y - half_height),
        min(size[0], x + half_width),
        min(size[1], y + half_height),
    )


def _reason(problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError):
        return "there is no such file"
    if isinstance(problem, UnidentifiedImageError):
        return "it is not a picture, or of a kind that is not known"
    if isinstance(problem, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return "it has so many pixels that it is taken for a decompression bomb"
    return str(problem).rstrip(".") or type(problem).__name__
