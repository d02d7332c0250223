"""A body that gives the features of several sources side by side, each of which sees the picture as it wants it.

Letters: B pictures, c channels, h w pixels, D features.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.digests import of_value
from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Preprocessing, SoundPreprocessing
from transfuse.core.provenance import plain
from transfuse.sources.images import preprocessing
from transfuse.sources.opening import Opened, side_by_side

_LUMINANCE = (0.299, 0.587, 0.114)


class View(nn.Module):
    """A picture as one source wants it, from the picture as another one does: size, grey, range, mean, deviation."""

    given_mean: Tensor
    given_std: Tensor
    wanted_mean: Tensor
    wanted_std: Tensor
    to_grey: Tensor | None

    def __init__(self, given: Preprocessing, wanted: Preprocessing) -> None:
        super().__init__()
        self.size, self.same = wanted.size, given == wanted
        self.antialias = wanted.size[0] < given.size[0] or wanted.size[1] < given.size[1]
        for name, values in (("mean", given.mean), ("std", given.std)):
            self._keep(f"given_{name}", values, given.channels)
        for name, values in (("mean", wanted.mean), ("std", wanted.std)):
            self._keep(f"wanted_{name}", values, wanted.channels)
        self.factor = wanted.range / given.range
        self.interpolation = wanted.interpolation
        grey = wanted.channels == 1 and given.channels == 3
        self.register_buffer("to_grey", torch.tensor(_LUMINANCE).view(1, 3, 1, 1) if grey else None, persistent=False)

    def _keep(self, name: str, values: Sequence[float], channels: int) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, channels, 1, 1), persistent=False)

    def forward(self, x_Bchw: Tensor) -> Tensor:
        if self.same:
            return x_Bchw
        pixels = (x_Bchw.float() * self.given_std + self.given_mean) * self.factor
        if self.to_grey is not None:
            pixels = (pixels * self.to_grey).sum(1, keepdim=True)
        if pixels.shape[2:] != torch.Size(self.size):
            mode = self.interpolation
            options = {} if mode == "nearest" else {"align_corners": False, "antialias": self.antialias}
            pixels = F.interpolate(pixels, size=self.size, mode=mode, **options)
        return (pixels - self.wanted_mean) / self.wanted_std


class FusedBody(nn.Module):
    """Features of several bodies, concatenated: (B, c, h, w) to (B, sum of D)."""

    def __init__(self, parts: Sequence[nn.Module], views: Sequence[View]) -> None:
        super().__init__()
        self.parts, self.views = nn.ModuleList(parts), nn.ModuleList(views)

    def forward(self, x_Bchw: Tensor) -> Tensor:
        return torch.cat([part(view(x_Bchw)) for part, view in zip(self.parts, self.views, strict=True)], dim=1)


def fused(parts: Sequence[Opened]) -> Opened:
    """Several opened sources as one, whose pictures are as the part with the largest ones wants them.

    Raises `UsageError` when parts want colour and that part has none, or when they cut pictures in different ways.
    """
    pictures = [_picture(part.source.preprocessing) for part in parts]
    largest = max(pictures, key=lambda p: (p.channels, p.size[0] * p.size[1]))
    if len({(p.fit, p.crop_share) for p in pictures}) > 1:
        raise UsageError("Sources to be fused must all squash pictures or all crop them alike, but these differ.")
    body = FusedBody([part.body for part in parts], [View(largest, p) for p in pictures])
    described = [
        {"builder": part.source.builder, "preprocessing": plain(picture)}
        for part, picture in zip(parts, pictures, strict=True)
    ]
    return side_by_side(
        parts,
        body,
        origin="fused",
        builder={"fused": {"parts": described, "preprocessing": plain(largest)}},
        preprocessing=_shown(parts, replace(largest, known=all(p.known for p in pictures))),
        digest=of_value(["fused", [[part.source.digest, plain(part.source.preprocessing)] for part in parts]]),
    )


def _picture(preprocessing: AnyPreprocessing) -> Preprocessing:
    """How a source wants its pictures, or its sounds as pictures."""
    if isinstance(preprocessing, SoundPreprocessing):
        return preprocessing.picture
    if not isinstance(preprocessing, Preprocessing):
        raise UsageError(
            "Sources to be fused must take pictures or sounds, but some take texts or rows. Leave these out."
        )
    return preprocessing


def _shown(parts: Sequence[Opened], largest: Preprocessing) -> Preprocessing | SoundPreprocessing:
    """The preprocessing of all; sounds must become spectrograms in one way."""
    given = [part.source.preprocessing for part in parts]
    sounds = [one for one in given if isinstance(one, SoundPreprocessing)]
    if not sounds:
        return largest
    first = replace(sounds[0], picture=largest, known=largest.known)
    ways = {replace(one, picture=largest, known=True, hop=first.hop) for one in sounds}
    if len(sounds) < len(given) or len(ways) > 1:
        raise UsageError("Sources to be fused must all take sounds, of one rate, length and number of bands.")
    return first


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> FusedBody:
    """The body that a builder's `fused` entry describes; `rebuild` makes its parts."""
    largest = preprocessing.from_plain(described["preprocessing"])
    wanted = [preprocessing.from_plain(part["preprocessing"]) for part in described["parts"]]
    parts = [rebuild(part["builder"]) for part in described["parts"]]
    return FusedBody(parts, [View(largest, p) for p in wanted])
