"""A body whose inner map is projected to another network's features, for that network's head (SimKD, arXiv 2203.14001).

1×1, 3×3 and 1×1 convolutions with batch norm and ReLU lead from a map of the body to as many channels as the other
network's last map has; their mean over places are the features. Letters: B pictures, c channels, h w pixels, D
features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from transfuse.core.errors import SourceError
from transfuse.sources import staging
from transfuse.sources.bodies import gives_channels_last


class ProjectedBody(nn.Module):
    """(B, c, h, w) to (B, D). What lies behind the inner map is not run."""

    def __init__(self, of: nn.Module, described: Mapping[str, Any]) -> None:
        super().__init__()
        self.of = of
        self.size = tuple(described["size"])
        self.channels_last = gives_channels_last(of)
        self.project = projector(described["from"], described["to"], described["factor"])
        # In a tuple, so that the traced view of `of` is not registered as a second owner of its parameters.
        self._traced = (staging.at_depths(of, (described["depth"],)),)

    def layer_names(self) -> tuple[str, ...]:
        """It is read at its end only."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("A projected body is read at its end only.")

    def layer_of_parameter(self) -> dict[str, int]:
        """Those of the body inside, the projector above them."""
        inside = {f"of.{name}": layer for name, layer in staging.stage_of_parameter(self.of).items()}
        above = max(inside.values(), default=0) + 1
        return {name: inside.get(name, above) for name, _ in self.named_parameters()}

    def forward(self, x_Bchw: Tensor) -> Tensor:
        map_ = self._traced[0](x_Bchw)[0]
        map_ = map_.movedim(-1, 1) if self.channels_last else map_
        if map_.shape[2] > self.size[0] or map_.shape[3] > self.size[1]:
            map_ = functional.adaptive_avg_pool2d(map_, self.size)
        return self.project(map_).mean((2, 3))


def projector(from_: int, to: int, factor: int) -> nn.Sequential:
    """From one number of channels to another, `factor` times fewer of these in the middle."""
    middle = max(1, to // factor)
    return nn.Sequential(
        nn.Conv2d(from_, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, to, 1, bias=False), nn.BatchNorm2d(to), nn.ReLU(),
    )  # fmt: skip


def described(depth: str, shape: Sequence[int], shape_to: Sequence[int], factor: int) -> dict[str, Any]:
    """The facts of a projection from a map (c, h, w) at `depth` to another network's."""
    return {"depth": depth, "from": shape[0], "to": shape_to[0], "size": list(shape_to[1:]), "factor": factor}


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> ProjectedBody:
    """The body that a builder's `projected` entry describes; `rebuild` makes the one inside."""
    return ProjectedBody(rebuild(described["of"]), described)
