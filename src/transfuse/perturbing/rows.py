"""Noise of rows of tables in five severities, on encoded rows: cells that were mistyped, misread or lost.

Numbers move by at most a share of their column's spread, categories become other ones of the training rows, drawn as
often as they are there. Texts, pictures and sounds in cells stay. Letters: B rows, K encoded numbers, U random numbers.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.core.randomness import key
from transfuse.tasks.images.augmenting import uniform
from transfuse.tasks.tables.encoding import width_of

SPREADS = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Standard deviations by which a number moves, at most."""
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Of the cells that are swapped or lost."""


def numbers(x_BK: np.ndarray, preprocessing: TablePreprocessing, severity: int, keys_B: Sequence[int]) -> np.ndarray:
    """Every number moves, evenly within the bound; they are encoded in standard deviations."""
    found_BK = x_BK.copy()
    for _, place, u_BU in _columns(preprocessing, keys_B, ("numeric",)):
        found_BK[:, place] += (2 * u_BU[:, 0] - 1) * SPREADS[severity - 1]
    return found_BK


def categories(x_BK: np.ndarray, preprocessing: TablePreprocessing, severity: int, keys_B: Sequence[int]) -> np.ndarray:
    """Some categories become others, some truth values turn round."""
    found_BK = x_BK.copy()
    for column, place, u_BU in _columns(preprocessing, keys_B, ("categorical", "boolean")):
        cells_B = x_BK[:, place]
        hit_B = (u_BU[:, 0] < SHARES[severity - 1]) & ~np.isnan(cells_B)
        other_B = 1 - cells_B if column.role == "boolean" else _others(column, cells_B, u_BU[:, 1])
        found_BK[hit_B, place] = other_B[hit_B]
    return found_BK


def lost(x_BK: np.ndarray, preprocessing: TablePreprocessing, severity: int, keys_B: Sequence[int]) -> np.ndarray:
    """Some cells are missing."""
    found_BK, roles = x_BK.copy(), ("numeric", "categorical", "boolean", "date")
    for column, place, u_BU in _columns(preprocessing, keys_B, roles):
        found_BK[u_BU[:, 0] < SHARES[severity - 1], place : place + width_of(column)] = np.nan
    return found_BK


def _columns(
    preprocessing: TablePreprocessing, keys_B: Sequence[int], roles: Sequence[str]
) -> Iterator[tuple[Column, int, np.ndarray]]:
    """Columns of these roles, where each begins in an encoded row, and numbers (B, 2) in 0..1 of each row's own."""
    place = 0
    for column in preprocessing.columns:
        if column.role in roles and not column.absent:
            own = key(column.name)
            yield column, place, uniform([row ^ own for row in keys_B], 2).numpy()
        place += width_of(column)


def _others(column: Column, cells_B: np.ndarray, u_B: np.ndarray) -> np.ndarray:
    """Another category for each cell, drawn by its share of the training rows; the cell itself where there is none."""
    count = len(column.values)
    if count < 2:
        return cells_B
    share_V = np.asarray(column.shares or np.full(count, 1 / count), float)
    own_BV = np.arange(count) == np.where(cells_B < 0, -1, cells_B)[:, None]
    share_BV = np.where(own_BV, 0.0, share_V)
    upto_BV = np.cumsum(share_BV, 1)
    return (upto_BV <= (u_B * upto_BV[:, -1])[:, None]).sum(1).clip(max=count - 1).astype(cells_B.dtype)
