"""Modules by their path in a body: to find them, and to put others in their place."""

from torch import nn

from transfuse.core.errors import ModelError, UsageError


def module_at(body: nn.Module, path: str) -> nn.Module:
    """The module of this path. Raises `ModelError` where a change names one that is not there."""
    try:
        return body.get_submodule(path)
    except AttributeError as error:
        raise ModelError(f"A change names the module '{path}', which its network does not have.") from error


def put_module(body: nn.Module, path: str, module: nn.Module) -> None:
    """Another module in the place of one, in its mode."""
    module.train(module_at(body, path).training)
    body.set_submodule(path, module)


def require_replaceable(body: nn.Module) -> None:
    """Raise `UsageError` for a body that is read through a traced view, which would keep the modules of before."""
    for module in body.modules():
        if isinstance(getattr(module, "_traced", None), tuple):
            raise UsageError(
                f"A network whose modules are exchanged must be read at its end, but {type(module).__name__} is read at"
                " several depths. Change the network that it was made of."
            )
