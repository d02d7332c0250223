"""Blocks taken out: `{"change": "removed", "blocks": [path, ...]}`. What went in comes out."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from transfuse.sources.changes.blocks import Skipped
from transfuse.sources.changes.places import module_at, put_module


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body without the blocks. Raises `ModelError`."""
    for path in change["blocks"]:
        put_module(body, path, Skipped(module_at(body, path)))
    return body
