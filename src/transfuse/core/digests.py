"""Digests that name contents: of files, of bytes, of plain values. 64 hexadecimal digits (SHA-256)."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def of_file(path: Path) -> str:
    """Digest of a file's bytes, read in constant memory."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_bytes(data: bytes | memoryview) -> str:
    """Digest of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def of_value(value: Any) -> str:
    """Digest of a value made of dicts, lists, strings and numbers; the order of keys does not count."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode())


def of_many(digests: Iterable[str]) -> str:
    """Digest of a sequence of digests, in their order."""
    return of_bytes("\n".join(digests).encode())
