"""A static look into a pickle: which names it would import. Nothing is executed and nothing imported.

The restricted unpickler of torch refuses unknown names too; looking first gives the person the names, and closes
the door before any library sees the bytes.
"""

import io
import pickletools
from collections.abc import Iterator
from typing import IO

from transfuse.core.errors import UnsafeFile, WeightsError

_ALLOWED = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("collections", "Counter"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_parameter_with_state"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.serialization", "_get_layout"),
    ("torch", "Size"),
    ("torch", "Tensor"),
    ("torch", "device"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}
_SUFFIXES_OF_TORCH_TYPES = ("Storage", "16", "32", "64", "128", "8", "bool", "float", "double", "half", "int", "long")
_TEXT = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
_NEVER = {"INST", "OBJ", "EXT1", "EXT2", "EXT4", "NEWOBJ_EX"}
_KEEPS = {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}


def check(stream: IO[bytes], pickles: int, path: object) -> None:
    """Read `pickles` consecutive pickles from the stream and refuse names outside the allow-list.

    Raises `UnsafeFile` for a name that would run code, `WeightsError` for bytes that are no pickle.
    """
    for _ in range(pickles):
        try:
            refused = sorted({name for name in _names(stream) if not _allowed(*name)})
        except UnsafeFile:
            raise
        except Exception as error:  # pickletools raises a dozen types on broken bytes
            raise WeightsError(f"'{path}' is broken: its pickle cannot be read ({error}). Fetch it again.") from None
        if refused:
            names = ", ".join(f"{module}.{name}" for module, name in refused[:5])
            raise UnsafeFile(
                f"'{path}' may run code when opened: its pickle refers to {names}, which is more than tensors. Ask for"
                " the same weights as safetensors, or save the state dict alone."
            )


def check_bytes(data: bytes, path: object) -> None:
    """`check` for one pickle held in memory."""
    check(io.BytesIO(data), 1, path)


def _names(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Every (module, name) that the pickle refers to, by GLOBAL or by STACK_GLOBAL of two literal strings."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in _NEVER:
            raise UnsafeFile(f"The pickle uses the instruction {name}, which weights never need. Do not open the file.")
        if name == "GLOBAL":
            module, attribute = str(argument).split(" ", 1)
            yield module, attribute
        elif name == "STACK_GLOBAL":
            if len(texts) < 2:
                raise UnsafeFile("The pickle builds the name of what it imports. Do not open the file.")
            yield texts[-2], texts[-1]
        elif name in _TEXT:
            texts.append(str(argument))
        elif name in _KEEPS and texts:
            memo[len(memo) if argument is None else int(str(argument))] = texts[-1]
        elif name in {"GET", "BINGET", "LONG_BINGET"} and int(str(argument)) in memo:
            texts.append(memo[int(str(argument))])


def _allowed(module: str, name: str) -> bool:
    if (module, name) in _ALLOWED:
        return True
    storage_or_type = module in {"torch", "torch.storage"} and name.endswith(_SUFFIXES_OF_TORCH_TYPES)
    return storage_or_type and "." not in name and not name.startswith("_")
