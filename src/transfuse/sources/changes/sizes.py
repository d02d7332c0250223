"""Tensors of other sizes, and the numbers in modules that say how large their tensors are.

`{"change": "sizes", "tensors": {name: shape}, "attributes": {module path: {attribute: value}}}`
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import ModelError

_MOST = 2**31


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body with tensors of these shapes, whose weights are drawn anew as their layers do. Raises `ModelError`."""
    known = body.state_dict(keep_vars=True)
    for name, shape in change["tensors"].items():
        if name not in known:
            raise ModelError(f"A change names the tensor '{name}', which its network does not have.")
        put(body, name, known[name].new_empty(_checked(name, shape)).detach().zero_())
    for path, attributes in change["attributes"].items():
        for attribute, value in attributes.items():
            set_number(body.get_submodule(path), attribute, value)
    for path in dict.fromkeys(name.rpartition(".")[0] for name in change["tensors"]):
        _draw(body.get_submodule(path))
    return body


def _checked(name: str, shape: Any) -> tuple[int, ...]:
    """A shape that a file may ask for."""
    numbers = isinstance(shape, list | tuple) and all(type(size) is int and size > 0 for size in shape)
    if not numbers or math.prod(shape) > _MOST:
        raise ModelError(f"A change must give '{name}' a shape of at most {_MOST:,} numbers, but gives {shape}.")
    return tuple(shape)


def _draw(module: nn.Module) -> None:
    """Random weights; a layer without a way of its own draws as transformers do."""
    if callable(reset := getattr(module, "reset_parameters", None)):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)
        else:
            nn.init.ones_(parameter)


def put(body: nn.Module, name: str, tensor: torch.Tensor) -> None:
    """Another tensor under a name of the state dict; tied names keep one tensor only when each is put in turn."""
    path, _, own = name.rpartition(".")
    module = body.get_submodule(path)
    if own in module._parameters:
        module._parameters[own] = nn.Parameter(tensor, requires_grad=module._parameters[own].requires_grad)  # type: ignore[union-attr]
    else:
        module._buffers[own] = tensor


def set_number(module: nn.Module, attribute: str, value: Any) -> None:
    """An attribute that a module has already; tuples come back from JSON as lists. Raises `ModelError`."""
    own, value = getattr(module, attribute, None), tuple(value) if isinstance(value, list) else value
    numbers = value if isinstance(value, tuple) else (value,)
    if type(own) is not type(value) or not all(type(number) is int for number in numbers):
        raise ModelError(f"A change gives '{attribute}' of {type(module).__name__} the size {value!r}, which is none.")
    setattr(module, attribute, value)
