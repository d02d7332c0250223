"""Whether a picture is small enough to be decoded, by its header alone."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfuse.core.errors import DataError
from transfuse.tasks.images.decoding import FORMATS, Stored, channels_last, described, explained, upright_size
from transfuse.tasks.limits import Limits, require_file, too_much

_UNCOUNTED = ("GIF", "TIFF")


def require_within(item: Any, limits: Limits) -> None:
    """Raise `DataError` with the reason for a picture that must not be decoded. Reads a header, no pixels."""
    name = described(item)
    if isinstance(item, str | Path):
        require_file(item, limits)
    if isinstance(item, bytes) and len(item) > limits.bytes:
        raise DataError(too_much(name, "bytes", len(item), limits.bytes))
    if isinstance(item, str | Path | bytes):
        _require_canvas(item, name, limits)
    width, height = size_of(item)
    _require_pixels(name, width * height, limits)
    if isinstance(item, str | Path | bytes) and _has_more_frames(item, name, limits.frames):
        raise DataError(too_much(name, "frames", f"more than {limits.frames:,}", limits.frames))


def size_of(item: Any) -> tuple[int, int]:
    """Width and height in pixels as the picture is looked at, upright; of the header. Raises `DataError`."""
    with explained(described(item)):
        if isinstance(item, np.ndarray):
            height, width = channels_last(item).shape[:2]
            return width, height
        if isinstance(item, Image.Image):
            return upright_size(item)
        with _opened(item.read() if isinstance(item, Stored) else item) as image:
            return upright_size(image)


def _opened(item: str | Path | bytes) -> Image.Image:
    """The header. Pillow warns of more pixels than our own limit allows, which is asked next."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(item) if isinstance(item, bytes) else item, formats=FORMATS)


def _has_more_frames(item: str | Path | bytes, name: str, most: int) -> bool:
    """By what the header says; where it does not, by asking for the frame that is too many: counting has no end."""
    with explained(name), _opened(item) as image:
        if image.format not in _UNCOUNTED:
            return getattr(image, "n_frames", 1) > most
        try:
            image.seek(most)
        except EOFError:
            return False
        return True


def _require_canvas(item: str | Path | bytes, name: str, limits: Limits) -> None:
    """WebP's decoder takes memory for its whole canvas when it is opened, so its header is read here."""
    with explained(name), io.BytesIO(item) if isinstance(item, bytes) else Path(item).open("rb") as file:
        head = file.read(30)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 30:
        low, high = struct.unpack("<HB", head[24:27]), struct.unpack("<HB", head[27:30])
        width, height = (1 + part[0] + (part[1] << 16) for part in (low, high))
        _require_pixels(name, width * height, limits)


def _require_pixels(name: str, found: int, limits: Limits) -> None:
    if found > limits.pixels:
        raise DataError(too_much(name, "pixels", found, limits.pixels))
