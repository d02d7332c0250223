"""Thumbnails."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from transfuse.core.errors import UsageError
from transfuse.reporting.pictures import thumbnail


def reopened(uri):
    head, body = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


@pytest.mark.parametrize("shape", [(300, 400, 3), (300, 400, 1), (300, 400)])
def test_arrays_become_small_jpegs(shape):
    picture = reopened(thumbnail(np.full(shape, 200, np.uint8), side=100))
    assert picture.size == (100, 75) and picture.mode == "RGB"
    assert abs(picture.getpixel((50, 30))[0] - 200) < 4


def test_bytes_are_turned_upright():
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    Image.new("RGB", (80, 40)).save(stream, "JPEG", exif=exif)
    assert reopened(thumbnail(stream.getvalue())).size == (40, 80)


def test_what_is_no_picture_is_refused():
    with pytest.raises(UsageError, match="cannot be decoded"):
        thumbnail(b"not a picture")
    with pytest.raises(UsageError, match=r"but is float64 of \(2, 2, 3\)"):
        thumbnail(np.zeros((2, 2, 3)))
    with pytest.raises(UsageError, match=r"uint8 of \(2, 2, 5\)"):
        thumbnail(np.zeros((2, 2, 5), np.uint8))
