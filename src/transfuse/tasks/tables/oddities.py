"""What of a row was not met where a model learnt, by what its columns keep: ranges, categories, missing cells.

Letters: N rows.
"""

import numpy as np
import pyarrow as pa

from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.tasks.tables import cells
from transfuse.tasks.tables.encoding import numbers_of
from transfuse.tasks.tables.roles import FILES

_SHOWN = 60  # characters of a cell


def oddities(table: pa.Table, preprocessing: TablePreprocessing) -> dict[int, list[str]]:
    """In words, by row, in the order of the columns. Cells that are not of their role are no oddities but errors."""
    found: dict[int, list[str]] = {}
    for column in preprocessing.columns:
        if column.absent or column.name not in table.column_names:
            continue
        cell_N = cells.blanked(table.column(column.name), column.blanks)
        for rows, words in _of_column(cell_N, column):
            for row in rows.tolist():
                shown = str(cell_N[row].as_py())[:_SHOWN]
                found.setdefault(row, []).append(f"column '{column.name}' {words.format(shown)}")
    return found


def _of_column(cell_N: pa.ChunkedArray, column: Column) -> list[tuple[np.ndarray, str]]:
    """Rows and what is said of them; `{}` stands for the cell."""
    missing_N = cell_N.is_null().to_numpy()
    lacking = np.flatnonzero(missing_N) if not column.missing else np.zeros(0, np.int64)
    found = [(lacking, "is empty, which it never was in training")]
    if column.role == "categorical":
        codes_N = cells.codes(cell_N, column.values, column.spellings)
        found.append((np.flatnonzero(codes_N < 0), "holds '{}', which it never did in training"))
    elif column.quantiles and column.role not in ("boolean", "text", *FILES):
        values_N = numbers_of(cell_N, column)[0]
        least, most = column.quantiles[0], column.quantiles[-1]
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero((values_N < least) | (values_N > most))
        said = "days since 1970" if column.role == "date" else ""
        found.append((rows, f"holds {{}}, out of the training range {least:g} to {most:g} {said}".rstrip()))
    return found
