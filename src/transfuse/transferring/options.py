"""From flat option names, as users give them, to a method's values: Fit, HeadShape, and its own."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from transfuse.core.checking import require_kinds
from transfuse.core.tables import resolve, unknown
from transfuse.training.options import Fit
from transfuse.transferring.methods.table import METHODS
from transfuse.tuning.outcome import HeadShape

Method = Callable[..., Any]
_SHARED = {"run", "fit", "head"}
_FIT = tuple(field.name for field in fields(Fit))
_HEAD = {"head": "kind", **{field.name: field.name for field in fields(HeadShape) if field.name != "kind"}}


def own_options(method: str) -> tuple[str, ...]:
    """Names of the options that a method has of its own."""
    parameters = inspect.signature(resolve(METHODS, method, "method of transfer")).parameters
    return tuple(name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and name not in _SHARED)


def arranged(method: str, given: Mapping[str, Any]) -> tuple[Method, dict[str, Any]]:
    """The method's function and the keyword arguments that the flat options make.

    `steps`, `rate` and the like make its `fit`; `head`, `hidden`, `activation` and `dropout` its `head`; a whole `fit`
    or `head` value is taken as it is. Raises `UnknownName` for an option that the method does not have, `UsageError`
    for a value that it does not take.
    """
    function: Method = resolve(METHODS, method, "method of transfer")
    parameters = inspect.signature(function).parameters
    known = {"fit", *_FIT, *own_options(method), *(_HEAD if "head" in parameters else ())}
    for name in given:
        if name not in known:
            raise unknown(f"option of '{method}'", name, known)
    _require_kinds(function, given)
    arguments = {name: given[name] for name in own_options(method) if name in given}
    arguments["fit"] = given.get("fit") or Fit(**{name: given[name] for name in _FIT if name in given})
    if "head" in parameters:
        shape = given.get("head")
        whole = isinstance(shape, HeadShape)
        arguments["head"] = (
            shape if whole else HeadShape(**{_HEAD[name]: given[name] for name in _HEAD if name in given})
        )
    return function, arguments


def _require_kinds(function: Method, given: Mapping[str, Any]) -> None:
    shape = get_type_hints(HeadShape)
    heads = {name: shape[field] for name, field in _HEAD.items()} | {"head": shape["kind"] | HeadShape}
    require_kinds(given, {**get_type_hints(Fit), **get_type_hints(function), **heads, "fit": Fit | None})
