"""The body up to a depth, pooled: `{"change": "truncated", "depth": name}`. What lay behind is gone.

Letters: B examples, D features.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from transfuse.sources import bodies, staging


class TruncatedBody(nn.Module):
    """A batch to the pooled features (B, D) of a depth."""

    def __init__(self, of: nn.Module, depth: str) -> None:
        super().__init__()
        self.channels_last = bodies.gives_channels_last(of)
        self.net = staging.split_at(of, depth)[0]

    def forward(self, x: Tensor) -> Tensor:
        map_ = self.net(x)
        return bodies.pooled(map_, map_.ndim, self.channels_last)


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body without what lies behind the depth. Raises `UnknownName`, `SourceError`."""
    return TruncatedBody(body, change["depth"]).eval()
