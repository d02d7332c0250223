"""What a backup consists of: files called after their SHA-256, and versions that list them. Strangers may forge one.

    PLACE/files/SHA256             contents, each once however many versions hold it
    PLACE/versions/TIME-DIGEST.json  name, and by path the digest and bytes of every file; sealed; written last

A version that is not there in every bit does not count, so neither a killed backup nor a changed list looks whole.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from transfuse.core.documents import is_sealed, sealed
from transfuse.core.errors import StorageError, UnsafeFile
from transfuse.weights.backups.places import Place

FILES, VERSIONS = "files", "versions"
FORMAT = 1
_LARGEST = 64 << 20  # bytes of a list
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"\d{8}T\d{12}Z-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """One file of a version."""

    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Version:
    """One state of a folder."""

    id: str
    """Time and digest; the newest is the last in order."""
    name: str
    """Of the folder."""
    files: Mapping[str, Copy]
    """By path below the folder, with `/`."""
    digest: str

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(copy.bytes for copy in self.files.values())


def written(version: Version) -> bytes:
    """The list as it is stored."""
    files = {path: {"sha256": copy.sha256, "bytes": copy.bytes} for path, copy in version.files.items()}
    document = {"format": FORMAT, "id": version.id, "name": version.name, "digest": version.digest, "files": files}
    return json.dumps(sealed(document), indent=1).encode()


def versions_at(place: Place) -> tuple[list[Version], dict[str, str]]:
    """Every version whose list is whole, oldest first; and by name why others do not count."""
    found, wrong = [], {}
    for file in sorted(place.names(VERSIONS)):
        try:
            found.append(_read(place, file))
        except (StorageError, UnsafeFile) as error:
            wrong[file.removesuffix(".json")] = str(error)
    return found, wrong


def _read(place: Place, file: str) -> Version:
    try:
        document = json.loads(place.read(VERSIONS, file, limit=_LARGEST))
        whole = isinstance(document, dict) and is_sealed(document) and document["format"] == FORMAT
        if not whole or not _NAME.fullmatch(document["id"]) or f"{document['id']}.json" != file:
            raise ValueError
        files = {path: Copy(sha256=said["sha256"], bytes=said["bytes"]) for path, said in document["files"].items()}
        found = Version(id=document["id"], name=document["name"], files=files, digest=document["digest"])
        plain = all(_DIGEST.fullmatch(c.sha256) and type(c.bytes) is int and c.bytes >= 0 for c in files.values())
        if not plain:
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise StorageError(f"the list '{file}' of {place.told} is not whole") from None
    require_inside(found)
    return found


def require_inside(version: Version) -> None:
    """Raise `UnsafeFile` for a path that would leave the folder, or that two files would share."""
    for path in (version.name, *version.files):
        parts = PurePosixPath(path).parts
        strange = not parts or "/".join(parts) != path or any(part in ("..", ".", "/") for part in parts)
        if strange or re.search(r"[\\\x00-\x1f]", path) or re.match(r"[A-Za-z]:", path) or len(path) > 4000:
            raise UnsafeFile(
                f"the list '{version.id}' names a path outside its folder: {path[:80]!r}. Do not restore it."
            )
    if len(PurePosixPath(version.name).parts) != 1 or version.name.startswith("."):
        raise UnsafeFile(f"the list '{version.id}' is of a folder with the strange name {version.name[:80]!r}.")
    folders = {str(parent) for path in version.files for parent in PurePosixPath(path).parents}
    lower = [path.lower() for path in version.files]
    if folders & set(version.files) or len(set(lower)) != len(lower):
        raise UnsafeFile(f"the list '{version.id}' has two files of one path. Do not restore it.")


def lacking(place: Place, version: Version, there: Mapping[str, int]) -> list[str]:
    """Paths of a version whose contents are not there, or not of the right length."""
    return [path for path, copy in version.files.items() if there.get(copy.sha256) != copy.bytes]


def files_below(path: Path) -> dict[str, Path]:
    """The plain files of a folder by path, or the one file; without what writers leave. Raises `StorageError`."""
    if path.is_file():
        return {path.name: path}
    found = {}
    for item in sorted(path.rglob("*")):
        parts = item.relative_to(path).parts
        if any(part.startswith(".") and part.endswith((".part", ".lock")) for part in parts) or item.is_dir():
            continue
        if item.is_symlink() or not item.is_file():
            raise StorageError(f"'{item}' must be a plain file, but is a link or a device. Put the file itself there.")
        found["/".join(parts)] = item
    return found


def as_rows(found: list[Version], wrong: Mapping[str, str], place: Place) -> list[dict[str, Any]]:
    """The versions at a place as a table, newest first."""
    there = place.names(FILES)
    rows: list[dict[str, Any]] = [
        {
            "version": version.id,
            "name": version.name,
            "files": len(version.files),
            "MB": round(version.bytes / 1e6, 3),
            "whole": "no: " + ", ".join(lost[:3]) if (lost := lacking(place, version, there)) else "yes",
        }
        for version in reversed(found)
    ]
    return rows + [{"version": name, "whole": f"no: {why}"} for name, why in wrong.items()]
