"""One file through the inspection that its bytes call for; whatever happens there, a judgement comes out.

Fails closed: a format without an inspection, an inspection that stumbles, and bytes that say something else than the
file's name are all rejections.
"""

import dataclasses
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from transfuse.core.tables import resolve
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, Judgement, Refused, refused
from transfuse.weights.scanning.recognising import contradiction, recognised

INSPECTIONS = {
    "empty": "transfuse.weights.scanning.plain:empty",
    "media": "transfuse.weights.scanning.plain:media",
    "pickle": "transfuse.weights.scanning.pickled.pickles:pickle",
    "torch-zip": "transfuse.weights.scanning.pytorch.torch_files:torch_zip",
    "torch-legacy": "transfuse.weights.scanning.pytorch.torch_files:torch_legacy",
    "torchscript": "transfuse.weights.scanning.pytorch.torch_script:torch_script",
    "npy": "transfuse.weights.scanning.pickled.numpy_files:npy",
    "npz": "transfuse.weights.scanning.archives.zips:zip_archive",
    "zip": "transfuse.weights.scanning.archives.zips:zip_archive",
    "broken-zip": "transfuse.weights.scanning.archives.zips:zip_archive",
    "tar": "transfuse.weights.scanning.archives.tars:tar",
    "gzip": "transfuse.weights.scanning.archives.compressed:gzip",
    "bzip2": "transfuse.weights.scanning.archives.compressed:bzip2",
    "xz": "transfuse.weights.scanning.archives.compressed:xz",
    "lzma": "transfuse.weights.scanning.archives.compressed:lzma_alone",
    "zlib": "transfuse.weights.scanning.archives.compressed:zlib_stream",
    "joblib-zlib": "transfuse.weights.scanning.archives.compressed:old_joblib",
    "7z": "transfuse.weights.scanning.archives.closed:archive",
    "rar": "transfuse.weights.scanning.archives.closed:archive",
    "zstandard": "transfuse.weights.scanning.archives.closed:archive",
    "lz4": "transfuse.weights.scanning.archives.closed:archive",
    "web-page": "transfuse.weights.scanning.archives.closed:web_page",
    "git-lfs": "transfuse.weights.scanning.archives.closed:git_lfs",
    "native": "transfuse.weights.scanning.archives.closed:native",
    "text": "transfuse.weights.scanning.settings.texts:text",
    "unknown": "transfuse.weights.scanning.raw:unknown",
    "safetensors": "transfuse.weights.scanning.safetensors:safetensors",
    "onnx": "transfuse.weights.scanning.protobuf.onnx:onnx",
    "gguf": "transfuse.weights.scanning.gguf:gguf",
    "hdf5": "transfuse.weights.scanning.keras.hdf5:hdf5",
    "keras": "transfuse.weights.scanning.keras.keras:keras",
    "skops": "transfuse.weights.scanning.skops:skops",
    "tflite": "transfuse.weights.scanning.tflite:tflite",
    "savedmodel": "transfuse.weights.scanning.protobuf.savedmodel:savedmodel",
    "coreml": "transfuse.weights.scanning.protobuf.coreml:coreml",
    "msgpack": "transfuse.weights.scanning.msgpack:msgpack",
    "graphdef": "transfuse.weights.scanning.protobuf.savedmodel:graphdef",
    "keras-metadata": "transfuse.weights.scanning.protobuf.savedmodel:keras_metadata",
    "fingerprint": "transfuse.weights.scanning.protobuf.savedmodel:fingerprint",
    "sentencepiece": "transfuse.weights.scanning.protobuf.savedmodel:sentencepiece",
    "tensorflow-index": "transfuse.weights.scanning.protobuf.tensorflow_checkpoints:index",
}
Inspection = Callable[[Content], Iterator[Finding]]
_MOST_FINDINGS = 50
_LONGEST = 400  # characters
_OTHER = "Ask for the same weights as safetensors, or unpack it where nothing can be lost and scan what is inside."
_FETCH = "Fetch the file again; if it stays so, do not open it."


def inspect(content: Content) -> Iterator[Finding]:
    """Findings of a file or of a member of an archive. Raises nothing but what stops a process."""
    yield from recognised_and_judged(content)[1]


def judge_file(path: Path) -> Judgement:
    """Judgement of one plain file; never raises for what its bytes are."""
    began = time.monotonic()
    try:
        with opened(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            return judge_stream(stream, size, path)
    except Refused as refusal:
        return _judgement(path, "unreadable", 0, "", [refusal.finding], began)
    except OSError as error:
        finding = Finding(
            verdict="reject",
            rule="unreadable",
            reason=f"It cannot be read: {error.strerror or error}.",
            advice="Check the path and its permissions.",
        )
        return _judgement(path, "unreadable", 0, "", [finding], began)


def judge_stream(stream: IO[bytes], size: int, path: Path) -> Judgement:
    """Judgement of an open file: the loader may go on with the very same stream."""
    began = time.monotonic()
    kind, findings = recognised_and_judged(Content(stream=stream, size=size, name=path.name, path=path))
    stream.seek(0)
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
    stream.seek(0)
    return _judgement(path, kind, size, digest, findings, began)


def recognised_and_judged(content: Content) -> tuple[str, list[Finding]]:
    """What it is by its bytes, and what speaks against opening it."""
    kind, findings = "unknown", []
    try:
        kind = recognised(content)
        lie = contradiction(content, kind)
        if lie:
            findings.append(lie)
        if kind not in INSPECTIONS:
            raise refused("unknown-format", f"It is of a format that is not looked into: {kind}.", advice=_OTHER)
        for finding in resolve(INSPECTIONS, kind, "format")(content):
            findings.append(finding)
    except Refused as refusal:
        findings.append(refusal.finding)
    except MemoryError:
        findings.append(_OUT_OF_MEMORY)
    except Exception as error:  # bytes from outside make parsers raise anything
        findings.append(_stumbled(error))
    return kind, findings


_OUT_OF_MEMORY = Finding(
    verdict="reject",
    rule="limits",
    reason="Judging it needs more memory than is given.",
    advice="Do not open it. If it is simply large, give more: --memory.",
)


def _stumbled(error: Exception) -> Finding:
    what = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return Finding(verdict="reject", rule="broken", reason=f"It cannot be read to the end: {what}.", advice=_FETCH)


def opened(path: Path) -> IO[bytes]:
    """The file, opened once; devices, pipes and folders are refused without being waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise refused("special-file", "It is no plain file.", advice="Give a file, or the folder that it lies in.")
    return os.fdopen(handle, "rb")


def _judgement(path: Path, kind: str, size: int, digest: str, found: list[Finding], began: float) -> Judgement:
    findings = tuple(map(_told, sorted(found, key=lambda finding: finding.verdict, reverse=True)[:_MOST_FINDINGS]))
    seconds = time.monotonic() - began
    return Judgement(path=str(path), kind=kind, size=size, digest=digest, findings=findings, seconds=seconds)


def _told(finding: Finding) -> Finding:
    """Without control characters or endless names, which come from the file."""
    return dataclasses.replace(finding, reason=_short(finding.reason), where=_short(finding.where))


def _short(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}\N{HORIZONTAL ELLIPSIS}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
