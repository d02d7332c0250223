"""The gate: the only way by which a file of weights from outside gets into the house.

What a file is, is decided by its bytes; a file whose name says otherwise is refused. Tensors come from
safetensors, or from torch files through the restricted unpickler, after a static look and always onto the CPU.
Never with `mmap=True`: torch then returns neighbouring bytes for a storage whose size lies (seen with torch 2.15).
Recognising a file loads no torch.
"""

import json
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights import pickles

if TYPE_CHECKING:
    import torch

Format = Literal["safetensors", "torch-zip", "torch-legacy"]

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_OTHER_FORMATS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 (Keras) file",
    b"GGUF": "a GGUF file",
    b"\x93NUMPY": "a NumPy array",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"version https://git-lfs": "a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`",
    b"<!DOCTYPE": "a web page, perhaps of a download that asked for a login",
    b"<html": "a web page, perhaps of a download that asked for a login",
}
KERAS = (
    "Convert it where Keras is: model = keras.models.load_model(FILE); safetensors.numpy.save_file({weight.path:"
    " numpy.ascontiguousarray(weight.numpy()) for weight in model.weights}, 'model.safetensors')."
)
_TORCH_SUFFIXES = {".pt", ".pth", ".th", ".bin", ".ckpt", ".pkl", ".tar"}
_NESTS = (
    "state_dict",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "model",
    "network",
    "net",
    "weights",
    "params",
)
_LARGEST_HEADER = 100 * 2**20


def open_tensors(path: str | Path) -> "dict[str, torch.Tensor]":
    """Tensors of a file by name, on the CPU, contiguous; a nested `{"state_dict": ...}` is unwrapped.

    Raises `UnsafeFile` when the file would run code or is not what it claims to be, `WeightsError` when it is
    broken or holds no tensors; never another type, whatever the bytes.
    """
    path = Path(path)
    kind = recognise(path)
    try:
        loaded = _read_safetensors(path) if kind == "safetensors" else _read_torch(path, kind)
        tensors = _unwrapped(loaded, path)
        return {name: _plain(name, tensor, path) for name, tensor in tensors.items()}
    except WeightsError:
        raise
    except Exception as error:  # broken bytes make torch and zipfile raise eleven types
        raise _refused(path, error) from error


def recognise(path: str | Path) -> Format:
    """What kind of weights a file holds, by its bytes; raises `UnsafeFile` or `WeightsError` for anything else."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read: {error.strerror}. Give the path of a weights file.") from error
    kind = _by_bytes(head, path)
    _check_suffix(path, kind)
    return kind


def _by_bytes(head: bytes, path: Path) -> Format:
    if not head:
        raise WeightsError(f"'{path}' is empty. Fetch it again.")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        return "safetensors"  # asked first: the length of its header may begin like any other format
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if head[2:].startswith(_LEGACY_MAGIC) and head[:1] == b"\x80":
        return "torch-legacy"
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            how = f" {KERAS}" if "Keras" in what else ""
            raise WeightsError(f"'{path}' must be safetensors or a torch file, but is {what}.{how}")
    if head[:1] == b"\x80":
        raise UnsafeFile(f"'{path}' is a bare pickle, which can run any code when opened. Ask for safetensors.")
    raise WeightsError(f"'{path}' must be safetensors or a torch file, but its bytes are neither.")


def _check_suffix(path: Path, kind: Format) -> None:
    suffix = path.suffix.lower()
    lies = kind == "safetensors" if suffix in _TORCH_SUFFIXES else suffix == ".safetensors" and kind != "safetensors"
    if lies:
        raise UnsafeFile(
            f"'{path.name}' is not what it claims to be: its bytes are {kind}. If you trust where it comes from,"
            " give it the right extension."
        )


def _read_safetensors(path: Path) -> "dict[str, torch.Tensor]":
    from safetensors import safe_open

    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if not 2 <= length <= min(_LARGEST_HEADER, path.stat().st_size - 8):
            raise WeightsError(f"'{path}' is broken: its header says {length} bytes. Fetch it again.")
        json.loads(stream.read(length), object_pairs_hook=_without_duplicates)
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise UnsafeFile("The safetensors header names one tensor twice, so two readers could see different weights.")
    return dict(pairs)


def _read_torch(path: Path, kind: Format) -> Any:
    import torch

    with path.open("rb") as stream:
        if kind == "torch-zip":
            _check_zip(stream, path)
        else:
            pickles.check(stream, 5, path)
        stream.seek(0)
        return torch.load(stream, map_location="cpu", weights_only=True)


def _check_zip(stream: IO[bytes], path: Path) -> None:
    """One folder of stored records with right checksums and one harmless pickle: what torch.save writes."""
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
            raise UnsafeFile(f"'{path}' is a TorchScript program, which runs code when opened. Ask for safetensors.")
        if "model.weights.h5" in names:
            raise WeightsError(f"'{path}' must be a torch file, but is a Keras model. {KERAS}")
        inner = [name for name in names if name.endswith(".pkl") or name.count("/") == 0]
        if len(inner) != 1 or not inner[0].endswith("/data.pkl"):
            raise WeightsError(f"'{path}' must be a torch file, but is another kind of zip archive.")
        if len(set(names)) != len(names) or archive.comment:
            raise UnsafeFile(f"'{path}' hides records in its zip container. Ask for the same weights as safetensors.")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise UnsafeFile(f"'{path}' has compressed or encrypted records, which torch never writes.")
        broken = archive.testzip()  # torch itself does not look at the checksums
        if broken:
            raise WeightsError(f"'{path}' is broken: the checksum of '{broken}' is wrong. Fetch it again.")
        pickles.check_bytes(archive.read(inner[0]), path)


def _unwrapped(loaded: Any, path: Path) -> "dict[str, torch.Tensor]":
    """The mapping of tensors inside what a training script saved."""
    import torch

    for _ in range(3):
        if not isinstance(loaded, Mapping):
            break
        tensors = {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
        nests = [loaded[name] for name in _NESTS if isinstance(loaded.get(name), Mapping) and loaded[name]]
        if not nests:
            if tensors:
                return tensors
            break
        loaded = nests[0]
    raise WeightsError(f"'{path}' must hold named tensors (a state dict), but holds none.")


def _plain(name: str, tensor: "torch.Tensor", path: Path) -> "torch.Tensor":
    import torch

    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise WeightsError(f"'{path}': tensor '{name}' must be dense, but is {tensor.layout}. Save it dense.")
    if tensor.numel() * tensor.element_size() > max(tensor.untyped_storage().nbytes(), 64):
        raise UnsafeFile(f"'{path}': tensor '{name}' claims {tensor.numel()} values, more than the file holds.")
    return tensor.detach().contiguous()


def _refused(path: Path, error: Exception) -> WeightsError:
    text = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    if "weights_only" in str(error).lower() or "Unsupported" in text:
        return UnsafeFile(f"'{path}' was refused by the restricted unpickler: {text}. Ask for safetensors.")
    return WeightsError(f"'{path}' is broken: {text}. Fetch it again.")
