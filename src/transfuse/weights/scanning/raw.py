"""Bytes of no known format: refused, unless a model beside them says that they are its numbers."""

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, Refused
from transfuse.weights.scanning.protobuf import onnx, protobufs, tensorflow_checkpoints

_SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
_SPAN = re.compile(rb'<data [^>]*offset="(\d{1,19})"[^>]*size="(\d{1,19})"')
_LARGEST_XML = 256 * 2**20
_MOST_MODELS = 32


def unknown(content: Content) -> Iterator[Finding]:
    """Numbers of a model that lies beside them, by its own word; nothing else is let through."""
    if content.path is None or not _spoken_for(content.path):
        yield Finding(
            verdict="reject",
            rule="unknown",
            reason="Its bytes are of no format that can be judged.",
            advice="If it belongs to a model, give the folder that holds both; else do not open it.",
        )


def _spoken_for(path: Path) -> bool:
    shard = _SHARD.fullmatch(path.name)
    if shard:
        return _reads(path.with_name(f"{shard.group(1)}.index"), path.name)
    if path.suffix == ".bin" and _openvino(path):
        return True
    folders = [path.parent, path.parent.parent]
    if path.name == "weight.bin" and any(_is_coreml(model) for model in path.parent.parent.glob("*.mlmodel")):
        return True
    models = [model for folder in folders for model in islice(sorted(folder.glob("*.onnx")), _MOST_MODELS)]
    return any(_reads(model, path.relative_to(model.parent).as_posix()) for model in models)


def _openvino(path: Path) -> bool:
    """Whether an OpenVINO network of the same name takes its numbers from within this file."""
    try:
        text = path.with_suffix(".xml").read_bytes()[:_LARGEST_XML]
        spans = [(int(start), int(size)) for start, size in _SPAN.findall(text)]
        return b"<net " in text and bool(spans) and max(map(sum, spans)) <= path.stat().st_size
    except (OSError, ValueError):
        return False


def _is_coreml(model: Path) -> bool:
    with model.open("rb") as stream:
        return protobufs.kind_of(Content(stream=stream, size=model.stat().st_size, name=model.name)) == "coreml"


def _reads(model: Path, name: str) -> bool:
    """Whether a model, itself without fault, takes numbers from the file of that name."""
    try:
        with model.open("rb") as stream:
            content = Content(stream=stream, size=model.stat().st_size, name=model.name, path=model)
            found = onnx.data_files(content) if model.suffix == ".onnx" else tensorflow_checkpoints.shards(content)
            return name in found
    except (OSError, Refused):
        return False
