"""Which tensors of a fusion are finished, so that a killed run goes on where it stopped.

One line of JSON a tensor with the digest of its bytes and those of what it was made of; the first line names the recipe
and the parents as they were. A line is believed only when it is as it was written, and the bytes in the unfinished file
still have its digest.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfuse.core.documents import is_sealed, sealed


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The digests of a tensor of the result."""

    digest: str
    inputs: tuple[str, ...]
    """Of every parent's tensor, and of the base's last, when there is one."""


class Journal:
    """The journal of one output; lines are added by several threads."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path, self.identity = path, identity
        self._lock = threading.Lock()

    def finished(self) -> Mapping[str, Finished] | None:
        """Digests by tensor of an earlier run of the same fusion; None when it was another, or none."""
        if not self.path.is_file():
            return None
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # a torn last line is none
        found = [line for line in map(_read, lines) if line is not None]
        if not found or found[0].get("fusion") != self.identity:
            return None
        return {
            line["tensor"]: Finished(digest=line["digest"], inputs=tuple(line["inputs"]))
            for line in found[1:]
            if "tensor" in line
        }

    def begin(self) -> None:
        """Start anew."""
        self.path.write_text(json.dumps(sealed({"fusion": self.identity})) + "\n", encoding="utf-8")

    def add(self, name: str, finished: Finished) -> None:
        """A tensor is written."""
        line = json.dumps(sealed({"tensor": name, "digest": finished.digest, "inputs": finished.inputs})) + "\n"
        with self._lock, self.path.open("a", encoding="utf-8") as stream:
            stream.write(line)


def _read(line: str) -> dict[str, Any] | None:
    """What a line says; None when it was changed since it was written."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and is_sealed(found) else None
