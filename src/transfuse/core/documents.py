"""JSON files that people may have edited or lost, or a disk changed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core import digests
from transfuse.core.errors import StorageError, TransfuseError

_SEAL = "seal"


def json_object(path: Path, error: type[TransfuseError]) -> dict[str, Any]:
    """The object that a JSON file holds. Raises `error`, in words, where it holds none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise error(f"'{path}' must be JSON, but cannot be read: {problem}.") from problem
    if not isinstance(document, dict):
        raise error(f"'{path}' must hold a JSON object, but holds {type(document).__name__}.")
    return document


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the digest of everything in it, so that a changed bit is noticed."""
    return {**document, _SEAL: _seal_of(document)}


def is_sealed(document: Mapping[str, Any]) -> bool:
    """Whether a document is as it was when it was sealed; one without a seal is not."""
    return document.get(_SEAL) == _seal_of({name: value for name, value in document.items() if name != _SEAL})


def sealed_object(path: Path) -> dict[str, Any]:
    """The object of a file that transfuse wrote for itself. Raises `StorageError` when a bit of it was changed."""
    document = json_object(path, StorageError)
    if not is_sealed(document):
        raise StorageError(f"'{path}' was changed since it was written: its digest differs. Remove it to start anew.")
    return document


def _seal_of(document: Mapping[str, Any]) -> str:
    return digests.of_value(json.loads(json.dumps(document)))  # as it will be read: keys are texts, tuples are lists
