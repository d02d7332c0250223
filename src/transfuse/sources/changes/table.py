"""Changes by name, and a body with its changes: `{"reshaped": {"of": builder, "changes": [change, ...]}}`.

A change is a mapping of plain values with its name under `change`. Replaying it makes room of the right shape; what
fills the room are the tensors of the saved Model.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from transfuse.core.tables import resolve

CHANGES = {
    "activations": "transfuse.sources.changes.activations:replayed",
    "deepened": "transfuse.sources.changes.deepened:replayed",
    "factored": "transfuse.sources.changes.factored:replayed",
    "removed": "transfuse.sources.changes.removed:replayed",
    "sizes": "transfuse.sources.changes.sizes:replayed",
    "truncated": "transfuse.sources.changes.truncated:replayed",
}
"""Functions (body, change) -> body, which may change the body in place."""


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> nn.Module:
    """The body that a builder's `reshaped` entry describes; `rebuild` makes the one that was changed."""
    body = rebuild(described["of"])
    for change in described["changes"]:
        body = replayed(body, change)
    return body


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body with one more change."""
    replay: Callable[[nn.Module, Mapping[str, Any]], nn.Module] = resolve(CHANGES, change["change"], "change")
    return replay(body, change)


def with_change(builder: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The builder of a body after one more change."""
    if "reshaped" in builder:
        earlier = builder["reshaped"]
        return {"reshaped": {"of": earlier["of"], "changes": [*earlier["changes"], change]}}
    return {"reshaped": {"of": builder, "changes": [change]}}
