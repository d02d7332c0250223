"""Rows without labels beside a task's: the same columns, as many of them as there are, the target never read.

Letters: N rows.
"""

from pathlib import Path

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import TablePreprocessing, Task
from transfuse.tasks.tables.encoding import learnt_columns
from transfuse.tasks.tables.given import read_table
from transfuse.tasks.tables.opening import columns_of
from transfuse.tasks.tables.roles import Guess
from transfuse.tasks.tables.rows import Cells, Rows


def unlabelled_rows(data: str | Path, task: Task) -> tuple[Rows, TablePreprocessing]:
    """Rows of a file or a database with the columns of the task's table, and how their cells are distributed.

    Other columns, the target among them, are left out. Raises `DataError` for a column that is lacking, and for a cell
    that is not of its column's role.
    """
    read, _ = read_table(data)
    columns = columns_of(task).columns
    lacking = [column.name for column in columns if column.name not in read.table.column_names]
    if lacking:
        raise DataError(
            f"{read.place} must have the columns of '{task.name}', but lacks {', '.join(map(repr, lacking[:8]))}."
        )
    table = read.table.select([column.name for column in columns])
    guesses = {c.name: Guess(role=c.role, why="as in the task", form=c.form, blanks=c.blanks) for c in columns}
    places = np.arange(table.num_rows)
    cells = Cells(table)
    try:
        found = learnt_columns(table, guesses, places)
        cells.encoded(found, places)
    except DataError as problem:
        raise DataError(f"{read.place}: {problem}") from None
    return Rows(cells, places), found
