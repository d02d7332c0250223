"""JSON files that people may have edited or lost."""

import json
from pathlib import Path
from typing import Any

from transfuse.core.errors import TransfuseError


def json_object(path: Path, error: type[TransfuseError]) -> dict[str, Any]:
    """The object that a JSON file holds. Raises `error`, in words, where it holds none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise error(f"'{path}' must be JSON, but cannot be read: {problem}.") from problem
    if not isinstance(document, dict):
        raise error(f"'{path}' must hold a JSON object, but holds {type(document).__name__}.")
    return document
