"""Noise and damage of pictures in five severities: the common corruptions that need no pictures of their own.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions", arXiv 1903.12261. Their
strengths for 224 pixels are kept for noise and light; blurs and warping are shares of the side, so that small pictures
suffer alike. Left out: snow, frost, fog and spatter, which are drawn. Changed: brightness is added to all
channels, blurs have a uniform or Gaussian kernel, and the same random numbers serve every severity of an example.
Letters: h w pixels, c channels.
"""

import io
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage, signal

Random = np.random.Generator


def gaussian_noise(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Noise of the sensor."""
    return x_hwc + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * random.standard_normal(x_hwc.shape)


def shot_noise(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Too few photons."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return random.poisson(x_hwc * photons) / photons


def impulse_noise(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Some values are black or white."""
    chance_hwc, share = random.random(x_hwc.shape), (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    return np.where(chance_hwc < share / 2, 0.0, np.where(chance_hwc > 1 - share / 2, 1.0, x_hwc))


def gaussian_blur(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Out of focus."""
    sigma = (0.01, 0.014, 0.018, 0.022, 0.03)[severity - 1] * min(x_hwc.shape[:2])
    return ndimage.gaussian_filter(x_hwc, (sigma, sigma, 0), mode="nearest")


def motion_blur(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """The camera moved along a line."""
    length = (0.04, 0.06, 0.08, 0.11, 0.15)[severity - 1] * min(x_hwc.shape[:2])
    angle, radius = random.uniform(0, np.pi), int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    for t in np.linspace(-length / 2, length / 2, 8 * radius + 1):
        _deposit(kernel, radius + t * np.sin(angle), radius + t * np.cos(angle))
    padded = np.pad(x_hwc, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    return signal.fftconvolve(padded, kernel[:, :, None] / kernel.sum(), mode="valid", axes=(0, 1))


def zoom_blur(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """The lens zoomed in meanwhile."""
    most = (0.11, 0.16, 0.21, 0.26, 0.33)[severity - 1]
    height, width = x_hwc.shape[:2]
    image, layers = _image(x_hwc), [x_hwc]
    for zoom in np.linspace(0, most, 8)[1:]:
        y, x = (side * (1 - 1 / (1 + zoom)) / 2 for side in (height, width))
        layers.append(_array(image.resize((width, height), Image.Resampling.BILINEAR, (x, y, width - x, height - y))))
    return np.mean(layers, axis=0)


def brightness(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Too much light."""
    return x_hwc + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]


def contrast(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """A veil: everything nearer to the mean."""
    mean_c = x_hwc.mean((0, 1))
    return (x_hwc - mean_c) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + mean_c


def elastic(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Stretched here and there."""
    height, width, channels = x_hwc.shape
    side = min(height, width)
    field = [ndimage.gaussian_filter(random.uniform(-1, 1, (height, width)), 0.06 * side) for _ in range(2)]
    reach = (0.015, 0.025, 0.035, 0.05, 0.065)[severity - 1] * side
    places = [
        grid + reach * shift / max(np.abs(shift).max(), 1e-9)
        for grid, shift in zip(np.mgrid[:height, :width], field, strict=True)
    ]
    moved = [ndimage.map_coordinates(x_hwc[:, :, c], places, order=1, mode="nearest") for c in range(channels)]
    return np.stack(moved, 2)


def pixelate(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Enlarged from too few pixels."""
    share, (height, width) = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1], x_hwc.shape[:2]
    small = _image(x_hwc).resize((max(1, int(width * share)), max(1, int(height * share))), Image.Resampling.BOX)
    return _array(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg(x_hwc: np.ndarray, severity: int, random: Random) -> np.ndarray:
    """Compressed too much."""
    stream = io.BytesIO()
    _image(x_hwc).save(stream, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    return _array(Image.open(stream))


def _deposit(kernel: np.ndarray, y: float, x: float) -> None:
    """One unit, shared between the four cells around a point."""
    top, left = int(np.floor(y)), int(np.floor(x))
    down, right = y - top, x - left
    for row, share in ((top, 1 - down), (top + 1, down)):
        for column, part in ((left, 1 - right), (left + 1, right)):
            if 0 <= row < len(kernel) and 0 <= column < len(kernel):
                kernel[row, column] += share * part


def _image(x_hwc: np.ndarray) -> Image.Image:
    pixels = (x_hwc * 255).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _array(image: Any) -> np.ndarray:
    pixels = np.asarray(image).astype(np.float64) / 255
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
