"""Writing and reading transfuse's own weights: safetensors only.

Every file carries the digest (XXH3 of 128 bits) of its names, types, shapes, bytes and texts among its texts, so
that what transfuse keeps for itself (checkpoints, caches) is read back only when no bit of it has changed.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from transfuse.core.atomic import writing_file
from transfuse.core.errors import WeightsError
from transfuse.weights.gate import open_tensors

_DIGEST = "digest"


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write named tensors as safetensors, atomically, with their digest. Raises `StorageError` for want of room."""
    path = Path(path)
    # Clones, because safetensors refuses tensors that share memory (tied weights).
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with writing_file(path) as temporary:
        _save(plain, temporary, {**(metadata or {}), _DIGEST: _digest_of(plain, metadata or {})})
    return path


def _save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a file; what the system refused comes as its `OSError`, which safetensors hides in a text."""
    try:
        save_file(tensors, str(path), metadata=metadata)
    except SafetensorError as error:
        refused = re.search(r"\(os error (\d+)\)", str(error))
        if refused is None:
            raise
        raise OSError(int(refused[1]), str(error), str(path)) from error
    _put_in_order(path)


def _put_in_order(path: Path) -> None:
    """Sort the texts of a header, which safetensors writes in another order each time: same weights, same bytes."""
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= length:
            stream.seek(8)
            stream.write(text.ljust(length))


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `write_tensors` wrote, through the gate like every file."""
    return open_tensors(path)


def read_whole(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and texts of a file that transfuse wrote for itself.

    Raises `WeightsError` when any bit of it was changed since, or when it has no digest.
    """
    try:
        tensors = read_tensors(path)
        with safe_open(str(path), framework="pt") as stream:
            metadata = dict(stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' must be a safetensors file, but cannot be read: {error}.") from error
    if metadata.pop(_DIGEST, None) != _digest_of(tensors, metadata):
        raise WeightsError(f"'{path}' was changed since it was written: its digest differs. Remove it to start anew.")
    return tensors, metadata


def is_whole(path: str | Path) -> bool:
    """Whether a file that transfuse wrote for itself is there, with every bit as it was; else it is made again."""
    try:
        return Path(path).exists() and bool(read_whole(path))
    except WeightsError:
        return False


def _digest_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    total = xxhash.xxh3_128(json.dumps(dict(metadata), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts that `write_tensors` stored beside the tensors."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            return {name: text for name, text in (stream.metadata() or {}).items() if name != _DIGEST}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' must be a safetensors file, but cannot be read: {error}.") from error
