"""Where backups lie: any place that fsspec reaches (a disk, S3, the hub, another machine), and its answers in words.

Drivers fail in many ways; whoever calls sees `StorageError`, `UsageError` or `MissingExtra`. Neither a password nor a
signed query of the URL stands in a message: only the kind of the driver's error does.
"""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from transfuse.core import atomic
from transfuse.core.errors import MissingExtra, StorageError, TransfuseError, UsageError

CHUNK = 1 << 20
_REFUSED = re.compile(r"credential|permission|forbidden|denied|unauthorized|authenti|\b40[13]\b|token|login", re.I)
_WITHOUT_FOLDERS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oss", "oci", "hf")
"""Where a folder need not be made; asking for one would make a bucket of a mistyped name."""
_HOW = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or run `aws configure` (AWS_ENDPOINT_URL for other servers)",
    "hf": "run `hf auth login`, or set HF_TOKEN to a token that may write",
    "gs": "run `gcloud auth application-default login`",
    "gcs": "run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_CONNECTION_STRING",
    "abfs": "set AZURE_STORAGE_CONNECTION_STRING",
    "ssh": "put your key where ssh finds it (`ssh-copy-id`)",
    "sftp": "put your key where ssh finds it (`ssh-copy-id`)",
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder somewhere."""

    system: Any
    """fsspec's file system."""
    root: str
    told: str
    """The URL as it may be shown."""
    protocol: str

    def at(self, *parts: str) -> str:
        """The path of what lies below."""
        return "/".join([self.root.rstrip("/"), *parts])

    @property
    def is_disk(self) -> bool:
        """Whether our own atomic writer reaches it."""
        return self.protocol in ("file", "local")

    def names(self, folder: str) -> dict[str, int]:
        """Files of a folder and their bytes; none where there is no such folder."""
        with self.explained():
            self.system.invalidate_cache()
            try:
                found = self.system.ls(self.at(folder), detail=True)
            except FileNotFoundError:
                return {}
            files = [one for one in found if one["type"] == "file"]
            return {str(one["name"]).rstrip("/").rpartition("/")[2]: int(one["size"] or 0) for one in files}

    def read(self, *parts: str, limit: int) -> bytes:
        """A small file. Raises `StorageError` for one that is larger than `limit`."""
        with self.opened(*parts) as stream:
            data: bytes = stream.read(limit + 1)
        if len(data) > limit:
            raise StorageError(
                f"'{parts[-1]}' of {self.told} is larger than {limit} bytes, so transfuse did not make it."
            )
        return data

    @contextlib.contextmanager
    def opened(self, *parts: str) -> Iterator[IO[bytes]]:
        """A file, to be read in pieces."""
        with self.explained(), self.system.open(self.at(*parts), "rb") as stream:
            yield stream

    def digest(self, *parts: str) -> str:
        """SHA-256 of what lies there now, in constant memory."""
        total = hashlib.sha256()
        with self.opened(*parts) as stream:
            while block := stream.read(CHUNK):
                total.update(block)
        return total.hexdigest()

    def send(self, path: Path, *parts: str) -> None:
        """Copy a file there."""
        if self.is_disk:
            with atomic.writing_file(Path(self.at(*parts))) as part, path.open("rb") as source, part.open("wb") as out:
                while block := source.read(CHUNK):
                    out.write(block)
            return
        with self.explained():
            self._make_folder(*parts[:-1])
            self.system.put_file(str(path), self.at(*parts))

    def write(self, data: bytes, *parts: str) -> None:
        """Write a small file there."""
        if self.is_disk:
            return atomic.write_bytes(Path(self.at(*parts)), data)
        with self.explained():
            self._make_folder(*parts[:-1])
            self.system.pipe_file(self.at(*parts), data)

    def _make_folder(self, *parts: str) -> None:
        if self.protocol not in _WITHOUT_FOLDERS:
            self.system.makedirs(self.at(*parts), exist_ok=True)

    def remove(self, *parts: str) -> None:
        """Remove a file; one that is gone already is no error."""
        with self.explained(), contextlib.suppress(FileNotFoundError):
            self.system.rm_file(self.at(*parts))

    def is_older(self, age: timedelta, *parts: str) -> bool:
        """Whether a file was written longer ago than that; no where the place does not say."""
        with contextlib.suppress(Exception):  # drivers that know no times raise anything
            when: datetime = self.system.modified(self.at(*parts))
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            return datetime.now(UTC) - when > age
        return False

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn whatever a driver raises into one error that says what to do."""
        try:
            yield
        except TransfuseError:
            raise
        except Exception as error:
            raise self._in_words(error) from None  # the driver's text may hold secrets

    def _in_words(self, error: Exception) -> TransfuseError:
        kind = type(error).__name__
        if isinstance(error, ImportError):
            return MissingExtra(f"{self.told} cannot be reached: {_missing(self.protocol)}.")
        if isinstance(error, FileNotFoundError):
            return StorageError(f"{self.told} lacks a file that should be there. Look at the address, or back up anew.")
        if isinstance(error, PermissionError) or _REFUSED.search(f"{kind} {error}"):
            how = _HOW.get(self.protocol, "look at what its driver wants to know")
            return StorageError(f"{self.told} refused access ({kind}): {how}, or ask who owns it. Nothing was removed.")
        return StorageError(
            f"{self.told} could not be used ({kind}). Look at the address and the connection, and run it again: what is"
            " there already is not sent twice."
        )


def place_of(url: str | Path) -> Place:
    """The place of a URL or a path. Raises `UsageError` for one that nobody knows, `MissingExtra` without driver."""
    import fsspec
    from fsspec.registry import known_implementations

    text = str(url)
    protocol = text.split("://", 1)[0] if "://" in text else "file"
    told = re.sub(r"//[^/]*@", "//…@", text).partition("?")[0]
    if protocol not in known_implementations and protocol not in fsspec.registry:
        raise UsageError(f"A place must be a path or a URL such as s3://, hf:// or ssh://, but is '{told}'.")
    try:
        system, root = fsspec.core.url_to_fs(text)
    except ImportError:
        raise MissingExtra(f"{told} cannot be reached: {_missing(protocol)}.") from None
    except Exception as error:
        raise Place(system=None, root="", told=told, protocol=protocol)._in_words(error) from None
    return Place(system=system, root=str(root), told=told, protocol=protocol)


def _missing(protocol: str) -> str:
    """Which package reaches such places, as fsspec knows it."""
    from fsspec.registry import known_implementations

    package = str(known_implementations.get(protocol, {}).get("class", "")).partition(".")[0]
    named = package if package and package != "fsspec" else {"ssh": "paramiko", "sftp": "paramiko"}.get(protocol, "")
    return f"it needs `pip install {named}`" if named else f"the driver of {protocol}:// is not installed"
