"""What goes with the weights: configuration and tokenizer of one parent, adjusted to the result. Code is not copied.

A parent that was changed on the way in (another vocabulary, an untied head) says what the result gets instead.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.fusing.checkpoints import DOCUMENT, Checkpoint
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.record import RECORD

_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".vocab", ".merges")
_NOT = (RECORD, "report.json", DOCUMENT)
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_LARGEST = 200 * 2**20


def copy_beside(recipe: Recipe, origin: Checkpoint, folder: Path) -> list[str]:
    """Copy the other files of a parent into the result; their names."""
    if origin.folder is None:
        return []
    copied = []
    for file in sorted(origin.folder.iterdir()):
        wanted = file.suffix in _SUFFIXES and not file.name.endswith(".index.json") and file.name not in _NOT
        if wanted and file.is_file() and file.stat().st_size <= _LARGEST:
            shutil.copyfile(file, folder / file.name)
            copied.append(file.name)
    for name, text in origin.beside.items():
        (folder / name).unlink(missing_ok=True)
        if text:
            (folder / name).write_text(text, encoding="utf-8")
    if "config.json" in copied:
        _adjust(recipe, origin, folder / "config.json")
    return copied


def _adjust(recipe: Recipe, origin: Checkpoint, path: Path) -> None:
    """Number of layers and type of the result, and what the parent says instead of its own."""
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return
    spans = [piece.parts[0].layers for piece in recipe.slices]
    layers = sum(span[1] - span[0] for span in spans if span)
    changes: dict[str, Any] = {name: layers for name in _LAYERS if layers and name in config}
    changes |= _where_they_stand(config, origin.config)
    changes |= {name: recipe.dtype for name in ("torch_dtype", "dtype") if recipe.dtype and name in config}
    if changes:
        path.write_text(json.dumps({**config, **changes}, indent=2), encoding="utf-8")


def _where_they_stand(config: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes at the top, and in the part of a model of several modalities that is about text."""
    inner = config.get("text_config")
    if not isinstance(inner, dict) or not changes:
        return dict(changes)
    top = {name: value for name, value in changes.items() if name in config or name not in inner}
    return {**top, "text_config": {**inner, **{n: v for n, v in changes.items() if n in inner}}}
