"""Seeded changes of pictures and sounds that keep their meaning: a pure function of (example, key), a batch at once.

No step reduces over a picture or mixes pictures, so a result does not depend on the batch around the example.
Letters: B pictures; H, W pixels; C channels; K random numbers for each picture.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch.nn import functional

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Task
from transfuse.tasks.images.decoding import decode

Batch = TypeVar("Batch", np.ndarray, torch.Tensor)
_CACHED = 1 << 18  # numbers
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
    mask_pitch: float = 0.0
    """0..1: share of a sound's pitches that are silenced, two bands of them."""
    mask_time: float = 0.0
    """0..1: share of a sound's length that is silenced, in two places."""

    @property
    def moves(self) -> bool:
        """Whether pixels come to lie between pixels."""
        return any((self.shift, self.scale, self.rotate))


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
    count = len(pictures)
    if pictures.device.type == "cpu":  # a few pictures at a time, so that they stay in the processor's cache
        count = max(1, _CACHED // pictures[0].numel())
    result = torch.empty(pictures.shape, dtype=pictures.dtype, device=pictures.device)
    for start in range(0, len(pictures), count):
        part = slice(start, start + count)
        result[part] = _changed(pictures[part], random_BK[part], augmentation)
    return result.numpy() if isinstance(batch_BHWC, np.ndarray) else result


def _changed(pictures_BHWC: torch.Tensor, random_BK: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    x_BCHW = pictures_BHWC.permute(0, 3, 1, 2).contiguous().to(torch.float32, copy=True)
    if augmentation.flip_horizontal:
        _flip(x_BCHW, random_BK[:, _FLIP_H], 3)
    if augmentation.flip_vertical:
        _flip(x_BCHW, random_BK[:, _FLIP_V], 2)
    if augmentation.moves:
        x_BCHW = _moved(x_BCHW, random_BK, augmentation)
    if augmentation.colour:
        x_BCHW = _coloured(x_BCHW, random_BK, augmentation.colour)
    if augmentation.erase:
        _erase(x_BCHW, random_BK, augmentation.erase)
    if not pictures_BHWC.is_floating_point():
        x_BCHW.add_(0.5)
    return x_BCHW.clamp_(0, 255).to(pictures_BHWC.dtype).permute(0, 2, 3, 1)


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


def _flip(x_BCHW: torch.Tensor, random_B: torch.Tensor, side: int) -> None:
    """Mirror every second picture, in place."""
    chosen = torch.nonzero(random_B < 0.5)[:, 0]
    x_BCHW[chosen] = x_BCHW[chosen].flip(side)


def _moved(x_BCHW: torch.Tensor, random_BK: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Shift, scale and rotation in one bilinear sampling; edges are continued."""
    height, width = x_BCHW.shape[2:]
    angle = _signed(random_BK, _ROTATE, math.radians(augmentation.rotate))[:, None]
    zoom = torch.exp(_signed(random_BK, _SCALE, math.log1p(augmentation.scale)))[:, None]
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    x_BW = _centres(width, x_BCHW.device) - _signed(random_BK, _X, 2 * augmentation.shift)[:, None]
    y_BH = _centres(height, x_BCHW.device) - _signed(random_BK, _Y, 2 * augmentation.shift)[:, None]
    grid_BHW2 = torch.empty(len(x_BCHW), height, width, 2, device=x_BCHW.device)
    # grid coordinates run over -1..1 on both sides, so a rotation needs the picture's shape
    grid_BHW2[..., 0] = (cosine * x_BW)[:, None, :] - (sine * y_BH * (height / width))[:, :, None]
    grid_BHW2[..., 1] = (sine * x_BW * (width / height))[:, None, :] + (cosine * y_BH)[:, :, None]
    return functional.grid_sample(x_BCHW, grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False)


def _centres(count: int, device: torch.device) -> torch.Tensor:
    """Centres of `count` pixels on -1..1."""
    return (torch.arange(count, device=device, dtype=torch.float32) * 2 + 1) / count - 1


def _coloured(x_BCHW: torch.Tensor, random_BK: torch.Tensor, strength: float) -> torch.Tensor:
    """Saturation towards grey, contrast around mid-grey, brightness, and a gain for each channel; changes `x_BCHW`."""
    channels = x_BCHW.shape[1]
    contrast = torch.exp(_signed(random_BK, _CONTRAST, strength))
    bright = _signed(random_BK, _BRIGHT, strength * 96)
    gain_BC = contrast[:, None] * (1 + (random_BK[:, _GAIN : _GAIN + channels] * 2 - 1) * strength * 0.25)
    offset_BC = bright[:, None] + 128 - 128 * gain_BC
    if channels != 3:
        return x_BCHW.mul_(gain_BC[:, :, None, None]).add_(offset_BC[:, :, None, None])
    keep_B1 = 1 + _signed(random_BK, _SATURATION, strength)[:, None]
    grey_B1HW = (x_BCHW[:, 0:1] * 0.299).add_(x_BCHW[:, 1:2], alpha=0.587).add_(x_BCHW[:, 2:3], alpha=0.114)
    x_BCHW.mul_((keep_B1 * gain_BC)[:, :, None, None]).add_(offset_BC[:, :, None, None])
    return x_BCHW.addcmul_(grey_B1HW, ((1 - keep_B1) * gain_BC)[:, :, None, None])


def _erase(x_BCHW: torch.Tensor, random_BK: torch.Tensor, share: float) -> None:
    """A grey rectangle of 15 to 45 % of each side, in `share` of the pictures (random erasing, arXiv:1708.04896)."""
    height, width = x_BCHW.shape[2:]
    for picture, random in zip(x_BCHW, random_BK.tolist(), strict=True):
        if random[_ERASE] < share:
            rows = _stretch(height, random[_ERASE_Y], random[_ERASE_H])
            columns = _stretch(width, random[_ERASE_X], random[_ERASE_W])
            picture[:, rows, columns] = random[_ERASE_GREY] * 255


def _stretch(size: int, place: float, extent: float) -> slice:
    length = (0.15 + 0.3 * extent) * size
    start = place * (size - length)
    return slice(round(start), round(start + length))


LIGHT = Augmentation(shift=0.05, scale=0.05, rotate=5, colour=0.1)
STANDARD = Augmentation(shift=0.1, scale=0.15, rotate=10, colour=0.2)
STRONG = Augmentation(shift=0.15, scale=0.3, rotate=15, colour=0.35, erase=0.5)
SOUNDS = {
    "light": Augmentation(shift=0.05, mask_pitch=0.1, mask_time=0.1),
    "standard": Augmentation(shift=0.1, mask_pitch=0.2, mask_time=0.2),
    "strong": Augmentation(shift=0.15, mask_pitch=0.3, mask_time=0.3),
}
"""Of sounds, never mirrored: SpecAugment with a shift in time in place of its warping."""
_GLYPH = Augmentation(shift=0.08, scale=0.1, rotate=8, colour=0.05)

_SMALL = 40  # pixels of the longer side up to which a grey picture is taken for a letter, digit or sign
_SAMPLED = 32  # training pictures that are looked at
_SIDED = frozenset(
    (
        "left",
        "right",
        "lh",
        "rh",
        "clockwise",
        "anticlockwise",
        "counterclockwise",
        "cw",
        "ccw",
        "east",
        "west",
        "arrow",
    )
)


def suited(task: Task) -> tuple[Augmentation, str]:
    """The augmentation that keeps the meaning of the task's pictures or sounds, and why, in words."""
    if task.modality == "sound":
        return SOUNDS["standard"], "Sounds begin earlier or later, and some of their pitches and times are silenced."
    small = _small_and_grey(task)
    reason = _not_mirrored(task, small)
    if small:
        return _GLYPH, f"Pictures are shifted, scaled and turned a little and not mirrored: {reason}."
    if reason:
        return STANDARD, f"Pictures are shifted, scaled, turned and coloured a little and not mirrored: {reason}."
    words = "Pictures are mirrored, shifted, scaled, turned and coloured a little: nothing says that sides matter."
    return replace(STANDARD, flip_horizontal=True), words


def candidates(task: Task) -> dict[str, Augmentation]:
    """Augmentations to choose from on validation data, from none to strong; mirrored where `suited` mirrors."""
    if task.modality == "sound":
        return {"none": NONE, **SOUNDS}
    flip = suited(task)[0].flip_horizontal
    graded = {"light": LIGHT, "standard": STANDARD, "strong": STRONG}
    return {"none": NONE, **{name: replace(value, flip_horizontal=flip) for name, value in graded.items()}}


def _not_mirrored(task: Task, small: bool) -> str:
    """Why a mirror image may mean something else, or an empty text."""
    if task.kind == "regression":
        return "a number may depend on the side"
    if all(name.strip().isdigit() for name in task.classes):
        return "the classes are called by numbers, and a mirrored digit is another sign"
    if all(len(name.strip()) == 1 for name in task.classes):
        return "the classes are called by single characters, and a mirrored letter is another sign"
    sided = [name for name in task.classes if _SIDED & set(re.split(r"[^a-z]+", name.lower()))]
    if sided:
        return f"the class '{sided[0]}' names a side or direction"
    return "they are small and grey, like letters and digits" if small else ""


def _small_and_grey(task: Task) -> bool:
    items = task.splits["train"].items
    step = max(1, len(items) // _SAMPLED)
    pictures = [decode(item) for item in items[::step][:_SAMPLED]]
    return all(max(p.shape[:2]) <= _SMALL and (p == p[..., :1]).all() for p in pictures)
