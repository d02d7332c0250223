"""Pictures encoded more coarsely before a network sees them: small planted changes go, and some accuracy with them.

JPEG and fewer bits: Guo, Rana, Cisse, van der Maaten, "Countering adversarial images using input transformations",
arXiv 1711.00117. Fewer bits and smoothing: Xu, Evans, Qi, "Feature squeezing", arXiv 1704.01155. An attack that knows
of them is hardly hindered (Athalye, Carlini, Wagner, arXiv 1802.00420): they are a filter, no proof of robustness.
An encoding is written `jpeg:75`, `bits:4`, `median:3`, `gaussian:1`, or several joined by `+`, from left to right; it
is applied to the picture at the size that the network takes.
"""

import io
from collections.abc import Callable, Mapping

from PIL import Image, ImageFilter

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

RANGES: Mapping[str, tuple[float, float, str]] = {
    "jpeg": (1, 95, "quality"),
    "bits": (1, 8, "bits a channel"),
    "median": (3, 15, "pixels a side, an odd number"),
    "gaussian": (0.1, 20, "pixels of standard deviation"),
}
"""Least, most, and what the number of an encoding is."""


def parsed(text: str) -> tuple[tuple[str, float], ...]:
    """Names and numbers of an encoding, nothing for an empty one. Raises `UsageError`, `UnknownName`."""
    return tuple(_one(part) for part in text.split("+")) if text else ()


def encoded(image: Image.Image, encoding: str) -> Image.Image:
    """The picture, in mode L or RGB, after each of the encodings."""
    for name, number in parsed(encoding):
        image = _ENCODERS[name](image, number)
    return image


def _one(text: str) -> tuple[str, float]:
    name, _, number = text.strip().partition(":")
    chosen("encoding", name, RANGES)
    least, most, what = RANGES[name]
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    whole = name == "gaussian" or value.is_integer()
    if not (least <= value <= most and whole and not (name == "median" and value % 2 == 0)):
        raise UsageError(f"`{name}` must be {least:g} to {most:g} {what}, such as {name}:{least:g}, but is '{text}'.")
    return name, value


def _jpeg(image: Image.Image, quality: float) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(quality))
    with Image.open(stream, formats=("JPEG",)) as again:
        again.load()
        return again


def _bits(image: Image.Image, bits: float) -> Image.Image:
    steps = 2 ** int(bits) - 1
    levels = [round(round(value * steps / 255) * 255 / steps) for value in range(256)]
    return image.point(levels * len(image.getbands()))


_ENCODERS: Mapping[str, Callable[[Image.Image, float], Image.Image]] = {
    "jpeg": _jpeg,
    "bits": _bits,
    "median": lambda image, size: image.filter(ImageFilter.MedianFilter(int(size))),
    "gaussian": lambda image, deviation: image.filter(ImageFilter.GaussianBlur(deviation)),
}
