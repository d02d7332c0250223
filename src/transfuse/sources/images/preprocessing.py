"""How pictures become what a source was trained on: normalising here, decoding and resizing in `tasks.images.decoding`.

Letters: B pictures, h w pixels, c channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Preprocessing
from transfuse.core.tables import chosen
from transfuse.tasks.images.encodings import parsed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ASSUMED = Preprocessing(size=(224, 224), mean=IMAGENET_MEAN, std=IMAGENET_STD, known=False)
"""For sources that do not say: what most networks for photographs were trained with."""

Size = int | Sequence[int]


def normalise(
    batch: np.ndarray | torch.Tensor, preprocessing: Preprocessing, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """uint8 pictures (B, h, w, c) to float32 (B, c, h, w) with mean and std taken off, laid out channels-last.

    Computes (x / 255 · range − mean) / std as one multiplication and one addition.
    """
    tensor = (torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch).to(device)
    width = tensor.shape[2]
    mean = torch.tensor(preprocessing.mean, device=device, dtype=torch.float32)
    std = torch.tensor(preprocessing.std, device=device, dtype=torch.float32)
    # whole rows of pixels at once: a last dimension of three channels would take four times as long
    factor_wc, shift_wc = (preprocessing.range / 255 / std).repeat(width), (-mean / std).repeat(width)
    scaled = torch.addcmul(shift_wc, tensor.flatten(2).to(torch.float32), factor_wc)
    return scaled.view(tensor.shape).permute(0, 3, 1, 2)


def given(
    preprocessing: Preprocessing,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: Size | None = None,
    range: float | None = None,
    crop: str | None = None,
) -> Preprocessing:
    """The preprocessing with what the user gave in place of what is known or assumed."""
    changes: dict[str, Any] = {}
    if size is not None:
        changes["size"] = _pair(size)
    if mean is not None:
        changes["mean"] = tuple(float(value) for value in mean)
    if std is not None:
        changes["std"] = tuple(float(value) for value in std)
    if range is not None:
        changes["range"] = float(range)
    if crop is not None:
        changes["crop"] = chosen("crop", crop, ("none", "ink"))
    result = replace(preprocessing, **changes)
    # The size is a choice, the value scale is knowledge: only all of the latter makes an assumption knowledge.
    if {"mean", "std"} <= changes.keys():
        result = replace(result, known=True)
    return _checked(result)


def from_plain(document: Mapping[str, Any]) -> Preprocessing:
    """A Preprocessing from its plain form, as a card or a saved Model holds it; missing parts are assumed."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
    }
    if isinstance(fields.get("range"), tuple):  # a card's (black, white)
        fields["range"] = fields["range"][-1]
    if "size" in fields:
        fields["size"] = _pair(fields["size"])
    try:
        return _checked(Preprocessing(**{"size": ASSUMED.size, **fields}))
    except TypeError as error:
        raise UsageError(f"A preprocessing must hold size, mean, std, range and interpolation ({error}).") from error


def _pair(size: Size) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if not (1 <= height <= 8192 and 1 <= width <= 8192):
        raise UsageError(f"`size` must be between 1 and 8192 pixels, but is {height} by {width}.")
    return int(height), int(width)


def _checked(preprocessing: Preprocessing) -> Preprocessing:
    if len(preprocessing.mean) != len(preprocessing.std) or len(preprocessing.mean) not in (1, 3):
        raise UsageError(
            f"`mean` and `std` must both have 3 values (or 1 for grey), but are {preprocessing.mean} and"
            f" {preprocessing.std}."
        )
    parsed(preprocessing.encoding)
    if min(preprocessing.std) <= 0 or preprocessing.range <= 0:
        raise UsageError(f"`std` and `range` must be positive, but are {preprocessing.std} and {preprocessing.range}.")
    return preprocessing
