"""Pictures as a network takes them (see `sources.inputs`): float32 (B, c, h, w), decoded, resized, normalised."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Preprocessing
from transfuse.core.provenance import plain
from transfuse.sources.images import preprocessing as pictures
from transfuse.tasks.images import decoding, inspecting, limiting, loading
from transfuse.tasks.limits import Limits, is_folder

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def tensor_of(items: Sequence[Any], preprocessing: Preprocessing) -> torch.Tensor:
    """float32 (B, c, h, w)."""
    return pictures.normalise(loading.batch(items, preprocessing), preprocessing)


def blank(preprocessing: Preprocessing, count: int) -> torch.Tensor:
    """Grey pictures, laid out as `tensor_of` lays them out."""
    zeros = torch.zeros(count, preprocessing.channels, *preprocessing.size)
    return zeros.to(memory_format=torch.channels_last)


def blocks(items: Sequence[Any], preprocessing: Preprocessing, batch_size: int) -> list[np.ndarray]:
    """Consecutive pictures: all are of one size."""
    return [np.arange(start, min(start + batch_size, len(items))) for start in range(0, len(items), batch_size)]


def bytes_each(preprocessing: Preprocessing) -> int:
    """As decoded pixels."""
    height, width = preprocessing.size
    return height * width * preprocessing.channels


def decoded(item: Any, preprocessing: Preprocessing, limits: Limits) -> Any:
    """Pixels of the wanted channels."""
    limiting.require_within(item, limits)
    return decoding.decode(item, preprocessing.channels)


def expanded(inputs: Any, limits: Limits | None) -> list[Any]:
    """One path, array or Pillow picture, or a sequence of them; a folder stands for the pictures in it."""
    single = isinstance(inputs, str | Path) or (isinstance(inputs, np.ndarray) and inputs.ndim < 4)
    if single or not _is_sequence(inputs):
        inputs = [inputs]
    items: list[Any] = []
    for item in inputs:
        if isinstance(item, str | Path) and is_folder(item):
            items += sorted(path for path in Path(item).rglob("*") if path.suffix.lower() in SUFFIXES)
        else:
            items.append(item)
    if not items:
        raise DataError("There must be at least one picture to predict, but none was given or found.")
    return items


def traits(item: Any) -> dict[str, float]:
    """Width and height in pixels."""
    width, height = limiting.size_of(item)
    return {"width": width, "height": height}


def digests_of(items: Sequence[Any]) -> tuple[str, ...]:
    """See `tasks.images.inspecting.digests_of`."""
    return inspecting.digests_of(items)


def described(preprocessing: Preprocessing) -> str:
    """Size and colours."""
    height, width = preprocessing.size
    ink = ", cropped to what differs from the background" if preprocessing.crop == "ink" else ""
    coarse = f", encoded as {preprocessing.encoding}" if preprocessing.encoding else ""
    return f"{height} by {width} pixels, {'grey' if preprocessing.channels == 1 else 'RGB'}{ink}{coarse}"


def notes_on(items: Sequence[Any], preprocessing: Preprocessing) -> tuple[DataWarning, ...]:
    """Nothing: pictures are squashed or cropped as the source's card says."""
    return ()


def from_plain(document: Mapping[str, Any], folder: Path | None = None) -> Preprocessing:
    """See `sources.images.preprocessing.from_plain`; no files belong to it."""
    return pictures.from_plain(document)


def written(preprocessing: Preprocessing, folder: Path) -> dict[str, Any]:
    """The plain form; no files belong to it."""
    return plain(preprocessing)


def _is_sequence(inputs: Any) -> bool:
    return isinstance(inputs, Sequence | np.ndarray) and not isinstance(inputs, bytes | Mapping)
