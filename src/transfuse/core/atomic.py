"""The one way in which transfuse writes: beside the target, synced, then moved into place.

A reader sees the old artefact or the new one, never a half. A killed writer leaves a hidden temporary
name (`.NAME.RANDOM.part`) that no reader opens and that the next writer of the same name removes.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from transfuse.core.errors import StorageError

_ABANDONED_AFTER = 24 * 3600  # seconds; a younger leftover may belong to a writer that is alive


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without an error it becomes `path`."""
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        os.chmod(name, 0o666 & ~_umask())
        temporary = Path(name)
        try:
            yield temporary
            _sync(temporary)
            os.replace(temporary, path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends without an error it replaces the folder `path`.

    An existing folder steps aside and is removed after the new one is in place.
    """
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        os.chmod(temporary, 0o777 & ~_umask())
        try:
            yield temporary
            for item in sorted(temporary.rglob("*"), reverse=True):
                _sync(item)
            _sync(temporary)
            _replace_folder(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with writing_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def _replace_folder(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    os.rename(path, aside / "old")
    try:
        os.rename(temporary, path)
    except BaseException:
        os.rename(aside / "old", path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one error that says what to do; nothing was replaced."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space or choose another folder",
            errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
            errno.EACCES: "there is no permission to write there",
            errno.EROFS: "the file system is read-only",
            errno.ENOTDIR: "a part of that path is a file, not a folder",
        }
        if error.errno not in reasons:
            raise
        raise StorageError(f"'{path}' was not written: {reasons[error.errno]}. What was there before is unchanged.") from error
