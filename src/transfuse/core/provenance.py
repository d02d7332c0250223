"""Recording: the verbs' doors write one Step for each call; methods never do."""

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transfuse.core.nouns import Step


def options_of(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every keyword option of a method with the value it will have, defaults included, as plain values."""
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: given.get(p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {name: plain(value) for name, value in named.items() if value is not inspect.Parameter.empty}


def plain(value: Any) -> Any:
    """A value as JSON can hold it; arrays, tensors and their numbers become lists and plain numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | float | str | None):
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value) if isinstance(value, Path) else getattr(value, "__name__", str(value))


def step_from(document: Mapping[str, Any]) -> Step:
    """A Step from its plain form (the inverse of `plain`)."""
    return Step(**{**document, "inputs": tuple(step_from(child) for child in document.get("inputs", ()))})


def walk(step: Step, level: int = 0) -> Iterator[tuple[int, Step]]:
    """Every step of the tree with its level, parents after what was made of them."""
    yield level, step
    for child in step.inputs:
        yield from walk(child, level + 1)
