"""The options of a method, from its signature: which there are, which hold one number for each parent, which are set.

A setting is a number or a word, a list of numbers (a gradient over the layers, the first layer's value first), or a
list of `{"filter": part of a name, "value": setting}` of which the first that fits is taken, as in mergekit.
"""

import fnmatch
import inspect
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, get_args, get_origin

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen, resolve, unknown
from transfuse.fusing.weights.methods import METHODS, Compat, Form

_OURS = ("draw", "statistics", "kept", "tie", "compat")
"""Given by the engine, not by the user."""
_SHARES = ("density", "gamma", "epsilon", "select_topk")
"""Lie between 0 and 1."""


@cache
def function_of(method: str) -> Any:
    """The function of a method; raises `UnknownName`."""
    return resolve({name: facts.place for name, facts in METHODS.items()}, method, "method of fusing weights")


@cache
def own_options(method: str) -> Mapping[str, Any]:
    """Options of a method with their annotations."""
    parameters = inspect.signature(function_of(method)).parameters
    return {
        name: p.annotation for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and name not in _OURS
    }  # fmt: skip


@cache
def engine_options(method: str) -> frozenset[str]:
    """What the method wants of the engine."""
    return frozenset(inspect.signature(function_of(method)).parameters) & frozenset(_OURS)


def per_parent(method: str, name: str) -> bool:
    """Whether an option holds one number for each parent."""
    return get_origin(own_options(method)[name]) is Sequence


def form_of(method: str, options: Mapping[str, Any], compat: Compat) -> Form:
    """What the method sees at once, with these options."""
    facts = METHODS[method]
    if options.get("filter_wise") or options.get("nuslerp_flatten") is False:
        return "rows-gram"
    whole = compat == "mergekit" and options.get("rescale") and facts.mergekit_form
    return facts.mergekit_form or facts.form if whole else facts.form


def based(method: str, base: object) -> bool:
    """Whether differences to the base, when there is one, are what is merged."""
    return base is not None and METHODS[method].based


def require_parents(method: str, count: int, based: bool) -> None:
    """Raise `UsageError` when the method wants other parents, or a base."""
    facts = METHODS[chosen("method of fusing weights", method, METHODS)]
    if facts.base == "required" and not based:
        raise UsageError(f"`{method}` must be given a base (`base`, on the command line --base), but has none.")
    if count < facts.least or (facts.most is not None and count > facts.most):
        wanted = f"at least {facts.least}" if facts.most is None else f"{facts.least} to {facts.most}"
        wanted = str(facts.least) if facts.most == facts.least else wanted
        raise UsageError(f"`{method}` must be given {wanted} parents beside the base, but is given {count}.")


def require_known(method: str, names: Sequence[str]) -> None:
    """Raise `UnknownName` for an option that the method does not have."""
    for name in names:
        if name not in own_options(method):
            raise unknown(f"option of '{method}'", name, own_options(method))


@cache
def default(method: str, name: str, compat: str) -> Any:
    """What an option is when nobody sets it."""
    if compat == "mergekit" and name in METHODS[method].mergekit:
        return METHODS[method].mergekit[name]
    value = inspect.signature(function_of(method)).parameters[name].default
    return value[0] if per_parent(method, name) else value


def evaluated(setting: Any, name: str, depth: float) -> Any:
    """A setting for one tensor; None when no filter fits. `depth`: 0 at the first layer, 1 at the last."""
    if not isinstance(setting, list | tuple):
        return setting
    if setting and all(isinstance(item, int | float) and not isinstance(item, bool) for item in setting):
        return _on_gradient(setting, depth)
    for item in setting:
        if not isinstance(item, Mapping) or "value" not in item or not set(item) <= {"filter", "value"}:
            raise UsageError(f"A list of settings must hold numbers or filter and value, but holds {item!r}.")
        wanted = item.get("filter")
        if wanted is None or wanted == "*" or wanted in name or fnmatch.fnmatchcase(name, wanted):
            found = evaluated(item["value"], name, depth)
            if found is not None:
                return found
    return None


def _on_gradient(values: Sequence[float], depth: float) -> float:
    place = depth * (len(values) - 1)
    low = min(int(place), max(len(values) - 2, 0))
    share = place - low
    return float(values[low] if share == 0 else values[low] * (1 - share) + values[low + 1] * share)


def checked(method: str, name: str, value: Any) -> Any:
    """The value of one option as the method wants it. Raises `UsageError` or `UnknownName`."""
    kind = own_options(method)[name]
    if get_origin(kind) is Literal:
        return chosen(name, str(value), get_args(kind))
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"`{name}` must be true or false, but is {value!r}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"`{name}` must be a number, but is {value!r}.")
    if name in _SHARES and not 0 <= value <= 1:
        raise UsageError(f"`{name}` must lie between 0 and 1, but is {value}.")
    if kind is int and (value != int(value) or value < 0):
        raise UsageError(f"`{name}` must be a whole number, but is {value!r}.")
    return int(value) if kind is int else float(value)


def settled(
    method: str,
    shared: Sequence[Mapping[str, Any]],
    parents: Sequence[Sequence[Mapping[str, Any]]],
    *,
    name: str,
    depth: float,
    compat: str,
) -> dict[str, Any]:
    """Every option of the method for one tensor.

    `shared` are mappings of settings, the nearest first; `parents` the same for each parent, asked before `shared`.
    """
    found: dict[str, Any] = {}
    for option in own_options(method):
        if per_parent(method, option):
            found[option] = tuple(
                checked(method, option, _first(option, (*own, *shared), name, depth, method, compat)) for own in parents
            )
        else:
            found[option] = checked(method, option, _first(option, shared, name, depth, method, compat))
    return found


def _first(
    option: str, settings: Sequence[Mapping[str, Any]], name: str, depth: float, method: str, compat: str
) -> Any:
    for mapping in settings:
        value = evaluated(mapping[option], name, depth) if option in mapping else None
        if value is not None:
            return value
    return default(method, option, compat)
