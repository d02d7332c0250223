"""What a file is, by its bytes alone, and whether its name says something else."""

import zipfile
from collections.abc import Mapping

from transfuse.weights.scanning import protobufs, tensorflow_checkpoints
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding

_LARGEST_HEADER = 100 * 2**20
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_MAGIC: Mapping[bytes, str] = {
    b"\x89HDF\r\n\x1a\n": "hdf5",
    b"GGUF": "gguf",
    b"\x93NUMPY": "npy",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
    b"ZF": "joblib-zlib",
    b"\x7fELF": "native",
    b"MZ": "native",
    b"\xcf\xfa\xed\xfe": "native",
    b"\xca\xfe\xba\xbe": "native",
    b"!<arch>\n": "native",
    b"\0asm": "native",
    b"version https://git-lfs": "git-lfs",
    b"<!DOCTYPE": "web-page",
    b"<!doctype": "web-page",
    b"<html": "web-page",
    b"\x89PNG\r\n\x1a\n": "media",
    b"\xff\xd8\xff": "media",
    b"GIF8": "media",
    b"RIFF": "media",
    b"fLaC": "media",
    b"OggS": "media",
    b"ID3": "media",
    b"PAR1": "media",
    b"ARROW1": "media",
}
_PROMISED: Mapping[str, str] = {
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".gguf": "gguf",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".tflite": "tflite",
    ".msgpack": "msgpack",
    ".pb": "savedmodel",
}
"""Formats whose own inspection says best what is wrong with bytes that no mark tells."""
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
EXTENSIONS: Mapping[str, frozenset[str]] = {
    ".safetensors": frozenset({"safetensors"}),
    ".onnx": frozenset({"onnx"}),
    ".gguf": frozenset({"gguf"}),
    ".h5": frozenset({"hdf5"}),
    ".hdf5": frozenset({"hdf5"}),
    ".keras": frozenset({"keras"}),
    ".npy": frozenset({"npy"}),
    ".npz": frozenset({"npz"}),
    ".skops": frozenset({"skops"}),
    ".tflite": frozenset({"tflite"}),
    ".msgpack": frozenset({"msgpack"}),
    ".mlmodel": frozenset({"coreml"}),
    ".json": frozenset({"text"}),
    ".pb": frozenset({"savedmodel", "graphdef", "keras-metadata", "fingerprint", "onnx"}),
    ".zip": frozenset({"zip"}),
    ".tar": frozenset({"tar", "torch-tar", "torch-zip", "torch-legacy"}),  # checkpoints are often called .pth.tar
    ".gz": frozenset({"gzip"}),
    ".bz2": frozenset({"bzip2"}),
    ".xz": frozenset({"xz"}),
    ".7z": frozenset({"7z"}),
    **dict.fromkeys(
        (".pt", ".pth", ".th", ".bin", ".ckpt"),
        frozenset({"torch-zip", "torch-legacy", "torch-tar", "torchscript", "pickle"}),
    ),
    **dict.fromkeys((".pkl", ".pickle", ".p"), frozenset({"pickle", "torch-zip", "torch-legacy", "joblib"})),
}
"""What a name may hold; a name that is not here promises nothing."""


def recognised(content: Content) -> str:
    """The format, a key of `inspecting.INSPECTIONS` or the name of one that is not opened."""
    if content.size == 0:
        return "empty"
    head = content.read(0, 600)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        return "safetensors"  # asked first: the length of its header may begin like any other format
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(content)
    if head[2:].startswith(_LEGACY_MAGIC) and head[:1] == b"\x80":
        return "torch-legacy"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "pickle"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:2] in _ZLIB:
        return "zlib"
    if head[4:8] == b"TFL3":
        return "tflite"
    return _without_magic(content, head)


def _kind_of_zip(content: Content) -> str:
    content.stream.seek(0)
    try:
        with zipfile.ZipFile(content.stream) as archive:
            names = archive.namelist()
    except Exception:
        return "zip"  # whose inspection says what is wrong
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return "torch-zip"
    if "schema.json" in names:
        return "skops"
    if "model.weights.h5" in names or ("config.json" in names and "metadata.json" in names):
        return "keras"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    return "zip"


def _without_magic(content: Content, head: bytes) -> str:
    """Protobuf, old pickles and text have no mark of their own."""
    if content.size >= 48 and content.read(content.size - 8, 8) == tensorflow_checkpoints.MAGIC:
        return "tensorflow-index"
    if head[:1] in b"(]})cIFLNSVXUKJMGlditl" and content.read(content.size - 1, 1) == b".":
        return "pickle"
    if not set(head) & set(range(9)) and _is_utf8(head):
        return "text"
    return protobufs.kind_of(content) or _PROMISED.get(content.suffix, "unknown")


def _is_utf8(head: bytes) -> bool:
    try:
        head[:-3].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def contradiction(content: Content, kind: str) -> Finding | None:
    """The finding that the extension claims what the bytes deny."""
    allowed = EXTENSIONS.get(content.suffix)
    if allowed is None or kind in allowed or kind in {"empty", "git-lfs", "web-page", "unknown"}:
        return None
    return Finding(
        verdict="reject",
        rule="extension",
        reason=f"Its name says {content.suffix}, its bytes say {kind}: it is not what it claims to be.",
        advice="If you trust where it comes from, give it the right extension and scan it again.",
    )
