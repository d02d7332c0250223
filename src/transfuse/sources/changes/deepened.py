"""Blocks after blocks.

`{"change": "deepened", "blocks": [{"after": path, "what": "copy" | "gated" | "new", "times": 1, ...}]}`; a new block
says its `width`, `kernel` (0: linear) and `activation`.
"""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from transfuse.sources.changes.blocks import Chain, Gated, Grown
from transfuse.sources.changes.places import module_at, put_module


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body with the blocks; copies have the weights that the block has now. Raises `ModelError`."""
    for one in change["blocks"]:
        block = module_at(body, one["after"])
        put_module(body, one["after"], Chain(block, *(_made(block, one) for _ in range(one["times"]))))
    return body


def _made(block: nn.Module, one: Mapping[str, Any]) -> nn.Module:
    if one["what"] == "new":
        return Grown(one["width"], one["kernel"], one["activation"])
    copied = copy.deepcopy(block)
    return Gated(copied) if one["what"] == "gated" else copied
