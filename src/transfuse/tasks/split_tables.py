"""A folder with one table for each split: train.csv, valid.csv, test.csv, or other formats."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError
from transfuse.tasks.listing import SPLIT_NAMES, Listing

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def split_tables(folder: Path) -> dict[str, Path]:
    """The table of each split; empty when the folder holds no table for training, or folders beside it."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(path.stem.lower())
        if path.suffix.lower() in TABLES and split is not None:
            if split in files:
                raise DataError(
                    f"'{folder}' must hold one table for each split, but has {files[split].name} and {path.name}."
                )
            files[split] = path
    return {split: files[split] for split in ("train", "valid", "test") if split in files} if "train" in files else {}


def list_split_tables(tables: Mapping[str, Path], list_one: Callable[[Path], Listing]) -> Listing:
    """The examples of all tables, each in its split. Raises `DataError` when their targets differ."""
    parts = {split: list_one(path) for split, path in tables.items()}
    first = parts["train"]
    for split, part in parts.items():
        if part.columns != first.columns or part.description.get("target") != first.description.get("target"):
            raise DataError(
                f"'{tables[split]}' must have the targets of '{tables['train']}', but has others. Name `target`."
            )

    def column(name: str) -> Any:
        columns = [getattr(part, name) for part in parts.values()]
        return None if any(one is None for one in columns) else [value for one in columns for value in one]

    return replace(
        first,
        items=column("items"),
        names=column("names"),
        labels=column("labels"),
        groups=column("groups"),
        weights=column("weights"),
        splits=[split for split, part in parts.items() for _ in range(len(part))],
        warnings=tuple(warning for part in parts.values() for warning in part.warnings),
        description={**first.description, "tables": [path.name for path in tables.values()]},
    )
