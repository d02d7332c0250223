"""A parent on disk: which tensors it has and where they lie, from headers alone.

A file, a folder of transformers, timm or diffusers (one file or many with an index), or a saved Model. Torch files are
read whole, through the gate; safetensors tensor by tensor.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfuse.core import sums
from transfuse.core.documents import json_object
from transfuse.core.errors import ModelError, UsageError, WeightsError
from transfuse.weights.gate import KERAS, open_tensors, recognise
from transfuse.weights.headers import Entry, entry_of, read_header

DOCUMENT = "model.json"
_INDICES = (
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)
_SINGLES = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
)
_FOREIGN = {
    ".h5": KERAS,
    ".keras": KERAS,
    ".msgpack": "Convert it where transformers is: from_pretrained(FOLDER, from_flax=True).save_pretrained(NEW).",
    ".gguf": "GGUF is quantised: take the checkpoint that it was made from.",
    ".onnx": "Take the checkpoint that it was exported from.",
}
_SCALES = ("weight_scale", "weight_scale_inv", "scale_weight", "qweight", "qzeros", "quant_state", "absmax")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors of one parent."""

    path: Path
    folder: Path | None
    """Where its other files lie; None for a bare file."""
    files: tuple[Path, ...]
    entries: Mapping[str, Entry]
    document: Mapping[str, Any] | None = None
    """The JSON of a saved Model."""
    notes: tuple[str, ...] = ()
    """What was done to it on the way in."""
    left: Mapping[str, str] = field(default_factory=dict)
    """Tensors that are not carried over, and why."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the result's config.json says instead of its own."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Texts of files that the result gets instead of its own; an empty one is left out."""

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        return sum(entry.nbytes for entry in self.entries.values())

    @property
    def settings(self) -> dict[str, Any]:
        """Its config.json; empty without one."""
        path = self.folder / "config.json" if self.folder is not None else None
        return json_object(path, WeightsError) if path is not None and path.is_file() else {}


def open_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors at a path. Raises `UsageError`, `WeightsError` or `UnsafeFile`."""
    path = Path(path)
    if not path.exists():
        raise UsageError(f"A parent must be a file or folder of weights, but '{path}' does not exist.")
    files = _files(path) if path.is_dir() else (path,)
    entries: dict[str, Entry] = {}
    for file in files:
        for name, entry in entries_of(file).items():
            if name in entries:
                raise WeightsError(f"'{path}' has the tensor '{name}' in two files. Remove one of them.")
            entries[name] = entry
    _require_plain(path, entries)
    document = path / DOCUMENT
    if document.is_file():
        sums.require(path, [DOCUMENT], ModelError)
    known = json_object(document, WeightsError) if path.is_dir() and document.is_file() else None
    return Checkpoint(
        path=path, folder=path if path.is_dir() else None, files=files, entries=entries, document=known
    )  # fmt: skip


def _files(folder: Path) -> tuple[Path, ...]:
    for name in _SINGLES[:3]:
        if (folder / name).is_file():
            return (folder / name,)
    for name in _INDICES:
        if (folder / name).is_file():
            return _indexed(folder, folder / name)
    if (folder / _SINGLES[3]).is_file():
        return (folder / _SINGLES[3],)
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return tuple(found)
    _require_torch(folder)
    told = f"has {len(found)} .safetensors files and no index" if found else "has no weights"
    raise UsageError(f"'{folder}' must hold model.safetensors, or shards with their index, but {told}. Give a file.")


def _require_torch(folder: Path) -> None:
    """Weights of another framework are told by name, and how they become readable."""
    foreign = sorted(path for path in folder.iterdir() if path.name.endswith(tuple(_FOREIGN)))
    if foreign:
        how = next(how for suffix, how in _FOREIGN.items() if foreign[0].name.endswith(suffix))
        raise WeightsError(f"'{folder}' must hold safetensors or torch weights, but has {foreign[0].name}. {how}")


def _indexed(folder: Path, index: Path) -> tuple[Path, ...]:
    """The shards of an index, all of which must lie beside it."""
    names = json_object(index, WeightsError).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise WeightsError(f"'{index}' must say in which file each tensor lies (weight_map), but does not.")
    files = sorted(set(names.values()))
    wrong = next((name for name in files if Path(name).name != name or not (folder / name).is_file()), None)
    if wrong is not None:
        raise WeightsError(f"'{index}' must name files beside it, but '{wrong}' is not there. Fetch the folder again.")
    return tuple(folder / name for name in files)


def entries_of(file: Path) -> dict[str, Entry]:
    """The tensors of one file. Raises `WeightsError` or `UnsafeFile`."""
    if recognise(file) == "safetensors":
        return read_header(file)
    return {name: dataclasses.replace(entry_of(name, tensor), path=file) for name, tensor in open_tensors(file).items()}


def _require_plain(path: Path, entries: Mapping[str, Entry]) -> None:
    """Codes of a quantised checkpoint are not weights: their mean means nothing."""
    low = ("float8_e4m3fn", "float8_e5m2", "int8", "uint8", "int32")
    quantised = next((name for name in entries if name.rpartition(".")[2] in _SCALES), None)
    if quantised is not None and any(entry.dtype.name in low for entry in entries.values()):
        raise WeightsError(
            f"'{path}' is quantised ('{quantised}' scales its codes), so it cannot be merged. Dequantise it first."
        )
