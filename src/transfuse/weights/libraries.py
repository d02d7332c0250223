"""The first versions of libraries that open files from outside safely; older ones are not given such files."""

import functools
import importlib.metadata
import re
from collections.abc import Mapping

from transfuse.core.errors import UnsafeLibrary

SAFE_FROM: Mapping[str, tuple[str, str]] = {
    "torch": ("2.10", "CVE-2026-24747: a weights file could damage memory"),
    "transformers": ("5.3", "CVE-2026-4372: a configuration could fetch and run native code"),
    "keras": ("3.13.1", "CVE-2025-9905 and 9906: a model file could run code in safe mode"),
    "onnx": ("1.21", "CVE-2026-34446: a model could read files outside its folder"),
    "picklescan": ("1.0.5", "names and containers that older ones overlook"),
}
"""Library to its first safe version and what is wrong before."""


def outdated() -> dict[str, str]:
    """Installed libraries that are older than their first safe version, with a sentence for each."""
    return {name: sentence for name in SAFE_FROM if (sentence := _complaint(name))}


def require_safe(name: str) -> None:
    """Raise `UnsafeLibrary` where the installed version is older than the first safe one; an absent one passes."""
    sentence = _complaint(name)
    if sentence:
        raise UnsafeLibrary(sentence)


@functools.cache
def _complaint(name: str) -> str:
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    needed, why = SAFE_FROM[name]
    if _numbers(found) >= _numbers(needed):
        return ""
    return (
        f"`{name}` must be at least {needed} to open files from outside, but is {found} ({why})."
        f" Upgrade it: pip install '{name}>={needed}'."
    )


def _numbers(version: str) -> tuple[int, ...]:
    """`2.10.1+cpu` as (2, 10, 1); a pre-release counts as the release before which it comes."""
    return tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))  # type: ignore[index]
