"""A directory that the `datasets` library saved: a Dataset, or a DatasetDict with its own splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError
from transfuse.core.tables import chosen
from transfuse.tasks.images.decoding import Stored
from transfuse.tasks.listing import SPLIT_NAMES, Listing

_TARGET_NAMES = ("label", "labels", "target", "targets", "class", "fine_label", "category", "y")


def is_saved(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def column_kinds(folder: Path) -> dict[str, str]:
    """Kind of every column: `Image`, `ClassLabel`, or the type of its values such as `string`."""
    features = next(iter(_tables(folder).values())).features
    return {
        name: str(getattr(feature, "dtype", "")) if type(feature).__name__ == "Value" else type(feature).__name__
        for name, feature in features.items()
    }


def columns_of(folder: Path) -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """All columns of a saved dataset without pictures, and its own splits and classes, as a Listing has them."""
    tables = _tables(folder)
    columns: dict[str, list[Any]] = {name: [] for name in next(iter(tables.values())).features}
    splits: list[str] = []
    for split, table in tables.items():
        splits += [SPLIT_NAMES.get(split.lower(), split)] * len(table)
        for name, values in columns.items():
            feature = table.features[name]
            classes = _class_names(feature)
            values += [value if classes is None else _named(value, classes) for value in table[name][:]]
    return columns, {"splits": splits} if len(tables) > 1 else {}


def list_saved(
    folder: Path,
    *,
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    weight: str | None = None,
) -> Listing:
    """Examples of a saved dataset; its own splits are kept, its ClassLabel names are the classes."""
    tables = _tables(folder)
    features = next(iter(tables.values())).features
    pictures = _picture_column(features, folder)
    targets = _target_columns(features, target, pictures, folder)
    for name in (group, weight):
        if name is not None:
            chosen("column", name, features)
    items: list[Stored] = []
    names: list[str] = []
    splits: list[str] = []
    columns: dict[str, list[Any]] = {name: [] for name in [*targets, group, weight] if name}
    for split, table in tables.items():
        undecoded = table.cast_column(pictures, _image_feature(decode=False))
        items += [Stored(undecoded, pictures, row) for row in range(len(table))]
        names += [f"row {row} of {split}" if len(tables) > 1 else f"row {row}" for row in range(len(table))]
        splits += [SPLIT_NAMES.get(split.lower(), split)] * len(table)
        for name, values in columns.items():
            values += table.select_columns([name])[name][:]
    return Listing(
        layout="saved dataset",
        items=items,
        names=names,
        splits=splits if len(tables) > 1 else None,
        groups=None if group is None else [None if value is None else str(value) for value in columns[group]],
        weights=None if weight is None else columns[weight],
        description={"pictures": pictures, "target": targets[0] if len(targets) == 1 else targets},
        **_labels(columns, targets, features),
    )


def _image_feature(decode: bool) -> Any:
    import datasets

    return datasets.Image(decode=decode)


def _tables(folder: Path) -> dict[str, Any]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as problem:  # the library raises errors of many kinds for broken folders
        raise DataError(f"{folder} cannot be opened as a saved dataset: {str(problem).splitlines()[0]}.") from problem
    if isinstance(loaded, datasets.Dataset):
        return {"train": loaded}
    tables = dict(loaded)
    strange = [name for name in tables if name.lower() not in SPLIT_NAMES]
    if strange:
        raise DataError(f"{folder} must have splits called train, valid or test, but has '{strange[0]}'. Rename it.")
    return tables


def _picture_column(features: Any, folder: Path) -> str:
    found = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if not found:
        raise DataError(f"{folder} must have a column of type Image, but has {', '.join(features)}.")
    return found[0]


def _target_columns(features: Any, target: str | Sequence[str] | None, pictures: str, folder: Path) -> list[str]:
    if target is not None:
        names = [target] if isinstance(target, str) else list(target)
        return [chosen("column", name, features) for name in names]
    rest = [name for name in features if name != pictures]
    labelled = [name for name in rest if _class_names(features[name])]
    usual = [name for wanted in _TARGET_NAMES for name in rest if name.lower() == wanted]
    picked = usual or labelled or (rest if len(rest) == 1 else [])
    if not picked:
        raise DataError(
            f"{folder} must have a target column; which of {', '.join(rest)} it is cannot be told. "
            "Name it with `target`."
        )
    return picked[:1]


def _class_names(feature: Any) -> tuple[str, ...] | None:
    inner = getattr(feature, "feature", feature)
    return tuple(inner.names) if type(inner).__name__ == "ClassLabel" else None


def _labels(columns: dict[str, list[Any]], targets: list[str], features: Any) -> dict[str, Any]:
    if len(targets) > 1:
        rows = zip(*(columns[name] for name in targets), strict=True)
        return {"labels": [tuple(row) for row in rows], "columns": tuple(targets)}
    classes = _class_names(features[targets[0]])
    values = columns[targets[0]]
    if classes is None:
        return {"labels": values}
    several = any(isinstance(value, list) for value in values)
    return {
        "labels": [_named(value, classes) for value in values],
        "classes": classes,
        "kind": "multi-label" if several else "single-label",
    }


def _named(value: Any, classes: tuple[str, ...]) -> Any:
    """Names of a class index or list of them; -1 is the library's mark for a missing label."""
    if isinstance(value, list):
        return [classes[index] for index in value]
    return None if value is None or value < 0 else classes[value]
