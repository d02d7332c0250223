"""`convert`: weights of another format as safetensors, read in a process with limits and proven to be the same.

The child judges the file, reads it from the very stream that it judged, writes safetensors and tells the digest of
every tensor as it was read. What was written is read back here and must have those digests before it gets its name.
Run as `python -P -m transfuse.weights.converting IN TEMPORARY MEMORY`.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core.atomic import writing_file
from transfuse.core.errors import MissingExtra, TransfuseError, UnsafeFile, UnsafeLibrary, UsageError, WeightsError
from transfuse.core.nouns import Report
from transfuse.core.tables import resolve
from transfuse.weights import gate
from transfuse.weights.scanning import child
from transfuse.weights.scanning.inspecting import judge_stream

READERS = {
    **gate.READERS,
    "npy": "transfuse.weights.reading.arrays:read_array",
    "npz": "transfuse.weights.reading.arrays:read_arrays",
    "pickle": "transfuse.weights.reading.pickles:read_pickle",
    "hdf5": "transfuse.weights.reading.hdf5:read_hdf5",
    "keras": "transfuse.weights.reading.hdf5:read_keras",
    "onnx": "transfuse.weights.reading.onnx:read_onnx",
    "gguf": "transfuse.weights.reading.gguf:read_gguf",
}
_ERRORS: Mapping[str, type[TransfuseError]] = {
    kind.__name__: kind for kind in (MissingExtra, UnsafeFile, UnsafeLibrary, UsageError, WeightsError)
}


def convert(path: str | Path, out: str | Path, *, memory: int = 16 * 2**30, seconds: int = 600) -> Report:
    """Write the tensors of `path` as safetensors to `out`, and prove by their digests that they are the same.

    memory: bytes that reading may take. seconds: of reading.

    Raises `UnsafeFile` for what a scan refuses, `WeightsError` for what is broken, too large or holds no tensors,
    `UsageError` when `out` is not called `.safetensors`.
    """
    from transfuse.weights.headers import read_header
    from transfuse.weights.pieces import digests_of

    path, out = Path(path), Path(out)
    if out.suffix != ".safetensors":
        raise UsageError(f"`out` must end in .safetensors, but is '{out}'.")
    with writing_file(out) as temporary:
        said = _in_child(path, temporary, memory, seconds)
        entries = read_header(temporary)
        if digests_of(entries) != said["digests"]:
            raise WeightsError(f"'{path}' was not converted: what was written differs from what was read.")
        size = temporary.stat().st_size
    numbers = sum(math.prod(entry.shape) for entry in entries.values())
    return Report(
        title=f"{path} ({said['kind']}) as {out}",
        columns=("tensors", "numbers", "bytes", "digest of the source"),
        rows=({"tensors": len(entries), "numbers": numbers, "bytes": size, "digest of the source": said["digest"]},),
        summary=(f"{len(entries)} tensors, each the same in both files by its digest.", *said["notes"]),
    )


def _in_child(path: Path, temporary: Path, memory: int, seconds: int) -> dict[str, Any]:
    command = child.command(__name__, path.absolute(), temporary, memory)
    try:
        ended = subprocess.run(command, capture_output=True, timeout=seconds, check=False, env=child.environment())
        said = json.loads(ended.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        raise WeightsError(
            f"'{path}' was not converted: reading it needs more than {seconds} seconds or {memory / 2**30:.0f} GiB."
            " If it is simply large, give more (--seconds, --memory)."
        ) from None
    if "error" in said:
        raise _ERRORS[said["error"]](said["message"])
    return said


def _child(path: Path, temporary: Path, memory: int) -> dict[str, Any]:
    """What the child says: kind, digests, notes; or the error."""
    child.limit(memory)
    try:
        return _converted(path, temporary)
    except TransfuseError as error:
        named = next(kind for kind in type(error).__mro__ if kind.__name__ in _ERRORS)
        return {"error": named.__name__, "message": str(error)}
    except (MemoryError, ImportError) as error:  # a library that finds no memory for itself
        return {"error": "WeightsError", "message": f"'{path}' needs more memory: {error}. Give more (--memory)."}
    except Exception as error:  # broken bytes make readers raise anything
        return {"error": "WeightsError", "message": f"'{path}' is broken: {error or type(error).__name__}."}


def _converted(path: Path, temporary: Path) -> dict[str, Any]:
    from transfuse.weights.files import write_tensors
    from transfuse.weights.headers import entry_of
    from transfuse.weights.pieces import digests_of

    with gate.opened_file(path) as stream:
        judgement = judge_stream(stream, os.fstat(stream.fileno()).st_size, path)
        gate.require_harmless((judgement.kind, judgement.findings), path)
        if judgement.kind not in READERS:
            raise WeightsError(f"'{path}' is {judgement.kind}, which cannot be converted. Known: {', '.join(READERS)}.")
        tensors = gate.tensors_in(stream, path, resolve(READERS, judgement.kind, "format"))
    notes = [finding.reason for finding in judgement.findings if finding.verdict == "ask"]
    told = [f"What was written runs no code; the file itself: {note}" for note in notes]
    write_tensors(temporary, tensors)
    digests = digests_of({name: entry_of(name, tensor) for name, tensor in tensors.items()})
    return {"kind": judgement.kind, "digest": judgement.digest, "digests": digests, "notes": told}


if __name__ == "__main__":
    print(json.dumps(_child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
