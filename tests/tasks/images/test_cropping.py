"""Pictures cropped to what is not background."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import Preprocessing
from transfuse.sources.images.preprocessing import given as with_given
from transfuse.tasks.images.cropping import ink_box, to_ink
from transfuse.tasks.images.decoding import decode_to


def drawn(box: tuple[int, int, int, int], size: tuple[int, int] = (40, 60), ground: int = 20) -> np.ndarray:
    left, upper, right, lower = box
    pixels = np.full((*size, 3), ground, np.uint8)
    pixels[upper:lower, left:right] = 220
    return pixels


@given(st.tuples(st.integers(1, 20), st.integers(1, 15), st.integers(25, 58), st.integers(20, 38)))
def test_the_box_is_that_of_the_object(box: tuple[int, int, int, int]) -> None:
    assert ink_box(drawn(box)[:, :, 0]) == box


def test_a_plain_picture_has_none() -> None:
    plain = np.full((9, 9), 7, np.uint8)
    assert ink_box(plain) is None
    assert to_ink(Image.fromarray(plain), (4, 4)).size == (9, 9)


def test_a_narrow_object_keeps_its_shape_on_background() -> None:
    found = np.asarray(to_ink(Image.fromarray(drawn((20, 5, 26, 35))), (32, 32)))
    assert found.shape == (30, 30, 3)
    assert (found[:, 12:18] == 220).all() and (found[:, :12] == 20).all() and (found[:, 18:] == 20).all()


def test_size_and_place_no_longer_matter() -> None:
    prepared = Preprocessing(size=(16, 16), mean=(0.0,), std=(1.0,), crop="ink")
    small = decode_to(drawn((3, 4, 11, 12)), prepared)
    large = decode_to(drawn((20, 6, 52, 38)), prepared)
    assert np.abs(small.astype(int) - large.astype(int)).max() <= 1
    whole = Preprocessing(size=(16, 16), mean=(0.0,), std=(1.0,))
    assert np.abs(decode_to(drawn((3, 4, 11, 12)), whole).astype(int) - large.astype(int)).max() > 100


def test_another_crop_is_refused() -> None:
    prepared = with_given(Preprocessing(size=(16, 16)), crop="ink")
    assert prepared.crop == "ink"
    with pytest.raises(UnknownName, match="crop"):
        with_given(prepared, crop="inc")
