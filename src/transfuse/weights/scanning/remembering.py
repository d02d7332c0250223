"""Verdicts remembered by the digest of the bytes: a file that has not changed is not judged twice.

Only where nothing but the bytes and the extension decides. What was learnt is forgotten when a rule changes, because
the digest of the rules is part of the key.
"""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

from transfuse.core import digests
from transfuse.core.atomic import write_text
from transfuse.core.errors import StorageError
from transfuse.core.places import cache_folder
from transfuse.weights.scanning.findings import Judgement, judgement_of

_BESIDE = {"onnx", "tensorflow-index", "savedmodel", "text", "unknown", "unreadable"}
"""Kinds whose verdict depends on what lies beside the file, or that cost nothing."""
_WORTH = 2**20
"""Bytes from which on remembering is quicker than judging."""


def remembered(judge_file: Callable[[Path], Judgement], strict: bool) -> Callable[[Path], Judgement]:
    """`judge_file` that looks first whether these very bytes were judged before."""

    def judged(path: Path) -> Judgement:
        if path.is_symlink() or not path.is_file() or path.stat().st_size < _WORTH:
            return judge_file(path)
        shelf = _shelf(path, path.stat().st_size, strict)
        if shelf.is_dir():  # a file of that size was judged: only now its digest is worth the time
            known = _read(shelf / f"{digests.of_file(path)}.json")
            if known is not None:
                return dataclasses.replace(known, path=str(path), seconds=0.0)
        judgement = judge_file(path)
        limits = any(finding.rule == "limits" for finding in judgement.findings)
        if judgement.digest and judgement.kind not in _BESIDE and not limits:
            _write(_shelf(path, judgement.size, strict) / f"{judgement.digest}.json", judgement)
        return judgement

    return judged


def _shelf(path: Path, size: int, strict: bool) -> Path:
    """Where verdicts on files of this size and extension lie, by these rules."""
    identity = {"size": size, "suffix": path.suffix.lower(), "strict": strict, "rules": rules()}
    return cache_folder() / "scans" / digests.of_value(identity)


@functools.cache
def rules() -> str:
    """Digest of the rules: of the files that hold them."""
    found = sorted(path for path in Path(__file__).parent.rglob("*") if path.suffix in (".py", ".txt"))
    return digests.of_many(digests.of_file(path) for path in found)


def _read(place: Path) -> Judgement | None:
    """What was remembered; None when it is not there or was changed."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        document = json.loads(place.read_text(encoding="utf-8"))
        if document.pop("check") == digests.of_value(document):
            return judgement_of(document)
    return None


def _write(place: Path, judgement: Judgement) -> None:
    document = dataclasses.asdict(dataclasses.replace(judgement, path=""))
    document = json.loads(json.dumps(document))
    with contextlib.suppress(StorageError, OSError):  # remembering is a convenience
        write_text(place, json.dumps({**document, "check": digests.of_value(document)}))
