"""What a body computes on the way: its maps at named depths, in one forward pass.

Letters: B pictures, D features, T tokens, h w the size of a map.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from transfuse.core.tables import chosen


def tapped(body: nn.Module, x_Bchw: Tensor, depths: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
    """Features (B, D) and, for each depth (a module's name), its output with gradients: (B, channels, ...).

    Maps that keep their channels last (tokens (B, T, D), or (B, h, w, D) of Swin) are turned, so that channels are second.
    """
    modules = dict(body.named_modules())
    maps: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            maps[name] = output

        return note

    handles = [
        modules[chosen("depth of this network", name, modules)].register_forward_hook(hook(name)) for name in depths
    ]
    try:
        features_BD = body(x_Bchw)
    finally:
        for handle in handles:
            handle.remove()
    last = getattr(body, "output_fmt", "NCHW") == "NHWC"
    return features_BD, [_channels_second(maps[name], last) for name in depths]


def _channels_second(map_: Tensor, channels_last: bool) -> Tensor:
    return map_.movedim(-1, 1) if map_.ndim == 3 or (map_.ndim == 4 and channels_last) else map_
