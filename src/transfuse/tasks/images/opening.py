"""The door: labelled pictures of any layout become a Task with fixed, seeded, hashed splits.

Read every picture once -> leave out what cannot be learnt from, naming it -> find copies -> split -> check.
Letters: N examples; M pairs.
"""

from collections.abc import Sequence
from typing import Any

from transfuse.core.nouns import DataWarning, Examples, Kind, Task
from transfuse.core.runs import Run
from transfuse.tasks.assembling import Cut, Read, assembled, labelled, name_of, of_task, only_split, whole
from transfuse.tasks.images.duplicates import exact_pairs, near_pairs
from transfuse.tasks.images.inspecting import inspect
from transfuse.tasks.images.layouts import Group, listed
from transfuse.tasks.listing import Listing


def open_images(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    kind: Kind | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    name: str | None = None,
    run: Run | None = None,
) -> Task:
    """Open labelled pictures.

    `data`: a folder of class folders, with or without train/valid/test above them; a table (.csv, .jsonl, .parquet)
    with a column of paths; a COCO file or folder; .npy or .npz arrays; a saved `datasets` directory; a pair
    (pictures, targets) in memory; or a Task, which is returned as it is.

    target: column(s) or array to learn; guessed where there is no doubt.
    path_column: column with the pictures' paths; guessed by its contents.
    kind: single-label, multi-label or regression; guessed from the targets, and stated.
    group: examples of one group never lie in two splits. A column; for folders a regular expression on the path.
    weight: column with the examples' weights.
    valid, test: shares of the data held out where the user gave no such split; `test=0` makes no test split.

    What cannot be used is named in `Task.warnings`. Raises `DataError` when nothing can be learnt.
    """
    if isinstance(data, Task):
        return data
    cut = Cut(seed=seed, valid=valid, test=test)
    run = run or Run()
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    options = {"group": group, "weight": weight}
    return assembled(_read(listing, kind, None, run), cut, name=name or name_of(data, "pictures"), options=options)


def open_split(
    data: Any,
    *,
    classes: Sequence[str],
    kind: Kind,
    split: str = "test",
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    run: Run | None = None,
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Labelled examples for evaluating a model that knows `classes`, with targets in the model's order.

    Data with splits of their own (a root with `test/`, a column `split`, a Task) give the split asked for; data
    without (such as the folder `photos/test`) are taken whole. Raises `DataError` for a class that the model does not
    know, and for a split that the data do not have.
    """
    if isinstance(data, Task):
        return of_task(data, classes, split)
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    return whole(_read(only_split(listing, split), kind, tuple(classes), run or Run()))


def _read(listing: Listing, kind: Kind | None, classes: tuple[str, ...] | None, run: Run) -> Read:
    good, looks, targets = labelled(listing, kind, classes, lambda given: inspect(given, run))
    return Read(listing=good, targets=targets, digests=looks.digests, exact=exact_pairs(looks), near=near_pairs(looks))
