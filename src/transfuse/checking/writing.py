"""New data of a cleaned task for the user: a table or arrays with fixed splits, and a record of what was done."""

import csv
import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.checking.labels import written
from transfuse.core.atomic import write_bytes, write_text, writing_file
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Report, Task
from transfuse.core.provenance import plain
from transfuse.tasks.texts.reading import text_of

RECORD = "cleaning.json"


def require_empty(folder: Path) -> None:
    """Raise `UsageError` when the folder holds anything: data of an earlier cleaning are not replaced silently."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UsageError(f"`--out` must be a new or empty folder, but '{folder}' holds something. Name another one.")


def write_data(task: Task, folder: Path) -> Path:
    """Write the examples of a cleaned task, which a Task can be opened from again, and `cleaning.json`.

    Pictures that are files and texts become a table `data.csv`, pictures in memory arrays `data.npz`. Raises
    `UsageError` for other examples, `StorageError`.
    """
    items = [item for examples in task.splits.values() for item in examples.items]
    folder.mkdir(parents=True, exist_ok=True)
    if task.modality == "text" or all(isinstance(item, str | Path) for item in items):
        path = folder / "data.csv"
        write_bytes(path, _table(task).encode("utf-8", "surrogateescape"))
    elif all(isinstance(item, np.ndarray) and item.shape == items[0].shape for item in items):
        path = folder / "data.npz"
        with writing_file(path) as part, part.open("wb") as stream:
            np.savez_compressed(stream, **dict(_arrays(task)))  # type: ignore[arg-type]
    else:
        raise UsageError(
            "New data can be written for pictures that are files, texts, and arrays of one shape, but these are others."
            " Use `transfuse.cleaned(data, table)` in Python: it gives the new Task itself."
        )
    record = {"digest": task.digest, "data": path.name, **plain(task.description.get("cleaned", {}))}
    write_text(folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    return path


def cleaning_report(before: Task, after: Task, path: Path, *, command: str) -> Report:
    """What was done, in numbers."""
    done = after.description["cleaned"]
    rows = tuple(
        {"split": split, "before": len(before.splits[split]), "after": len(after.splits[split])}
        for split in after.splits
    )
    return Report(
        title=f"{before.name}, cleaned",
        columns=("split", "before", "after"),
        rows=rows,
        summary=(
            f"{len(done['removed'])} removed, {len(done['relabelled'])} relabelled; {RECORD} names the examples.",
            f"Digest {before.digest[:12]} became {after.digest[:12]}; the old data are as they were.",
            f"Go on with: {shlex.join(['transfuse', 'fit', str(path), *_options(after)])}",
        ),
        warnings=after.warnings,
        command=command,
    )


def _options(task: Task) -> list[str]:
    """What opening the new data must be told."""
    train = task.splits["train"]
    return [
        "--kind",
        task.kind,
        *(["--group", "group"] if train.groups is not None else []),
        *(["--weight", "weight"] if train.weights is not None else []),
        *([] if "test" in task.splits else ["--test", "0"]),
    ]


def _table(task: Task) -> str:
    """Paths or texts, their labels (a column a class for several labels, one a number), splits, groups and weights."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    train = task.splits["train"]
    several = task.kind != "single-label"
    writer.writerow(
        [
            "text" if task.modality == "text" else "path",
            *(task.classes if several else ["label"]),
            "split",
            *(["group"] if train.groups is not None else []),
            *(["weight"] if train.weights is not None else []),
        ]
    )
    for split, examples in task.splits.items():
        writer.writerows(_rows(task, split, examples, several))
    return stream.getvalue()


def _rows(task: Task, split: str, examples: Examples, several: bool) -> Iterator[list[Any]]:
    for place, item in enumerate(examples.items):
        target = examples.targets[place]
        label = [_number(value) for value in target] if several else [written(task.kind, task.classes, target)]
        yield [
            text_of(item) if task.modality == "text" else str(Path(item).resolve()),
            *label,
            split,
            *([examples.groups[place]] if examples.groups is not None else []),
            *([_number(examples.weights[place])] if examples.weights is not None else []),
        ]


def _number(value: np.floating) -> str:
    return np.format_float_positional(np.float32(value), trim="-")


def _arrays(task: Task) -> Iterator[tuple[str, np.ndarray]]:
    names = np.array(task.classes)
    for split, examples in task.splits.items():
        yield f"x_{split}", np.stack(examples.items)
        yield f"y_{split}", names[examples.targets] if task.kind == "single-label" else examples.targets
