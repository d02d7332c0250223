"""Labels as people write them, there and back: `cat`; `cat|dog` or `none`; `12.5, 3`."""

from collections.abc import Sequence

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import Kind
from transfuse.core.tables import unknown

NONE = "none"
"""No label of several."""


def written(kind: Kind, classes: Sequence[str], target: np.ndarray) -> str:
    """The label of one example as text."""
    if kind == "single-label":
        return classes[int(target)]
    if kind == "multi-label":
        return "|".join(classes[place] for place in np.flatnonzero(target > 0.5).tolist()) or NONE
    return ", ".join(np.format_float_positional(np.float32(value), trim="-") for value in target)


def read(kind: Kind, classes: Sequence[str], text: str) -> np.ndarray:
    """The target that a text means: int64 (), or float32 (C,). Raises `DataError`, `UnknownName`."""
    if kind == "single-label":
        return np.int64(_place(text, classes))  # type: ignore[return-value]
    if kind == "multi-label":
        target = np.zeros(len(classes), np.float32)
        if text != NONE or NONE in classes:
            target[[_place(name.strip(), classes) for name in text.split("|")]] = 1
        return target
    try:
        values = np.array([float(part) for part in text.split(",")], np.float32)
    except ValueError:
        values = np.zeros(0, np.float32)
    if len(values) != len(classes) or not np.isfinite(values).all():
        raise DataError(f"A target must be {len(classes)} number(s), separated by commas, but is '{text}'.")
    return values


def _place(name: str, classes: Sequence[str]) -> int:
    if name not in classes:
        raise unknown("class", name, classes)
    return list(classes).index(name)
