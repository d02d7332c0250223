"""Examples of any modality as the one tensor that a network takes: the only place that asks which modality it is.

A batch is float32 (B, c, h, w) of pictures and of sounds, int64 (B, T) token ids of texts padded with -1, or float32
(B, K) of rows with NaN for what is missing. Behind the table lies a file for each modality, with these functions
under these names.
Examples that are prepared in several ways at once lie side by side in one row (`joint_inputs`), whatever the modality.
Letters: B examples of a batch, c channels, h w pixels, T tokens, K columns.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import (
    AnyPreprocessing,
    DataWarning,
    JointPreprocessing,
    Modality,
    Preprocessing,
    SoundPreprocessing,
    TextPreprocessing,
)
from transfuse.core.provenance import plain
from transfuse.tasks.images.encodings import parsed
from transfuse.tasks.limits import Limits

MODALITIES: Mapping[Modality, str] = {
    "image": "transfuse.sources.images.inputs",
    "text": "transfuse.sources.texts.inputs",
    "table": "transfuse.sources.tables.inputs",
    "sound": "transfuse.sources.sounds.inputs",
}

_JOINT = "transfuse.sources.joint_inputs"

_PLAIN = ("encoding", "")  # older versions did not know it
PADDING = -1
"""Stands in a batch of texts where a text has ended."""


def modality_of(preprocessing: AnyPreprocessing) -> Modality:
    """Which kind of data a preprocessing prepares."""
    preprocessing = _first(preprocessing)
    if isinstance(preprocessing, Preprocessing):
        return "image"
    if isinstance(preprocessing, SoundPreprocessing):
        return "sound"
    return "text" if isinstance(preprocessing, TextPreprocessing) else "table"


def tensor_of(items: Sequence[Any], preprocessing: AnyPreprocessing) -> torch.Tensor:
    """The items as one batch, ready for the body. Raises `DataError` naming an item that cannot be read."""
    return _of(preprocessing).tensor_of(items, preprocessing)


def blank(preprocessing: AnyPreprocessing, count: int = 1) -> torch.Tensor:
    """A batch of nothing in the right shape: to ask a network what it gives."""
    return _of(preprocessing).blank(preprocessing, count)


def blocks(items: Sequence[Any], preprocessing: AnyPreprocessing, batch_size: int) -> list[np.ndarray]:
    """Which examples go into which batch: consecutive ones of pictures and rows, those of one length of texts.

    Every example is in exactly one block; int64 each.
    """
    return _of(preprocessing).blocks(items, preprocessing, batch_size)


def batches(items: Sequence[Any], preprocessing: AnyPreprocessing, batch_size: int) -> Iterator[torch.Tensor]:
    """What a network is given of each of the `blocks`."""
    for rows in blocks(items, preprocessing, batch_size):
        yield tensor_of([items[int(row)] for row in rows], preprocessing)


def bytes_each(preprocessing: AnyPreprocessing) -> int:
    """Bytes that a prepared example takes in memory, at most."""
    return _of(preprocessing).bytes_each(preprocessing)


@dataclass(frozen=True)
class Refused:
    """Stands for a file of several inputs, such as a table, that cannot be read or is larger than it may be."""

    name: str
    reason: str


def decoded(item: Any, preprocessing: AnyPreprocessing, limits: Limits = Limits()) -> Any:
    """One input of a user as an item that `tensor_of` takes.

    Raises `DataError` when it cannot be read; and, before it is decoded, when it is larger than `limits` say.
    """
    if isinstance(item, Refused):
        raise DataError(item.reason)
    return _of(preprocessing).decoded(item, preprocessing, limits)


def expanded(inputs: Any, preprocessing: AnyPreprocessing, limits: Limits | None = None) -> list[Any]:
    """The single inputs that a user means: a folder stands for the files in it. Raises `DataError` for none.

    With `limits` a file that holds several inputs and cannot be read, or is larger than they say, stands as `Refused`.
    """
    return _of(_first(preprocessing)).expanded(inputs, limits)


def traits(item: Any, preprocessing: AnyPreprocessing) -> dict[str, float]:
    """What an input measures by its header, such as width and height. Raises `DataError` when it cannot be read."""
    return _of(_first(preprocessing)).traits(item)


def oddities(read: Any, preprocessing: AnyPreprocessing) -> list[str]:
    """What of a decoded input was not met where its preprocessing was learnt, in words; of rows of tables."""
    while isinstance(preprocessing, JointPreprocessing):
        read, preprocessing = read[0], preprocessing.views[0]
    found = _of(preprocessing)
    return found.oddities(read, preprocessing) if hasattr(found, "oddities") else []


def digests_of(items: Sequence[Any], preprocessing: AnyPreprocessing) -> tuple[str, ...]:
    """The digests by which a Task knows these items (`Examples.digests`). Raises `DataError` for an unreadable one."""
    return _of(_first(preprocessing)).digests_of(items)


def described(preprocessing: AnyPreprocessing) -> str:
    """What a model takes, in words for its card."""
    return _of(preprocessing).described(preprocessing)


def notes_on(items: Sequence[Any], preprocessing: AnyPreprocessing) -> tuple[DataWarning, ...]:
    """What the source does to some of these examples that a user should know."""
    return _of(preprocessing).notes_on(items, preprocessing)


def trimmed(batch: torch.Tensor) -> torch.Tensor:
    """A part of a batch of texts without the columns in which all have ended; other batches as they are."""
    if batch.dtype != torch.int64 or not len(batch):
        return batch
    return batch[:, : max(1, int((batch != PADDING).sum(1).max()))]


def joined(batches: Sequence[torch.Tensor]) -> torch.Tensor:
    """Batches under each other; those of texts are padded to the longest."""
    if batches[0].dtype != torch.int64:
        return torch.cat(list(batches))
    width = max(batch.shape[-1] for batch in batches)
    return torch.cat([torch.nn.functional.pad(b, (0, width - b.shape[-1]), value=PADDING) for b in batches])


def identity(preprocessing: AnyPreprocessing) -> dict[str, Any]:
    """Everything that prepared examples depend on, as plain values: not where a file lies."""
    found: dict[str, Any] = _without_places(plain(preprocessing))
    return found


def _without_places(document: Any) -> Any:
    """Plain values without the paths of tokenizers, and without an encoding that changes nothing."""
    if isinstance(document, dict):
        kept = {name: value for name, value in document.items() if name != "tokenizer" and (name, value) != _PLAIN}
        return {name: _without_places(value) for name, value in kept.items()}
    return [_without_places(value) for value in document] if isinstance(document, list) else document


def from_plain(document: Mapping[str, Any], folder: Path | None = None) -> AnyPreprocessing:
    """A preprocessing from its plain form; files that belong to it lie in `folder`."""
    if "views" in document:
        return importlib.import_module(_JOINT).from_plain(document, folder)
    telling: Mapping[str, Modality] = {"columns": "table", "tokenizer": "text", "bands": "sound"}
    modality: Modality = next((telling[name] for name in telling if name in document), "image")
    return importlib.import_module(MODALITIES[modality]).from_plain(document, folder)


def written(preprocessing: AnyPreprocessing, folder: Path) -> dict[str, Any]:
    """The plain form for a saved Model's document; what belongs to it in files is written into `folder`."""
    return _of(preprocessing).written(preprocessing, folder)


def with_encoding(preprocessing: AnyPreprocessing, encoding: str) -> AnyPreprocessing:
    """The preprocessing with pictures made coarser (`tasks.images.encodings`).

    Raises `UsageError` for other data than pictures.
    """
    if isinstance(preprocessing, JointPreprocessing):
        return replace(preprocessing, views=tuple(with_encoding(view, encoding) for view in preprocessing.views))
    if not isinstance(preprocessing, Preprocessing):
        raise UsageError(f"`encode` is for pictures, but the model takes {described(preprocessing)}.")
    parsed(encoding)
    return replace(preprocessing, encoding=encoding)


def _of(preprocessing: AnyPreprocessing) -> Any:
    if isinstance(preprocessing, JointPreprocessing):
        return importlib.import_module(_JOINT)
    return importlib.import_module(MODALITIES[modality_of(preprocessing)])


def _first(preprocessing: AnyPreprocessing) -> AnyPreprocessing:
    """One that is not joint: what a joint one says about the data, all of its views say alike."""
    while isinstance(preprocessing, JointPreprocessing):
        preprocessing = preprocessing.views[0]
    return preprocessing
