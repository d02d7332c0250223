"""Coarser pictures: what each encoding does, that it is stored, replayed and priced."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Preprocessing
from transfuse.sources import inputs
from transfuse.tasks.images.decoding import decode_to
from transfuse.tasks.images.encodings import encoded, parsed

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (20, 24, 3), dtype=np.uint8)


def test_bits_keep_the_nearest_of_equally_spaced_levels():
    for bits in range(1, 9):
        levels = np.linspace(0, 255, 2**bits)
        expected = levels[np.abs(PIXELS[..., None] - levels).argmin(-1)]
        found = np.asarray(encoded(Image.fromarray(PIXELS), f"bits:{bits}")).astype(float)
        assert np.abs(found - expected).max() <= 0.5 + 255 / (2**bits - 1) * (bits > 7)
    np.testing.assert_array_equal(np.asarray(encoded(Image.fromarray(PIXELS), "bits:8")), PIXELS)


def test_median_and_jpeg_are_those_of_others():
    grey = PIXELS[:, :, 0]
    found = np.asarray(encoded(Image.fromarray(grey), "median:3"))
    np.testing.assert_array_equal(found[1:-1, 1:-1], ndimage.median_filter(grey, 3)[1:-1, 1:-1])
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "JPEG", quality=40)
    np.testing.assert_array_equal(
        np.asarray(encoded(Image.fromarray(PIXELS), "jpeg:40")), np.asarray(Image.open(stream))
    )
    blurred = np.asarray(encoded(Image.fromarray(grey), "gaussian:2"), float)
    assert blurred.std() < 0.25 * grey.std() and abs(blurred.mean() - grey.mean()) < 3


def test_several_are_done_from_left_to_right():
    image = Image.fromarray(PIXELS)
    both = np.asarray(encoded(image, "median:3+bits:2"))
    np.testing.assert_array_equal(both, np.asarray(encoded(encoded(image, "median:3"), "bits:2")))
    assert parsed("jpeg:75 + gaussian:0.5") == (("jpeg", 75.0), ("gaussian", 0.5)) and parsed("") == ()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("jpg:75", UnknownName, "jpeg"),
        ("jpeg:0", UsageError, "`jpeg` must be 1 to 95 quality"),
        ("jpeg", UsageError, "but is 'jpeg'"),
        ("bits:2.5", UsageError, "1 to 8 bits"),
        ("median:4", UsageError, "an odd number"),
        ("gaussian:nan", UsageError, "standard deviation"),
    ],
)
def test_what_is_no_encoding_is_said(text: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        parsed(text)


def test_it_is_done_at_the_size_of_the_network_and_stored(tmp_path: Path):
    plain = Preprocessing(size=(8, 8))
    coarse = inputs.with_encoding(plain, "bits:1")
    assert isinstance(coarse, Preprocessing)
    assert set(np.unique(decode_to(PIXELS, coarse))) <= {0, 255}
    again = inputs.from_plain(inputs.written(coarse, tmp_path))
    assert again == coarse and inputs.described(again).endswith("encoded as bits:1")
    assert "encoding" not in inputs.identity(plain) and inputs.identity(coarse) != inputs.identity(plain)
    with pytest.raises(UsageError, match="bits"):
        inputs.from_plain({**inputs.written(coarse, tmp_path), "encoding": "bits:99"})
