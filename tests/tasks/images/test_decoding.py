import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfuse.core.errors import DataError
from transfuse.core.nouns import Preprocessing
from transfuse.tasks.images.decoding import decode, decode_to, examined, resize, white_of


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


RGB = (("mean", (0.5, 0.5, 0.5)), ("std", (1.0, 1.0, 1.0)))


def wanted(size: tuple[int, int], **options: object) -> Preprocessing:
    return Preprocessing(size=size, **{**dict(RGB), **options})


UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
# what a camera stores for each EXIF orientation so that the picture above is upright (EXIF 2.3, table 6)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_rotation_is_undone(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(STORED[orientation])), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, 1)[:, :, 0], UPRIGHT)


def test_grey_becomes_three_equal_channels_and_one_when_asked() -> None:
    data = encoded(Image.fromarray(UPRIGHT), "PNG")
    np.testing.assert_array_equal(decode(data), np.repeat(UPRIGHT[:, :, None], 3, axis=2))
    assert decode(data, 1).shape == (2, 3, 1)


def test_colour_becomes_grey_by_luma() -> None:
    # ITU-R 601: 0.299 red
    assert decode(encoded(Image.new("RGB", (2, 2), (255, 0, 0)), "PNG"), 1)[0, 0, 0] == pytest.approx(76, abs=1)


def test_transparent_parts_lie_on_white() -> None:
    half = encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG")
    assert decode(half)[0, 0].tolist() == pytest.approx([127] * 3, abs=1)
    assert decode(encoded(Image.new("RGBA", (1, 1), (9, 9, 9, 0)), "PNG"))[0, 0].tolist() == [255] * 3
    assert decode(encoded(Image.new("LA", (1, 1), (9, 0)), "PNG"), 1)[0, 0].tolist() == [255]


def test_palette_with_and_without_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 0, 90, 0])
    image.putdata([0, 1])
    assert decode(encoded(image, "PNG"))[0].tolist() == [[200, 10, 20], [0, 90, 0]]
    assert decode(encoded(image, "PNG", transparency=1))[0].tolist() == [[200, 10, 20], [255, 255, 255]]


def test_one_bit() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode(encoded(image, "PNG"), 1)[0, :, 0].tolist() == [0, 255]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    for kind in ("PNG", "TIFF"):
        assert decode(encoded(deep, kind), 1)[0, :, 0].tolist() == [0, 100, 255]
        assert decode(encoded(deep, kind))[0, 1].tolist() == [100, 100, 100]


def test_thirty_two_bits_and_floats() -> None:
    integers = Image.fromarray(np.array([[0, 65535]], np.int32))
    assert decode(encoded(integers, "TIFF"), 1)[0, :, 0].tolist() == [0, 255]
    floats = Image.fromarray(np.array([[0.0, 0.2, 1.0]], np.float32))
    assert decode(encoded(floats, "TIFF"), 1)[0, :, 0].tolist() == [0, 51, 255]


def test_cmyk() -> None:
    # no ink is white, full cyan takes the red away; a JPEG from Adobe stores both inverted and says so
    tiff = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "TIFF")
    jpeg = encoded(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", quality=95)
    for data in (tiff, jpeg):
        np.testing.assert_allclose(decode(data)[4, 4].astype(int), [0, 255, 255], atol=3)
    marker = jpeg.index(b"Adobe") - 4
    length = int.from_bytes(jpeg[marker + 2 : marker + 4], "big")
    without_adobe = jpeg[:marker] + jpeg[marker + 2 + length :]
    # without the marker the stored numbers are inks as they are: red ink values 0, others 255 = inverted inks of cyan
    np.testing.assert_allclose(decode(without_adobe)[4, 4].astype(int), [0, 0, 0], atol=3)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [255, 0, 0]
    picture, large, traits = examined(data, 10, 64)
    assert picture.getpixel((0, 0)) == (255, 0, 0) and large and traits == ("animated",)
    assert examined(encoded(frames[0], "PNG"), 16, 64)[1:] == (False, ())


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0.0, 1.0]]), [0, 255]),
        (np.array([[0.0, 200.0]]), [0, 200]),
        (np.array([[0, 257 * 7]], np.uint16), [0, 7]),
        (np.array([[0, 16]], np.int64), [0, 255]),
        (np.array([[False, True]]), [0, 255]),
        (np.array([[3, 9]], np.uint8), [3, 9]),
    ],
)
def test_arrays_of_every_type(pixels: np.ndarray, expected: list[int]) -> None:
    assert decode(pixels, 1)[0, :, 0].tolist() == expected


def test_arrays_with_channels_first_and_last() -> None:
    last = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(last.transpose(2, 0, 1)), last)
    np.testing.assert_array_equal(decode(last), last)


@pytest.mark.parametrize(
    "pixels", [np.array([[np.nan]]), np.array([[-1.0]]), np.zeros((5, 6, 7)), np.zeros(3), np.array([["a"]])]
)
def test_arrays_that_are_no_picture(pixels: np.ndarray) -> None:
    with pytest.raises(DataError):
        decode(pixels)


def test_white_is_judged_by_the_largest_value() -> None:
    assert [white_of(np.array([v])) for v in (0.5, 16.0, 17.0, 100.0, 255, 256, 70000)] == [
        1,
        16,
        32,
        255,
        255,
        65535,
        70000,
    ]


def test_broken_files_are_named(tmp_path: Path) -> None:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")
    for name, data in (("cut.jpg", whole[: len(whole) // 2]), ("text.png", b"hello"), ("empty.jpg", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(DataError, match=name):
            decode(path)
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "missing.jpg")


def test_decompression_bomb_is_an_error_not_a_crash() -> None:
    small = bytearray(encoded(Image.new("1", (8, 8)), "BMP"))
    small[18:26] = (60_000).to_bytes(4, "little") * 2
    with pytest.raises(DataError):
        decode(bytes(small))


def test_postscript_is_never_opened() -> None:
    with pytest.raises(DataError):
        decode(encoded(Image.new("RGB", (4, 4)), "EPS"))


def test_squash_uses_the_whole_picture_crop_only_the_centre() -> None:
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    squashed = resize(picture, wanted((10, 10), interpolation="nearest"))
    cropped = resize(picture, wanted((10, 10), fit="crop", interpolation="nearest"))
    assert squashed.shape == cropped.shape == (10, 10, 3)
    assert squashed[:, 0].max() == 0 and cropped.min() == 255


def test_crop_share_keeps_that_part_of_the_shorter_side() -> None:
    picture = np.zeros((100, 100, 1), np.uint8)
    picture[25:75, 25:75] = 255
    half = resize(picture, Preprocessing(size=(50, 50), mean=(0.5,), std=(1.0,), fit="crop", crop_share=0.5))
    assert half.shape == (50, 50, 1) and half.min() == 255


def test_large_jpegs_decoded_small_look_as_if_decoded_whole(tmp_path: Path) -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    how = wanted((64, 64))
    whole = resize(decode(tmp_path / "large.jpg"), how).astype(int)
    assert np.abs(decode_to(tmp_path / "large.jpg", how) - whole).mean() < 1.5


def test_a_text_file_is_refused_in_words(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(DataError, match=r"a\.png cannot be read as a picture: .*\w{4}") as caught:
        decode(tmp_path / "a.png")
    assert "MPO" not in str(caught.value)
