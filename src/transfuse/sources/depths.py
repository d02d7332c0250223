"""A body that gives the features of several depths side by side.

What transfers best often lies below the last stage (Evci et al., "Head2Toe", arXiv 2201.03529); a head on several
depths lets the data decide. Letters: B pictures, D features, c channels, h w pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.digests import of_value
from transfuse.sources import bodies, staging
from transfuse.sources.opening import Opened

FINAL = "final"


class DeepBody(nn.Module):
    """Pooled features of several depths, concatenated: (B, c, h, w) to (B, sum of D). Parameters are those of `of`."""

    def __init__(self, of: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.of = of
        self.channels_last = bodies.gives_channels_last(of)
        # In a tuple, so that the traced view of `of` is not registered as a second owner of its parameters.
        self._traced = (staging.at_depths(of, tuple(names)),)

    def forward(self, x_Bchw: Tensor) -> Tensor:
        maps = self._traced[0](x_Bchw)
        return torch.cat([bodies.pooled(map_, map_.ndim, self.channels_last) for map_ in maps], dim=1)


def deep(opened: Opened, names: Sequence[str]) -> Opened:
    """The opened source with a body that gives the features of all `names` side by side."""
    body = DeepBody(opened.body, names).eval()
    builder = {"depths": {"of": opened.source.builder, "names": list(names)}}
    # another network, so another name in the cache: its `final` is not the `final` of the one inside
    source = replace(opened.source, builder=builder, digest=of_value([opened.source.digest, list(names)]))
    size = bodies.feature_size(body, source.preprocessing)
    return replace(opened, source=source, body=body, source_head=None, depths=(), feature_size=size)


def spread(depths: Sequence[str], count: int) -> tuple[str, ...]:
    """`final` and up to `count` - 1 depths before it, evenly spaced over the network."""
    places = [round((part + 1) * len(depths) / count) - 1 for part in range(count - 1)]
    return (*dict.fromkeys(depths[max(place, 0)] for place in places if depths), FINAL)


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> DeepBody:
    """The body that a builder's `depths` entry describes; `rebuild` makes the one inside."""
    return DeepBody(rebuild(described["of"]), described["names"])
