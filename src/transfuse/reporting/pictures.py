"""Small pictures that lie inside the page."""

import base64
import io
from typing import Any

from PIL import Image, ImageOps

from transfuse.core.errors import UsageError


def thumbnail(picture: Any, side: int = 160, quality: int = 82) -> str:
    """A `data:image/jpeg;base64,...` of at most `side` pixels a side.

    `picture`: uint8 array (H, W), (H, W, 1) or (H, W, 3), or the bytes of a JPEG (or another common) file.
    Raises `UsageError` for anything else.
    """
    image = _opened(picture)
    image.thumbnail((side, side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _opened(picture: Any) -> Image.Image:
    if isinstance(picture, bytes):
        try:
            image = Image.open(io.BytesIO(picture))
            return (ImageOps.exif_transpose(image) or image).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UsageError(
                f"A picture's bytes must be a JPEG or PNG file, but cannot be decoded: {error}."
            ) from error
    shape, kind = getattr(picture, "shape", None), str(getattr(picture, "dtype", type(picture).__name__))
    if shape is None or kind != "uint8" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))):
        raise UsageError(
            f"A picture must be bytes or uint8 of (H, W), (H, W, 1) or (H, W, 3), but is {kind} of {shape}."
        )
    return Image.fromarray(picture[..., 0] if shape[-1] == 1 and len(shape) == 3 else picture).convert("RGB")
