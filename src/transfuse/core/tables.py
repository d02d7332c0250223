"""Literal tables from a name to `module:attribute`, imported only when the name is used."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from transfuse.core.errors import UnknownName

Table = Mapping[str, str]


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a name that is not known: lists the known ones and the nearest."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return UnknownName(f"No {kind} is called '{name}'.{hint} Known: {', '.join(names)}.")


def chosen(kind: str, name: str, known: Iterable[str]) -> str:
    """`name` when it is known; raises `UnknownName` otherwise."""
    names = list(known)
    if name not in names:
        raise unknown(kind, name, names)
    return name


def resolve(table: Table, name: str, kind: str) -> Any:
    """What the table's entry `module:attribute` points to; raises `UnknownName`."""
    module, attribute = table[chosen(kind, name, table)].split(":")
    return getattr(importlib.import_module(module), attribute)
