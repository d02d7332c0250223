"""The one way in which transfuse writes: beside the target, synced, then moved into place.

A reader sees the old artefact or the new one, never a half. A killed writer leaves a hidden temporary
name (`.NAME.RANDOM.part`) that no reader opens and that a later writer of the same name removes once it is a day old.
"""

import contextlib
import ctypes
import errno
import functools
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from transfuse.core.errors import StorageError

_ABANDONED_AFTER = 24 * 3600  # seconds; a younger leftover may belong to a writer that is alive
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux' renameat2


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without an error it becomes `path`.

    A link is followed, so that what it points to is replaced. Raises `StorageError`.
    """
    with explained(path):
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends without an error it replaces the folder `path`, whole.

    A link is followed, so that what it points to is replaced. Raises `StorageError`.
    """
    with explained(path):
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        temporary.chmod(0o777 & ~_umask())
        try:
            yield temporary
            for item in sorted(temporary.rglob("*"), reverse=True):
                _sync(item)
            _sync(temporary)
            _replace_folder(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def put_folder(part: Path, path: Path) -> None:
    """Make a finished folder the folder `path`, whole, as `writing_folder` does with its own: for work that resumes.

    `part` must lie on the same disk. Raises `StorageError`.
    """
    with explained(path):
        path = Path(path).resolve()
        for item in sorted(part.rglob("*"), reverse=True):
            _sync(item)
        _sync(part)
        _replace_folder(part, path)
        _sync(path.parent)


def require_writable(path: Path) -> None:
    """Raise `StorageError` now when `path` cannot be written: asked before work of which the result would be lost."""
    with explained(path):
        path = Path(path).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes atomically."""
    with writing_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; what a file's name holds beside text is written as an escape that JSON reads."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def _replace_folder(temporary: Path, path: Path) -> None:
    """Put the new folder in place. Where folders cannot change places at once, the old one steps aside first."""
    if not path.exists():
        temporary.rename(path)
    elif not _exchanged(temporary, path):
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        path.rename(aside / "old")
        try:
            temporary.rename(path)
        except BaseException:
            (aside / "old").rename(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchanged(a: Path, b: Path) -> bool:
    """Let two names change places in one step, which leaves no moment without either; False where that is unknown."""
    rename = _renameat2()
    return rename is not None and rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into one error that says what to do; nothing was replaced."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space or choose another folder",
            errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
            errno.EFBIG: "it is larger than a file may be there; choose another folder",
            errno.EACCES: "there is no permission to write there",
            errno.EROFS: "the file system is read-only",
            errno.EPERM: "writing there is not allowed",
            errno.ENOTDIR: "a part of that path is a file, not a folder",
            errno.EEXIST: "a part of that path is a file, not a folder",
            errno.EISDIR: "there is a folder of that name",
            errno.ENAMETOOLONG: "the name is too long",
        }
        folder, missing = Path(path).resolve().parent, Path(str(error.filename))
        if missing.parent == folder or missing in (folder, *folder.parents):  # not a file that the writer reads
            reasons[errno.ENOENT] = "that folder cannot be made, or it was removed meanwhile"
        if error.errno not in reasons:
            raise
        raise StorageError(
            f"'{path}' was not written: {reasons[error.errno]}. What was there before is unchanged."
        ) from error
