"""Pictures in pixels of 0..1, and the network's input made of them, so that a change has a size that means something.

What sources take off and divide by is inside; an attack sees pixels only. The members of an ensemble that want other
sizes are given the largest member's picture, resized.
Letters: B pictures, c channels, h w pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, JointPreprocessing, Preprocessing
from transfuse.tasks.images import loading

_LUMA = (0.299, 0.587, 0.114)


class OnPixels(nn.Module):
    """A network that takes pixels (B, c, h, w) in 0..1."""

    def __init__(self, network: nn.Module, preprocessing: AnyPreprocessing) -> None:
        super().__init__()
        self.network, self.preprocessing = network, preprocessing

    def forward(self, pixels_Bchw: Tensor) -> Tensor:
        return self.network(prepared(pixels_Bchw, self.preprocessing)).float()


def views_of(preprocessing: AnyPreprocessing) -> tuple[Preprocessing, ...]:
    """Every way in which a picture is prepared. Raises `UsageError` for other data than pictures."""
    views = preprocessing.views if isinstance(preprocessing, JointPreprocessing) else (preprocessing,)
    pictures = tuple(view for view in views if isinstance(view, Preprocessing))
    if len(pictures) < len(views):
        raise UsageError("Pixels are changed in pictures only, but these are other data.")
    return pictures


def largest(preprocessing: AnyPreprocessing) -> Preprocessing:
    """The view of which pixels are changed: the one with the most of them."""
    return max(views_of(preprocessing), key=lambda view: (view.channels, view.size[0] * view.size[1]))


def decoded(items: Sequence[Any], preprocessing: AnyPreprocessing) -> np.ndarray:
    """Pictures of the size that the network sees, uint8 (B, h, w, c)."""
    return loading.batch(items, largest(preprocessing))


def as_pixels(pictures_Bhwc: np.ndarray) -> Tensor:
    """uint8 (B, h, w, c) as float32 (B, c, h, w) in 0..1."""
    return torch.from_numpy(pictures_Bhwc).permute(0, 3, 1, 2).float() / 255


def prepared(pixels_Bchw: Tensor, preprocessing: AnyPreprocessing) -> Tensor:
    """What the network takes: (B, c, h, w), or the views of an ensemble side by side. Gradients pass."""
    if not isinstance(preprocessing, JointPreprocessing):
        return normalised(pixels_Bchw, views_of(preprocessing)[0])
    views = (normalised(_fitted(pixels_Bchw, view), view) for view in views_of(preprocessing))
    return torch.cat([view.flatten(1) for view in views], 1)


def normalised(pixels_Bchw: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(pixel · range − mean) / std."""
    mean, std = _per_channel(preprocessing, pixels_Bchw)
    return (pixels_Bchw * preprocessing.range - mean) / std


def denormalised(x_Bchw: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The pixels of a batch that is ready for the network: the inverse of `normalised`, in 0..1."""
    mean, std = _per_channel(preprocessing, x_Bchw)
    return ((x_Bchw * std + mean) / preprocessing.range).clamp(0, 1)


def _per_channel(preprocessing: Preprocessing, like: Tensor) -> tuple[Tensor, Tensor]:
    mean, std = (like.new_tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return mean, std


def _fitted(pixels_Bchw: Tensor, view: Preprocessing) -> Tensor:
    """The picture in the size and colours of another view."""
    if pixels_Bchw.shape[1] == 3 and view.channels == 1:
        pixels_Bchw = (pixels_Bchw * pixels_Bchw.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if tuple(pixels_Bchw.shape[2:]) == view.size:
        return pixels_Bchw
    return F.interpolate(pixels_Bchw, size=view.size, mode="bilinear", antialias=True, align_corners=False)
