"""The same example twice, among all splits.

Pictures by their pixels and looks (`tasks.duplicates`), texts by their letters and their words, rows by their digests.
Letters: N examples; M pairs; B rows of a block; V words.
"""

import re
from dataclasses import dataclass

import numpy as np

from transfuse.checking.seeing import word_weights
from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples
from transfuse.core.runs import Run
from transfuse.tasks.duplicates import exact_pairs, near_pairs
from transfuse.tasks.inspecting import SMALLEST, inspect
from transfuse.tasks.listing import Listing

SIMILAR = 0.9
"""Cosine of two texts' words from which they are near copies."""
_BLOCK = 512
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
    none = np.empty((0, 2), np.int64)
    if modality == "image":
        return _of_pictures(examples, run)
    exact = _equal(examples.digests)
    near = _of_texts([str(item) for item in examples.items]) if modality == "text" else none
    known = {tuple(pair) for pair in exact.tolist()}
    near = np.array([pair for pair in near.tolist() if tuple(pair) not in known], np.int64).reshape(-1, 2)
    return Copies(exact=exact, near=near, plain=np.zeros(0, np.int64))


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


def _of_texts(texts: list[str]) -> np.ndarray:
    """Texts that differ in case, marks and blanks only, and texts of nearly the same words."""
    bare = tuple(" ".join(re.findall(r"\w+", text.casefold())) for text in texts)
    x_NV = word_weights(list(bare))
    pairs = [_equal(bare)]
    for start in range(0, len(texts), _BLOCK):
        cosines = (x_NV[start : start + _BLOCK] @ x_NV[start:].T).tocoo()
        close = (cosines.data >= SIMILAR) & (cosines.col > cosines.row)
        pairs.append(np.stack([cosines.row[close] + start, cosines.col[close] + start], axis=1).astype(np.int64))
    return np.unique(np.concatenate(pairs), axis=0)
