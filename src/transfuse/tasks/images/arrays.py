"""Pictures as arrays: `.npy`, `.npz`, and pictures with targets in memory.

Letters: N pictures; H, W pixels; C channels.
"""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning
from transfuse.tasks.images.decoding import to_bytes, white_of
from transfuse.tasks.listing import SPLIT_NAMES, Listing

_PICTURE_KEYS = ("x", "images", "image", "pictures", "data", "arr_0")
_TARGET_KEYS = ("y", "labels", "label", "targets", "target", "arr_1")
_USUAL_WHITES = (1.0, 255.0, 65535.0)
_CHUNK = 4096  # pictures converted at a time, so that a large array on disk needs little memory


def list_arrays(
    path: Path, *, target: str | None = None, group: str | None = None, weight: str | None = None
) -> Listing:
    """`.npz` with pictures and targets (also `x_train`, `y_train`, `x_test`, ...), or `x.npy` beside `y.npy`."""
    arrays = _loaded(path)
    parts = _parts(arrays, path, target)
    x = [_pictures(arrays[x_key], f"'{x_key}' in {path}") for x_key, _, _ in parts]
    y = [_targets(arrays[y_key], len(pictures), y_key) for (_, y_key, _), (pictures, _) in zip(parts, x, strict=True)]
    items = [picture for pictures, _ in x for picture in pictures]
    several = len(parts) > 1
    names = [
        f"row {row}" + (f" of {x_key}" if several else "")
        for (x_key, _, _), (pictures, _) in zip(parts, x, strict=True)
        for row in range(len(pictures))
    ]
    splits = [split for (_, _, split), (pictures, _) in zip(parts, x, strict=True) for _ in range(len(pictures))]
    targets = np.concatenate([np.asarray(part) for part in y]) if len(y) > 1 else y[0]
    return Listing(
        layout="arrays",
        items=items,
        names=names,
        splits=splits if several else None,
        groups=_column(arrays, group, len(items), "group"),
        weights=_column(arrays, weight, len(items), "weight"),
        warnings=tuple(note for _, notes in x for note in notes),
        description={"pictures": parts[0][0], "target": parts[0][1]},
        **_labels(targets),
    )


def list_memory(
    pictures: Any, targets: Any, *, group: Sequence[Any] | None = None, weight: Sequence[Any] | None = None
) -> Listing:
    """Pictures (one array, or a sequence of paths, arrays or Pillow pictures) and one target or row of targets each."""
    notes: tuple[DataWarning, ...] = ()
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind not in "OUS":
        items, notes = _pictures(pictures, "the pictures")
    else:
        items = list(pictures)
    columns = {"group": group, "weight": weight}
    for name, column in columns.items():
        if column is not None and (isinstance(column, str) or len(column) != len(items)):
            raise UsageError(f"`{name}` must have one value for each of the {len(items)} pictures in memory.")
    return Listing(
        layout="in memory",
        items=items,
        names=[str(item) if isinstance(item, str | Path) else f"row {row}" for row, item in enumerate(items)],
        groups=None if group is None else [None if value is None else str(value) for value in group],
        weights=None if weight is None else [float(value) for value in weight],
        warnings=notes,
        **_labels(_targets(targets, len(items), "targets")),
    )


def _loaded(path: Path) -> Mapping[str, np.ndarray]:
    try:
        if path.suffix.lower() == ".npy":
            return {"x": np.load(path, mmap_mode="r", allow_pickle=False), "y": _beside(path)}
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as found:
            return {key: found[key] for key in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
        if "pickle" in str(problem).lower():
            why = "it holds Python objects, which could run code. Save plain numbers or strings instead"
        else:
            why = str(problem).rstrip(".")
        raise DataError(f"{path} cannot be read as arrays: {why}.") from None


def _beside(path: Path) -> np.ndarray:
    """Targets of `x.npy`: `y.npy`; of `x_small.npy`: `y_small.npy`; of `images.npy`: `labels.npy`."""
    stem = path.stem
    for x_key, y_key in zip(_PICTURE_KEYS, _TARGET_KEYS, strict=False):
        if stem.lower().startswith(x_key):
            for candidate in (y_key, y_key.upper()):
                other = path.with_name(candidate + stem[len(x_key) :] + ".npy")
                if other.is_file():
                    return np.load(other, allow_pickle=False)
    raise DataError(
        f"{path} holds pictures without targets. Put them beside it as 'y.npy' (for 'x.npy'), or both in one .npz."
    )


def _parts(arrays: Mapping[str, np.ndarray], path: Path, target: str | None) -> list[tuple[str, str, str]]:
    """(key of pictures, key of targets, split) for each part."""
    by_split = {}
    for key in arrays:
        stem, _, end = key.lower().rpartition("_")
        if stem in _PICTURE_KEYS and end in SPLIT_NAMES:
            y_key = next((k for k in arrays if k.lower() in {f"{t}_{end}" for t in _TARGET_KEYS}), None)
            if y_key:
                by_split[SPLIT_NAMES[end]] = (key, y_key, SPLIT_NAMES[end])
    if "train" in by_split:
        return [by_split[split] for split in ("train", "valid", "test") if split in by_split]
    shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
    x_key = _chosen(arrays, _PICTURE_KEYS, [key for key, array in arrays.items() if array.ndim in (3, 4)])
    if x_key is None:
        raise DataError(f"{path} must hold one array of pictures, (N, H, W) or (N, H, W, C), but holds {shapes}.")
    count = len(arrays[x_key])
    rest = [key for key, array in arrays.items() if key != x_key and array.ndim in (1, 2) and len(array) == count]
    if target is not None and target not in arrays:
        raise DataError(f"{path} has no array '{target}' to take as target; it holds {shapes}.")
    y_key = target or _chosen(arrays, _TARGET_KEYS, rest)
    if y_key is None:
        raise DataError(
            f"{path} must hold one target for each of the {count} pictures, but holds {shapes}. Name it with `target`."
        )
    return [(x_key, y_key, "train")]


def _chosen(arrays: Mapping[str, np.ndarray], usual: Sequence[str], fitting: Sequence[str]) -> str | None:
    named = [key for name in usual for key in fitting if key.lower() == name]
    if named:
        return named[0]
    return fitting[0] if len(fitting) == 1 else None


def _pictures(pictures: np.ndarray, where: str) -> tuple[list[np.ndarray], tuple[DataWarning, ...]]:
    """N views, uint8 (H, W, C), of one array brought to that form."""
    x = _channels_last(pictures, where)
    if x.dtype == np.uint8:
        return list(x), ()
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = [row for row in range(len(x)) if not np.isfinite(x[row]).all()]
        raise DataError(
            f"Pixels must be finite, but are not in {len(bad)} of {where}: rows {str(bad[:10]).strip('[]')}."
        )
    white = white_of(x)
    bytes_NHWC = np.empty(x.shape, np.uint8)
    for start in range(0, len(x), _CHUNK):
        bytes_NHWC[start : start + _CHUNK] = to_bytes(np.asarray(x[start : start + _CHUNK]), white)
    return list(bytes_NHWC), _scale_note(white, float(x.max()), where)


def _scale_note(white: float, high: float, where: str) -> tuple[DataWarning, ...]:
    if white not in _USUAL_WHITES:
        message = f"The largest value of {where} is {high:g}; {white:g} is taken for white. Scale to 0..1 if it is not."
        return (DataWarning(code="unusual-range", message=message, severity="note"),)
    return ()


def _channels_last(x: np.ndarray, where: str) -> np.ndarray:
    if x.ndim == 3:
        return x[..., None]
    if x.ndim == 4 and x.shape[3] in (1, 2, 3, 4):
        return x
    if x.ndim == 4 and x.shape[1] in (1, 2, 3, 4):
        return x.transpose(0, 2, 3, 1)
    raise DataError(f"Pictures must have shape (N, H, W), (N, H, W, C) or (N, C, H, W), but {where} have {x.shape}.")


def _targets(targets: Any, count: int, name: str) -> Any:
    if len(targets) != count:
        raise DataError(
            f"There must be one target for each picture, but '{name}' has {len(targets)} for {count} pictures."
        )
    return targets


def _labels(targets: Any) -> dict[str, Any]:
    """Labels, and columns where there are several numbers for each example."""
    if isinstance(targets, np.ndarray) and targets.ndim == 2 and targets.dtype.kind in "iufb":
        return {"labels": [tuple(row) for row in targets.tolist()], "columns": tuple(map(str, range(targets.shape[1])))}
    return {"labels": targets.tolist() if hasattr(targets, "tolist") else list(targets)}


def _column(arrays: Mapping[str, np.ndarray], key: str | None, count: int, what: str) -> list[Any] | None:
    if key is None:
        return None
    if key not in arrays or len(arrays[key]) != count:
        raise UsageError(
            f"`{what}` must name an array with {count} values, but '{key}' is not one; known: {', '.join(arrays)}."
        )
    return [str(v) for v in arrays[key].tolist()] if what == "group" else [float(v) for v in arrays[key].tolist()]
