"""The tensors of a torch zip file, read without `torch.load`: nothing that the pickle names is imported or called.

Functions of torch that rebuild tensors are our own; every other class is an inert shell that keeps what it was given.
So the state of a whole module, or of a checkpoint with a script's own objects, is read where `weights_only` gives up.
Each storage is read once, from the stream that was judged, and every tensor is held to lie within its storage.
"""

import contextlib
import functools
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from transfuse.core.errors import UnsafeFile, WeightsError

_STORAGES = {
    **{f"{name}Storage": dtype for name, dtype in (
        ("Double", torch.float64), ("Float", torch.float32), ("Half", torch.float16), ("BFloat16", torch.bfloat16),
        ("Long", torch.int64), ("Int", torch.int32), ("Short", torch.int16), ("Char", torch.int8),
        ("Byte", torch.uint8), ("Bool", torch.bool), ("ComplexFloat", torch.complex64),
        ("ComplexDouble", torch.complex128),
    )},
    "UntypedStorage": torch.uint8,
}  # fmt: skip
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64),
        *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    )
}
_DEEPEST = 200  # modules in modules


class Inert:
    """Stands for an object of a class that is not known here; remembers its state and does nothing."""

    state: Any = None

    def __new__(cls, *values: object, **named: object) -> "Inert":
        return super().__new__(cls)

    def __init__(self, *values: object, **named: object) -> None:
        return None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def append(self, value: object) -> None:
        """A list's, which the pickle may call."""

    def extend(self, values: object) -> None:
        """A list's."""

    def add(self, value: object) -> None:
        """A set's."""

    def __setitem__(self, name: object, value: object) -> None:
        return None

    def __hash__(self) -> int:
        return id(self)


class Unread(Inert):
    """Stands for a tensor of a kind that is not read: sparse, quantised, without numbers, of a class of its own."""


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: IO[bytes], storage: Callable[[str, torch.dtype, int], torch.Tensor]) -> None:
        super().__init__(stream)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for a name; never an import."""
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        rebuilt = module.partition(".")[0] == "torch" and name.startswith("_rebuild")
        return type(str(name), (Unread if rebuilt else Inert,), {})

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The numbers of a storage, one-dimensional."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise WeightsError(f"Storage '{key}' is of a type that is not read.")
        return self._storage(str(key), dtype, int(count))


def read_torch_zip(stream: IO[bytes], path: Path) -> Any:
    """What the file holds: plain values, tensors, and inert shells. Raises `WeightsError`, or what broken bytes raise.

    The file must have been judged before.
    """
    with zipfile.ZipFile(stream) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        order = _optional(archive, f"{folder}byteorder")
        if order not in (b"", b"little"):
            raise WeightsError("Its numbers are stored big end first. Save it again on a common machine.")

        @functools.cache
        def storage(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
            return _numbers(archive, f"{folder}data/{key}", dtype, count)

        return _Unpickler(io.BytesIO(archive.read(f"{folder}data.pkl")), storage).load()


def _numbers(archive: zipfile.ZipFile, record: str, dtype: torch.dtype, count: int) -> torch.Tensor:
    size = archive.getinfo(record).file_size
    if size != count * dtype.itemsize:
        raise UnsafeFile(f"Storage '{record}' claims {count} numbers, but holds {size} bytes.")
    data = torch.empty(size, dtype=torch.uint8)
    with archive.open(record) as stream:
        view, place = data.numpy().data, 0
        while place < size:
            place += stream.readinto(view[place:]) or _cut_short(record)  # type: ignore[attr-defined]
    return data.view(dtype)


def _cut_short(record: str) -> int:
    raise WeightsError(f"Storage '{record}' ends too early.")


def _optional(archive: zipfile.ZipFile, name: str) -> bytes:
    with contextlib.suppress(KeyError):
        return archive.read(name)
    return b""


def _tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *rest: object) -> torch.Tensor:
    sizes, strides = tuple(map(int, size)), tuple(map(int, stride))
    last = offset + sum((count - 1) * step for count, step in zip(sizes, strides, strict=True))
    if offset < 0 or min((*sizes, *strides, 0)) < 0 or (0 not in sizes and last >= storage.numel()):
        raise UnsafeFile("A tensor claims numbers outside its storage.")
    return storage.as_strided(sizes, strides, offset) if 0 not in sizes else storage.new_empty(sizes)


def _tensor_of_type(
    storage: torch.Tensor,
    offset: int,
    size: Any,
    stride: Any,
    grad: object,
    hooks: object,
    dtype: torch.dtype,
    *rest: object,
) -> torch.Tensor:
    return _tensor(storage.view(dtype), offset, size, stride)


def _parameter(data: Any, *rest: object) -> Any:
    return data


def _from_type(function: Callable[..., Any], kind: object, arguments: Any, state: object) -> Any:
    return function(*arguments)


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_type,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _from_type,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


def state_of(value: Any) -> dict[str, Any] | None:
    """The state dict of what was a `torch.nn.Module`, from its own state; None for anything else."""
    if isinstance(value, Inert) and isinstance(value.state, dict) and "_parameters" in value.state:
        return dict(_tensors_of(value, "", 0))
    return None


def _tensors_of(module: Inert, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _DEEPEST:
        raise WeightsError(f"Modules lie more than {_DEEPEST} deep in each other.")
    state = module.state if isinstance(module.state, dict) else {}
    silent = state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, value in (state.get(kind) or {}).items():
            if isinstance(value, torch.Tensor | Unread) and name not in silent:
                yield f"{prefix}{name}", value
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Inert):
            yield from _tensors_of(child, f"{prefix}{name}.", depth + 1)
