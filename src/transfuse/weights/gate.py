"""The gate: the only way by which a file of weights from outside gets into the house.

A file is opened once, judged by its bytes (`scanning`), and read from that very stream, so nothing can change between
the check and the use. Tensors come from safetensors and from torch's zip files by readers of our own that import and
call nothing; from torch's legacy files through the restricted unpickler. Never with `mmap=True`: torch then returns
neighbouring bytes for a storage whose size lies (seen with torch 2.15). Recognising a file loads no torch.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.core.tables import resolve
from transfuse.weights.libraries import require_safe
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, Refused, worst
from transfuse.weights.scanning.inspecting import opened, recognised_and_judged
from transfuse.weights.scanning.recognising import contradiction, recognised

if TYPE_CHECKING:
    import torch

READERS = {
    "safetensors": "transfuse.weights.reading.safetensors:read_safetensors",
    "torch-zip": "transfuse.weights.reading.torch_zip:read_torch_zip",
    "torch-legacy": "transfuse.weights.gate:read_torch_legacy",
}
KERAS = "Convert it first: transfuse convert FILE model.safetensors"
_INERT = {"torch-zip"}
"""Read without running what they name: what a scan asks about may come in."""
_OTHERS = {
    "git-lfs": "a Git LFS pointer, not the weights themselves; fetch them with `git lfs pull`",
    "web-page": "a web page, perhaps of a download that asked for a login",
    "empty": "empty; fetch it again",
    "text": "plain text",
    "hdf5": f"an HDF5 (Keras) file. {KERAS}",
    "keras": f"a Keras model. {KERAS}",
    "gguf": f"a GGUF file. {KERAS}",
    "onnx": f"an ONNX model. {KERAS}",
    "npy": f"a NumPy array. {KERAS}",
    "npz": f"an archive of NumPy arrays. {KERAS}",
    "pickle": "a bare pickle, which can run any code when opened; ask for safetensors",
    "torchscript": "a TorchScript program, which runs code when opened; ask for safetensors",
}
_RUN_CODE = {"pickle", "torchscript"}
_BROKEN = {"broken", "empty", "unreadable", "git-lfs", "web-page", "special-file"}
"""Rules that tell of an accident."""
_NUMBERS = {"safetensors-nan"}
"""Rules about what the numbers are; who uses them says whether that is right."""
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


def open_tensors(path: str | Path) -> "dict[str, torch.Tensor]":
    """Tensors of a file by name, on the CPU, contiguous; a nested `{"state_dict": ...}` is unwrapped.

    Raises `UnsafeFile` when the file would run code or is not what it claims to be, `WeightsError` when it is
    broken or holds no tensors; never another type, whatever the bytes.
    """
    path = Path(path)
    with opened_file(path) as stream:
        kind = _kind(stream, path)
        require_harmless(recognised_and_judged(_content(stream, path)), path)
        return tensors_in(stream, path, resolve(READERS, kind, "format"))


def opened_file(path: Path) -> IO[bytes]:
    """The file, open for reading. Raises `WeightsError`."""
    try:
        return opened(path)
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read: {error.strerror}. Give the path of a weights file.") from error
    except Refused as refused:
        raise refusal(path, refused.finding) from None


def tensors_in(stream: IO[bytes], path: Path, reader: Any) -> "dict[str, torch.Tensor]":
    """Named plain tensors of an open file that was judged. Raises `WeightsError` and `UnsafeFile`, nothing else."""
    stream.seek(0)
    try:
        tensors = _unwrapped(reader(stream, path), path)
        return {name: _plain(name, tensor, path) for name, tensor in tensors.items()}
    except WeightsError:
        raise
    except Exception as error:  # broken bytes make torch and zipfile raise eleven types
        raise _refused(path, error) from error


def recognise(path: str | Path) -> str:
    """What kind of weights a file holds, by its first bytes; raises `UnsafeFile` or `WeightsError` for other kinds.

    The file itself is not judged: who reads it does that.
    """
    path = Path(path)
    with opened_file(path) as stream:
        return _kind(stream, path)


def _kind(stream: IO[bytes], path: Path) -> str:
    content = _content(stream, path)
    kind = recognised(content)
    if kind not in READERS:
        error = UnsafeFile if kind in _RUN_CODE else WeightsError
        what = _OTHERS.get(kind, f"of the kind {kind}")
        raise error(f"'{path}' must be safetensors or a torch file, but is {what}.")
    lie = contradiction(content, kind)
    if lie:
        raise refusal(path, lie)
    return kind


def _content(stream: IO[bytes], path: Path) -> Content:
    return Content(stream=stream, size=os.fstat(stream.fileno()).st_size, name=path.name, path=path)


def require_harmless(judged: tuple[str, Sequence[Finding]], path: object) -> None:
    """Raise `UnsafeFile` or `WeightsError` for a kind and findings that must not come in."""
    kind, findings = judged[0], [finding for finding in judged[1] if finding.rule not in _NUMBERS]
    verdict = worst(findings)
    if verdict == "reject" or (verdict == "ask" and kind not in _INERT):
        raise refusal(path, next(one for one in findings if one.verdict == verdict))


def require_accepted(path: Path) -> None:
    """Raise `UnsafeFile` or `WeightsError` for a file, of weights or of settings, that a scan does not accept."""
    with opened_file(path) as stream:
        _, findings = recognised_and_judged(_content(stream, path))
    if findings:
        raise refusal(path, findings[0])


def refusal(path: object, finding: Finding) -> WeightsError:
    """The error that says what a scan found."""
    place = f" ({finding.where})" if finding.where else ""
    kind = WeightsError if finding.rule in _BROKEN else UnsafeFile
    return kind(f"'{path}' is refused: {finding.reason}{place} {finding.advice}")


def read_torch_legacy(stream: IO[bytes], path: Path) -> Any:
    """What torch wrote before its zip files, through its restricted unpickler; the stream was judged before."""
    import torch

    require_safe("torch")
    return torch.load(stream, map_location="cpu", weights_only=True)


def _unwrapped(loaded: Any, path: Path) -> "dict[str, torch.Tensor]":
    """The mapping of tensors inside what a training script saved."""
    import torch

    from transfuse.weights.reading.torch_zip import Unread, state_of

    for _ in range(3):
        loaded = state_of(loaded) or loaded
        if not isinstance(loaded, Mapping):
            break
        tensors: dict[str, Any] = {
            str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor | Unread)
        }
        nests = [found for name in _NESTS if (found := _nested(loaded.get(name)))]
        if not nests:
            if tensors:
                return tensors
            break
        loaded = nests[0]
    raise WeightsError(f"'{path}' must hold named tensors (a state dict), but holds none.")


def _nested(value: Any) -> "Mapping[str, Any] | None":
    from transfuse.weights.reading.torch_zip import state_of

    return value if isinstance(value, Mapping) and value else state_of(value)


def _plain(name: str, tensor: "torch.Tensor", path: Path) -> "torch.Tensor":
    import torch

    if not isinstance(tensor, torch.Tensor):
        kind = type(tensor).__name__.removeprefix("_rebuild_").replace("_", " ")
        raise WeightsError(f"'{path}': tensor '{name}' must be dense, but is a {kind}. Save it dense.")
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
