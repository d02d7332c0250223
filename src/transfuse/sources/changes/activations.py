"""Other activations: `{"change": "activations", "modules": {path: name}}`, names of `sources.network.ACTIVATIONS`."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from transfuse.core.tables import chosen
from transfuse.sources.changes.places import put_module
from transfuse.sources.network import ACTIVATIONS


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body with these modules exchanged. Raises `ModelError`, `UnknownName`."""
    for path, name in change["modules"].items():
        put_module(body, path, ACTIVATIONS[chosen("activation", name, ACTIVATIONS)]())
    return body
