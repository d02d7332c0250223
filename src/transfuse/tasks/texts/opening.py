"""Labelled texts of any layout become a Task: the door for texts, as `tasks.images.opening` is for pictures.

Read every text once -> leave out what cannot be learnt from, naming it -> find copies -> split -> check.
Letters: N examples.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Kind, Task
from transfuse.core.runs import Run
from transfuse.tasks.assembling import Cut, Read, assembled, labelled, name_of, of_task, only_split, whole
from transfuse.tasks.images.layouts import Group
from transfuse.tasks.listing import Listing
from transfuse.tasks.texts.duplicates import exact_pairs, near_pairs
from transfuse.tasks.texts.layouts import listed
from transfuse.tasks.texts.reading import read_texts


def open_texts(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    text_column: str | None = None,
    kind: Kind | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    name: str | None = None,
    run: Run | None = None,
) -> Task:
    """Open labelled texts.

    `data`: a table (.csv, .tsv, .jsonl, .json, .parquet) with a column of texts; a folder of class folders with `.txt`
    files, with or without train/valid/test above them; a saved `datasets` directory; a pair (texts, targets) in
    memory; or a Task, which is returned as it is.

    target: column(s) or array to learn; guessed where there is no doubt. text_column: guessed by its contents.
    kind: single-label, multi-label or regression; guessed from the targets, and stated.
    group: examples of one group never lie in two splits. A column; for folders a regular expression on the path.
    weight: column with the examples' weights.
    valid, test: shares of the data held out where the user gave no such split; `test=0` makes no test split.

    What cannot be used is named in `Task.warnings`. Raises `DataError` when nothing can be learnt.
    """
    if isinstance(data, Task):
        return data
    cut = Cut(seed=seed, valid=valid, test=test)
    listing = listed(data, target=target, text_column=text_column, group=group, weight=weight)
    options = {"group": group, "weight": weight}
    return assembled(_read(listing, kind, None, run), cut, name=name or name_of(data, "texts"), options=options)


def open_split(
    data: Any,
    *,
    classes: Sequence[str],
    kind: Kind,
    split: str = "test",
    target: str | Sequence[str] | None = None,
    text_column: str | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    run: Run | None = None,
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Labelled texts for evaluating a model that knows `classes`: see `tasks.images.opening.open_split`."""
    if isinstance(data, Task):
        return of_task(data, classes, split)
    listing = listed(data, target=target, text_column=text_column, group=group, weight=weight)
    return whole(_read(only_split(listing, split), kind, tuple(classes), run))


def texts_in(data: Any, *, text_column: str | None = None) -> list[str]:
    """Texts without labels: a `.txt` file with one a line, a table's column, or strings in memory."""
    if isinstance(data, str | Path) and Path(data).suffix.lower() == ".txt":
        from transfuse.tasks.texts.reading import text_of

        lines = [line for line in text_of(Path(data)).splitlines() if line.strip()]
        if not lines:
            raise DataError(f"'{data}' must hold at least one text, but is empty.")
        return lines
    if isinstance(data, str | Path):
        listing = listed(data, target=None, text_column=text_column, unlabelled=True)
        return list(read_texts(listing)[1].texts)
    found = list(data)
    if not found or not all(isinstance(text, str) for text in found):
        raise UsageError("Texts in memory must be a sequence of at least one string.")
    return found


def _read(listing: Listing, kind: Kind | None, classes: tuple[str, ...] | None, run: Run | None) -> Read:
    good, reads, targets = labelled(listing, kind, classes, lambda given: read_texts(given, run))
    return Read(
        modality="text",
        noun="texts",
        listing=good,
        targets=targets,
        digests=reads.digests,
        exact=exact_pairs(reads),
        near=near_pairs(reads),
    )
