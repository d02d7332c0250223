"""What the modules of a body are given and give, noted while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.sources.changes.blocks import first_of


@dataclass(frozen=True, kw_only=True)
class Called:
    """One call of a module."""

    given: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Any

    @property
    def keeps_shape(self) -> bool:
        """Whether the first tensor that it is given and the one that it gives have one shape."""
        output = first_of(self.output)
        if not self.given or not isinstance(self.given[0], Tensor) or not isinstance(output, Tensor):
            return False
        return self.given[0].shape == output.shape and output.is_floating_point()


def called_once(body: nn.Module, sample: Tensor) -> dict[str, Called]:
    """By path, in the order in which they end: modules with parameters that one pass calls exactly once."""
    calls: dict[str, list[Called]] = {}
    handles = [
        module.register_forward_hook(_noting(path, calls), with_kwargs=True)
        for path, module in body.named_modules()
        if path and next(module.parameters(), None) is not None
    ]
    try:
        with torch.no_grad():
            body.eval()(sample)
    finally:
        for handle in handles:
            handle.remove()
    return {path: found[0] for path, found in calls.items() if len(found) == 1}


def _noting(path: str, calls: dict[str, list[Called]]) -> Any:
    def note(module: nn.Module, given: Sequence[Any], named: Mapping[str, Any], output: Any) -> None:
        kept = tuple(value.clone() if isinstance(value, Tensor) else value for value in given)  # for in-place ones
        copied = output.clone() if isinstance(output, Tensor) else output
        calls.setdefault(path, []).append(Called(given=kept, named=dict(named), output=copied))

    return note
