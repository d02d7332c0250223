"""What every layout is read into: pictures not yet decoded, with their labels as they were written."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from transfuse.core.nouns import DataWarning, Kind

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
"""What people call the three splits."""
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64"})
"""Endings of file names that promise a sound that can be read."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """N examples as found. `None` among labels, groups or weights means missing."""

    layout: str
    """In words: `class folders`, `table`, `COCO`, `array`, `saved dataset`, `in memory`."""
    items: Sequence[Any]
    names: Sequence[str]
    labels: Sequence[Any]
    """A string or number; a list of class names; or, with `columns`, a tuple with one number for each column."""
    splits: Sequence[str] | None = None
    """`train`, `valid` or `test` for each example, where the user decided."""
    groups: Sequence[str | None] | None = None
    weights: Sequence[float | None] | None = None
    classes: tuple[str, ...] | None = None
    """Where the layout itself knows the classes and their order."""
    kind: Kind | None = None
    """Where the layout leaves no doubt."""
    columns: tuple[str, ...] = ()
    """Names of the target columns, where there are several or the target is a number."""
    warnings: tuple[DataWarning, ...] = ()
    description: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)


def kept(listing: Listing, places: Sequence[int] | np.ndarray, *warnings: DataWarning) -> Listing:
    """The listing with only the examples at `places`, in that order, and with more warnings."""
    chosen = [int(place) for place in places]

    def of(column: Sequence[Any] | None) -> Any:
        return None if column is None else [column[place] for place in chosen]

    return replace(
        listing,
        items=of(listing.items),
        names=of(listing.names),
        labels=of(listing.labels),
        splits=of(listing.splits),
        groups=of(listing.groups),
        weights=of(listing.weights),
        warnings=(*listing.warnings, *warnings),
    )


def natural(text: str) -> tuple[Any, ...]:
    """Sorting key that puts `9` before `10`."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", text) if part)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in natural order; names that differ only in zeros keep a fixed order."""
    return tuple(sorted(set(names), key=lambda name: (natural(name), name)))
