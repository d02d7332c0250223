"""Seeded changes of pictures that keep their meaning: a pure function of (example, key), a whole batch at once.

No step reduces over a picture or mixes pictures, so a result does not depend on the batch around the example.
Letters: B pictures; H, W pixels; C channels; K random numbers for each picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional

from transfuse.core.errors import UsageError

Batch = TypeVar("Batch", np.ndarray, torch.Tensor)
Keys = Sequence[int] | np.ndarray | torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How far pictures are changed. Every value is the largest change; 0 switches it off."""

    flip_horizontal: bool = False
    """Mirror every second picture left to right."""
    flip_vertical: bool = False
    """Mirror every second picture upside down."""
    shift: float = 0.0
    """0..1: share of the side by which the picture moves."""
    scale: float = 0.0
    """0..1: share by which the picture grows or shrinks."""
    rotate: float = 0.0
    """Degrees, to both sides."""
    colour: float = 0.0
    """0..1: change of brightness, contrast, saturation and of each colour's strength."""
    erase: float = 0.0
    """0..1: share of pictures in which a rectangle is painted over."""

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return any((self.flip_horizontal, self.flip_vertical, self.shift, self.scale, self.rotate))


NONE = Augmentation()


def augment(batch_BHWC: Batch, keys_B: Keys, augmentation: Augmentation) -> Batch:
    """The batch, changed: same shape, type and device.

    `batch_BHWC` holds uint8, or floats in 0..255. Picture b depends on its pixels and on `keys_B[b]` alone.
    """
    if augmentation == NONE or len(batch_BHWC) == 0:
        return batch_BHWC
    pictures = torch.from_numpy(batch_BHWC) if isinstance(batch_BHWC, np.ndarray) else batch_BHWC
    if len(keys_B) != len(pictures):
        raise UsageError(f"`keys_B` must have one key for each picture, but has {len(keys_B)} for {len(pictures)}.")
    random_BK = uniform(keys_B, _NUMBERS).to(pictures.device)
    changed = pictures.permute(0, 3, 1, 2).to(torch.float32).contiguous()
    if augmentation.moves:
        changed = _moved(changed, random_BK, augmentation)
    if augmentation.colour:
        changed = _coloured(changed, random_BK, augmentation.colour)
    if augmentation.erase:
        changed = _erased(changed, random_BK, augmentation.erase)
    if not pictures.is_floating_point():
        changed = changed.add_(0.5)
    result = changed.clamp_(0, 255).to(pictures.dtype).permute(0, 2, 3, 1).contiguous()
    return result.numpy() if isinstance(batch_BHWC, np.ndarray) else result


def uniform(keys_B: Keys, count: int) -> torch.Tensor:
    """`count` random numbers in [0, 1) for each key, float32 (B, count).

    SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195), whose state starts at the key.
    """
    keys = np.asarray(keys_B).astype(np.uint64)[:, None]
    with np.errstate(over="ignore"):
        z = keys + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24))


# which random number decides what
_FLIP_H, _FLIP_V, _X, _Y, _SCALE, _ROTATE, _BRIGHT, _CONTRAST, _SATURATION, _GAIN = range(10)
_ERASE, _ERASE_X, _ERASE_Y, _ERASE_W, _ERASE_H, _ERASE_GREY = range(12, 18)
_NUMBERS = 18


def _signed(random_BK: torch.Tensor, which: int, largest: float) -> torch.Tensor:
    return (random_BK[:, which] * 2 - 1) * largest


def _moved(x_BCHW: torch.Tensor, random_BK: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Flip, shift, scale and rotation in one bilinear sampling; edges are continued."""
    height, width = x_BCHW.shape[2:]
    angle = _signed(random_BK, _ROTATE, math.radians(augmentation.rotate))
    zoom = torch.exp(_signed(random_BK, _SCALE, math.log1p(augmentation.scale)))
    flip_x = torch.where(random_BK[:, _FLIP_H] < 0.5, -1.0, 1.0) if augmentation.flip_horizontal else 1.0
    flip_y = torch.where(random_BK[:, _FLIP_V] < 0.5, -1.0, 1.0) if augmentation.flip_vertical else 1.0
    cosine, sine = (torch.cos(angle) * zoom)[:, None, None], (torch.sin(angle) * zoom)[:, None, None]
    x = _centres(width, x_BCHW.device)[None, None, :] - _signed(random_BK, _X, 2 * augmentation.shift)[:, None, None]
    y = _centres(height, x_BCHW.device)[None, :, None] - _signed(random_BK, _Y, 2 * augmentation.shift)[:, None, None]
    # grid coordinates run over -1..1 on both sides, so a rotation needs the picture's shape
    from_x = (cosine * x - sine * y * (height / width)) * _each(flip_x)
    from_y = (sine * x * (width / height) + cosine * y) * _each(flip_y)
    grid = torch.stack((from_x, from_y), dim=-1)
    return functional.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _each(value: torch.Tensor | float) -> torch.Tensor | float:
    return value[:, None, None] if isinstance(value, torch.Tensor) else value


def _centres(count: int, device: torch.device) -> torch.Tensor:
    """Centres of `count` pixels on -1..1."""
    return (torch.arange(count, device=device, dtype=torch.float32) * 2 + 1) / count - 1


def _coloured(x_BCHW: torch.Tensor, random_BK: torch.Tensor, strength: float) -> torch.Tensor:
    """Saturation towards grey, contrast around mid-grey, brightness, and a gain for each channel."""
    channels = x_BCHW.shape[1]
    contrast = torch.exp(_signed(random_BK, _CONTRAST, strength))
    bright = _signed(random_BK, _BRIGHT, strength * 96)
    gain_BC = contrast[:, None] * (1 + (random_BK[:, _GAIN : _GAIN + channels] * 2 - 1) * strength * 0.25)
    offset_BC = bright[:, None] + 128 - 128 * gain_BC
    if channels == 3:
        keep = 1 + _signed(random_BK, _SATURATION, strength)
        grey_B1HW = (x_BCHW[:, 0:1] * 0.299).add_(x_BCHW[:, 1:2], alpha=0.587).add_(x_BCHW[:, 2:3], alpha=0.114)
        grey_B1HW.mul_((1 - keep)[:, None, None, None])
        x_BCHW = (x_BCHW * keep[:, None, None, None]).add_(grey_B1HW)
    return (x_BCHW * gain_BC[:, :, None, None]).add_(offset_BC[:, :, None, None])


def _erased(x_BCHW: torch.Tensor, random_BK: torch.Tensor, share: float) -> torch.Tensor:
    """A grey rectangle of 15 to 45 % of each side, in `share` of the pictures (random erasing, arXiv:1708.04896)."""
    inside = []
    for size, place, extent in ((x_BCHW.shape[2], _ERASE_Y, _ERASE_H), (x_BCHW.shape[3], _ERASE_X, _ERASE_W)):
        length = 0.15 + 0.3 * random_BK[:, extent, None]
        start = random_BK[:, place, None] * (1 - length)
        centres = (_centres(size, x_BCHW.device)[None] + 1) / 2
        inside.append((centres >= start) & (centres < start + length))
    chosen = random_BK[:, _ERASE] < share
    mask = (inside[0][:, None, :, None] & inside[1][:, None, None, :]) & chosen[:, None, None, None]
    return torch.where(mask, (random_BK[:, _ERASE_GREY] * 255)[:, None, None, None], x_BCHW)
