"""Networks built by the user's own function: `nets.py:resnet20` or `package.module:function`.

This runs the user's code, so only with `trust_code`; the place and the digest of the code are recorded.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from transfuse.core import digests, tables
from transfuse.core.errors import SourceError, UsageError


def builder_of(place: str, trust_code: bool) -> dict[str, Any]:
    """The builder for `nets.py:function`; raises `UsageError` unless the code is trusted."""
    if not trust_code:
        raise UsageError(
            f"'{place}' builds the network by running that code, so it must be trusted: read it, then pass"
            " `trust_code=True` (on the command line `--trust-code`)."
        )
    code, function = _parts(place)
    path = _file_of(code)
    shown = str(path) if code.endswith(".py") else code
    return {"function": f"{shown}:{function}", "digest": digests.of_file(path)}


def places_in(builder: Any) -> Iterator[str]:
    """Every function that a builder names, those of the networks inside others too."""
    if isinstance(builder, Mapping):
        if isinstance(builder.get("function"), str):
            yield builder["function"]
        builder = list(builder.values())
    if isinstance(builder, list | tuple):
        for inside in builder:
            yield from places_in(inside)


def build(builder: Mapping[str, Any], trust_code: bool) -> nn.Module:
    """Run the function; raises `SourceError` when the code has changed since it was trusted or does not work."""
    place = str(builder["function"])
    now = builder_of(place, trust_code)
    if now["digest"] != builder["digest"]:
        raise SourceError(
            f"The code of '{place}' has changed since the source was recorded (sha256 {builder['digest'][:12]}…, now"
            f" {now['digest'][:12]}…). Read it and give the reference again."
        )
    code, name = _parts(place)
    module = _imported(code)
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if name not in known:
        raise tables.unknown(f"function of {code}", name, known)
    try:
        network = getattr(module, name)()
    except Exception as error:  # the user's code may raise anything
        raise SourceError(f"'{place}()' must give a network, but raised {type(error).__name__}: {error}.") from error
    if not isinstance(network, nn.Module):
        raise SourceError(f"'{place}()' must give a torch.nn.Module, but gave {type(network).__name__}.")
    return network


def _parts(place: str) -> tuple[str, str]:
    code, _, function = place.rpartition(":")
    if not code or not function.isidentifier():
        raise UsageError(
            f"A network's code must be like 'nets.py:function' or 'package.module:function', not '{place}'."
        )
    return code, function


def _file_of(code: str) -> Path:
    if code.endswith(".py"):
        path = Path(code).expanduser().resolve()
        if not path.is_file():
            raise UsageError(f"There is no file '{code}' with a network's code.")
        return path
    try:
        spec = importlib.util.find_spec(code)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise UsageError(f"There is no Python module '{code}' here; give the path of its file instead.")
    return Path(spec.origin)


def _imported(code: str) -> Any:
    try:
        if not code.endswith(".py"):
            return importlib.import_module(code)
        path = Path(code).expanduser().resolve()
        spec = importlib.util.spec_from_file_location(f"transfuse_user_{digests.of_file(path)[:12]}", path)
        if spec is None or spec.loader is None:
            raise SourceError(f"'{code}' is not Python code.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and torch look their own module up
        spec.loader.exec_module(module)
        return module
    except SourceError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise SourceError(f"'{code}' cannot be imported: {type(error).__name__}: {error}.") from error
