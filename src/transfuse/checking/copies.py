"""The same example twice, among all splits.

Pictures by their pixels and looks, texts by their letters and shingles (see `tasks`), rows by their digests.
Letters: N examples; M pairs.
"""

from dataclasses import dataclass

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples
from transfuse.core.runs import Run
from transfuse.tasks.images.duplicates import exact_pairs, near_pairs
from transfuse.tasks.images.inspecting import SMALLEST, inspect
from transfuse.tasks.listing import Listing
from transfuse.tasks.texts import duplicates as text_duplicates
from transfuse.tasks.texts.reading import Reads, text_of

_PLAIN = 1.0  # grey levels of deviation below which a picture is of one colour


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Pairs (M, 2) of places, the earlier one first."""

    exact: np.ndarray
    near: np.ndarray
    plain: np.ndarray
    """Places of pictures of one single colour."""


def copies(examples: Examples, modality: str, run: Run = Run()) -> Copies:
    """Who is a copy of whom. Raises `DataError` for a picture that can no longer be read."""
    if modality == "image":
        return _of_pictures(examples, run)
    if modality == "text":
        texts = tuple(text_of(item) for item in examples.items)
        reads = Reads(texts=texts, digests=examples.digests)
        return Copies(
            exact=text_duplicates.exact_pairs(reads),
            near=text_duplicates.near_pairs(reads),
            plain=np.zeros(0, np.int64),
        )
    return Copies(exact=_equal(examples.digests), near=np.empty((0, 2), np.int64), plain=np.zeros(0, np.int64))


def _of_pictures(examples: Examples, run: Run) -> Copies:
    listing = Listing(layout="task", items=examples.items, names=examples.names, labels=[None] * len(examples))
    read, looks = inspect(listing, run)
    if len(read) < len(listing):
        bad = next(warning for warning in read.warnings if warning.code == "unreadable")
        raise DataError(f"Pictures must stay readable while they are checked, but now: {bad.places[0]}.")
    large = looks.sides.min(axis=1) >= SMALLEST
    plain = np.flatnonzero(large & (looks.thumbnails.std(axis=(1, 2)) < _PLAIN))
    return Copies(exact=exact_pairs(looks), near=near_pairs(looks), plain=plain)


def _equal(names: tuple[str, ...]) -> np.ndarray:
    """Each copy paired with the first of its kind."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(name, row), row) for row, name in enumerate(names)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
