"""The one way in which transfuse writes: beside the target, synced, then moved into place.

A reader sees the old artefact or the new one, never a half. What is being written lies in a hidden folder
(`.NAME.RANDOM.part`) that no reader opens, together with whatever a library leaves beside it. The writer holds the
kernel's lock (`flock`) on that folder, which ends with the process however it ends. So the next writer of the name
knows a dead writer's stray, which it removes at once, from a living one's, which it leaves alone; where a file system
has no such locks (some network disks), a stray goes when it is a day old.
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
from typing import TypeVar

from transfuse.core.errors import StorageError, TransfuseError

_ABANDONED_AFTER = 24 * 3600  # seconds; where there are no locks, a younger leftover may belong to a living writer
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux' renameat2
_READINGS = 20  # times that a folder is read because another took its place meanwhile
_OLD = "old"  # in a stray: what a writer had to set aside because folders could not change places


Read = TypeVar("Read")


@contextlib.contextmanager
def writing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without an error it becomes `path`.

    A link is followed, so that what it points to is replaced. Raises `StorageError`.
    """
    with explained(path):
        path = Path(path).resolve()
        with _workplace(path) as place:
            temporary = place / path.name
            temporary.touch()
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # a library that replaces the file may have closed it to others
            _sync(temporary)
            temporary.replace(path)
            _settle(path)


@contextlib.contextmanager
def writing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends without an error it replaces the folder `path`, whole.

    A link is followed, so that what it points to is replaced. Raises `StorageError`.
    """
    with explained(path):
        path = Path(path).resolve()
        with _workplace(path) as place:
            temporary = place / path.name
            temporary.mkdir()
            yield temporary
            _put(temporary, path)


def put_folder(part: Path, path: Path) -> None:
    """Make a finished folder the folder `path`, whole, as `writing_folder` does with its own: for work that resumes.

    `part` must lie on the same disk. Raises `StorageError`.
    """
    with explained(path):
        _put(part, Path(path).resolve())


@contextlib.contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` for as long as the block takes; what a killed process left goes at the next."""
    with explained(path), _workplace(Path(path).resolve()) as place:
        yield place


def steady(folder: Path, read: Callable[[], Read]) -> Read:
    """What `read` makes of a folder's files, read again when a writer put another folder in its place meanwhile."""
    for _ in range(_READINGS):
        before = _version(folder)
        try:
            found = read()
        except (TransfuseError, OSError):
            if before is None or before == _version(folder):
                raise
            continue
        if before == _version(folder):
            return found
    raise StorageError(f"'{folder}' is replaced again and again while it is read. Stop its writer, or copy it.")


def _version(folder: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        status = folder.stat()
        return status.st_ino, status.st_ctime_ns
    return None


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left beside it; for work that ends without writing `path` again."""
    _sweep(Path(path).resolve())


def sweep_all(folder: Path) -> int:
    """Remove what killed writers of any name left in a folder that is transfuse's own; the bytes that became free."""
    return sum(_removed(leftover) for leftover in Path(folder).glob(".*.part"))


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


def _put(part: Path, path: Path) -> None:
    for item in sorted(part.rglob("*"), reverse=True):
        _sync(item)
    _sync(part)
    _replace_folder(part, path)
    _settle(path)


def _replace_folder(temporary: Path, path: Path) -> None:
    """Put the new folder in place. Where folders cannot change places at once, the old one steps aside first.

    A writer that is killed just then leaves no folder of that name; the next one finds the old one and puts it back.
    """
    if not path.exists():
        temporary.rename(path)
    elif not _exchanged(temporary, path):
        with _workplace(path) as aside:
            path.rename(aside / _OLD)
            try:
                temporary.rename(path)
            except BaseException:
                (aside / _OLD).rename(path)
                raise


@contextlib.contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path`, locked as long as its writer lives, and gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    while True:
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        handle = _opened(place)
        if handle is not None and (_locked(handle, wait=True) is None or _is(place, handle)):
            break
        if handle is not None:
            os.close(handle)  # another writer swept it between its making and its lock
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _locked(handle: int, *, wait: bool) -> bool | None:
    """Take the lock of an open folder, which ends when its holder does; False when it is held, None without locks."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (OSError, ImportError):
        return None
    return True


def _opened(place: Path) -> int | None:
    """The open folder; None when it is gone."""
    try:
        return os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        return None


def _is(place: Path, handle: int) -> bool:
    """Whether the path still is the folder that is open."""
    with contextlib.suppress(OSError):
        return os.path.samestat(place.stat(), os.fstat(handle))
    return False


def _exchanged(a: Path, b: Path) -> bool:
    """Let two names change places in one step, which leaves no moment without either; False where that is unknown."""
    rename = _renameat2()
    return rename is not None and rename(_HERE, os.fsencode(a), _HERE, os.fsencode(b), _EXCHANGE) == 0


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None


def _settle(path: Path) -> None:
    """Make the new name last; it is in its place already, which an error here must not deny."""
    try:
        _sync(path.parent)
    except OSError as error:
        raise StorageError(
            f"'{path}' is in its place, whole, but the disk did not confirm it ({error.strerror}). Look whether"
            " the disk is failing, and write it again."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        _removed(leftover, path)


def _removed(leftover: Path, path: Path | None = None) -> int:
    """Remove what a writer left unless it may be alive; what it had set aside of `path` is put back where none is."""
    with contextlib.suppress(OSError):
        size = sum(item.lstat().st_size for item in (leftover, *leftover.rglob("*")) if not item.is_dir())
        old = time.time() - leftover.stat().st_mtime > _ABANDONED_AFTER
        if not leftover.is_dir():  # as earlier versions wrote, without a lock
            if not old:
                return 0
            leftover.unlink()
            return size
        handle = os.open(leftover, os.O_RDONLY)
        try:
            dead = _locked(handle, wait=False)
            if not (old if dead is None else dead):
                return 0
            if path is not None and (leftover / _OLD).is_dir() and not path.exists():
                (leftover / _OLD).rename(path)
            shutil.rmtree(leftover)
            return size
        finally:
            os.close(handle)
    return 0


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
            errno.EIO: "the disk reported an error; look whether it is failing, or choose another folder",
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
