"""What a file is, by its bytes alone, and whether its name says something else."""

from collections.abc import Mapping

from transfuse.weights.scanning.archives.zip_layout import names_in
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, Refused
from transfuse.weights.scanning.pickled.machine import STOPPING, Machine
from transfuse.weights.scanning.pickled.values import Symbol
from transfuse.weights.scanning.protobuf import protobufs, tensorflow_checkpoints

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
    b"ZF0x": "joblib-zlib",
    b"\x5d\0\0": "lzma",
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
    ".tar": frozenset({"tar", "torch-zip", "torch-legacy"}),  # checkpoints are often called .pth.tar
    ".gz": frozenset({"gzip"}),
    ".bz2": frozenset({"bzip2"}),
    ".xz": frozenset({"xz"}),
    ".7z": frozenset({"7z"}),
    **dict.fromkeys(
        (".pt", ".pth", ".th", ".bin", ".ckpt"),
        frozenset({"torch-zip", "torch-legacy", "tar", "torchscript", "pickle"}),
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".p", ".joblib", ".jl"),
        frozenset({"pickle", "torch-zip", "torch-legacy", "gzip", "bzip2", "xz", "lzma", "zlib", "joblib-zlib"}),
    ),
}
"""What a name may hold; a name that is not here promises nothing."""
_NOTHING = {"empty", "git-lfs", "web-page", "unknown", "broken-zip"}  # refused for what they are, whatever their name


def recognised(content: Content) -> str:
    """The format, a key of `inspecting.INSPECTIONS` or the name of one that is not opened."""
    if content.size == 0:
        return "empty"
    head = content.read(0, 600)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        return "safetensors"  # asked first: the length of its header may begin like any other format
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return "pickle" if kind == "media" and is_pickle(content) else kind  # "GIF8" may begin a pickle too
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
    try:
        names = names_in(content)
    except Refused:
        return "broken-zip"  # whose inspection says what is wrong
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
    text = not set(head) & set(range(9)) and _is_utf8(head)
    if content.suffix == ".msgpack" and not text:
        return "msgpack"  # has no mark, and begins as some instruction of a pickle does
    if is_pickle(content, content.suffix in _PICKLES or not text):
        return "pickle"
    if text:
        return "text"
    return protobufs.kind_of(content) or _PROMISED.get(content.suffix, "unknown")


def is_pickle(content: Content, plain: bool = False) -> bool:
    """Whether the bytes, which have no mark of a pickle, would be played as one: they call, or (`plain`) just end.

    Protocol 0 is printable text, so any text may be one; hardly any gets beyond its first letters. A list of words may
    import ("cat", "dog" is `at.dog`), but does not call.
    """
    content.stream.seek(0)
    machine = Machine(content.stream, content.size)
    machine.look_up = lambda module, name: Symbol(name=f"{module}.{name}", rule="value")
    try:
        machine.run()
    except Refused as refusal:
        return refusal.finding.rule not in STOPPING
    return machine.names > 0 or plain


_PICKLES = {".pkl", ".pickle", ".p", ".joblib", ".jl"}


def _is_utf8(head: bytes) -> bool:
    try:
        head[:-3].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def contradiction(content: Content, kind: str) -> Finding | None:
    """The finding that the extension claims what the bytes deny."""
    allowed = EXTENSIONS.get(content.suffix)
    if allowed is None or kind in allowed or kind in _NOTHING:
        return None
    return Finding(
        verdict="reject",
        rule="extension",
        reason=f"Its name says {content.suffix}, its bytes say {kind}: it is not what it claims to be.",
        advice="If you trust where it comes from, give it the right extension and scan it again.",
    )
