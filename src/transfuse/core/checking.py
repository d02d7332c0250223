"""Whether an option's value is what the signature of its method says: asked once, before any work."""

import types
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, Union, get_args, get_origin

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", types.NoneType: "None"}


def require_kinds(values: Mapping[str, Any], hints: Mapping[str, Any]) -> None:
    """Raise `UsageError` for the first value that its annotation does not allow, `UnknownName` for a wrong word."""
    for name, value in values.items():
        kind = hints.get(name, Any)
        if get_origin(kind) is Literal and isinstance(value, str):
            chosen(name.replace("_", " "), value, get_args(kind))
        elif not _allowed(value, kind):
            raise UsageError(f"`{name}` must be {_words(kind)}, but is {value!r}.")


def _allowed(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin in (Union, types.UnionType):
        return any(_allowed(value, part) for part in get_args(kind))
    if origin is Literal:
        return isinstance(value, str) or value in get_args(kind)  # a wrong word is explained by who knows the words
    if kind in (int, float):
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if origin in (tuple, list) or getattr(origin, "__name__", "") == "Sequence":
        return isinstance(value, tuple | list)
    outer = origin or kind
    return isinstance(value, outer) if isinstance(outer, type) else True


def _words(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_words(part) for part in get_args(kind))
    if get_origin(kind) is Literal:
        return " or ".join(f"'{word}'" for word in get_args(kind))
    return _WORDS.get(kind, getattr(get_origin(kind) or kind, "__name__", str(kind)).lower())
