"""COCO detection files as a multi-label task: which classes are in the picture."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.tasks.listing import SPLIT_NAMES, Listing, in_order


def is_coco(path: Path) -> bool:
    """Whether a JSON file is a COCO file."""
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, OSError):
        return False
    return isinstance(document, dict) and {"images", "annotations", "categories"} <= document.keys()


def list_coco_folder(folder: Path) -> Listing | None:
    """A folder with `train.json`, `val.json`, `test.json` (also `instances_train.json`) in COCO's form, or None."""
    found: dict[str | None, Path] = {}
    for path in sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")]):
        words = path.stem.lower().replace("-", "_").split("_")
        split = next(
            (SPLIT_NAMES[word.rstrip("0123456789")] for word in words if word.rstrip("0123456789") in SPLIT_NAMES), None
        )
        if split and is_coco(path):
            found.setdefault(split, path)
    return list_coco(found) if "train" in found else None


def list_coco(paths: Mapping[str | None, Path]) -> Listing:
    """Pictures of COCO files, each the key's split (None: not split), labelled with the classes of their boxes."""
    documents = {split: json.loads(path.read_bytes()) for split, path in paths.items()}
    items: list[Path] = []
    labels: list[list[str]] = []
    splits: list[str] = []
    classes: list[str] = []
    for split, document in documents.items():
        names = {category["id"]: str(category["name"]) for category in document["categories"]}
        classes += [name for name in names.values() if name not in classes]
        inside = _classes_by_picture(document, names, paths[split])
        for image in document["images"]:
            items.append(_located(paths[split].parent, str(image["file_name"]), split))
            labels.append(sorted(inside.get(image["id"], set()), key=classes.index))
            splits.append(split or "train")
    if not items:
        raise DataError(f"{', '.join(map(str, paths.values()))} name no pictures.")
    empty = tuple(str(item) for item, label in zip(items, labels, strict=True) if not label)
    return Listing(
        layout="COCO",
        items=items,
        names=[str(item) for item in items],
        labels=labels,
        splits=splits if None not in paths else None,
        classes=tuple(classes),
        kind="multi-label",
        warnings=_note(empty),
        description={"target": "classes of the boxes in the picture", "files": in_order(map(str, paths.values()))},
    )


def _classes_by_picture(document: Mapping[str, Any], names: Mapping[Any, str], path: Path) -> dict[Any, set[str]]:
    inside: dict[Any, set[str]] = {}
    for box in document["annotations"]:
        if box["category_id"] not in names:
            raise DataError(f"{path} has a box of category {box['category_id']}, which its categories do not name.")
        inside.setdefault(box["image_id"], set()).add(names[box["category_id"]])
    return inside


def _located(folder: Path, name: str, split: str | None) -> Path:
    """Where COCO's picture lies: beside the file, or in one of the usual folders."""
    places = [folder, folder / "images", folder.parent / "images", folder.parent]
    if split:
        places += [folder / split, folder / "images" / split, folder.parent / split]
    return next((place / name for place in places if (place / name).is_file()), folder / name)


def _note(empty: tuple[str, ...]) -> tuple[DataWarning, ...]:
    if not empty:
        return ()
    message = f"{len(empty)} pictures have no box; they are taken as showing none of the classes."
    return (DataWarning(code="no-boxes", message=message, places=empty, severity="note"),)
