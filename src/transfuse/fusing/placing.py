"""Where a result goes: never onto a parent, never beside another run, never where there is no room."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from transfuse.core import atomic
from transfuse.core.errors import StorageError, UsageError
from transfuse.fusing import record
from transfuse.fusing.checkpoints import DOCUMENT


def require_free(folder: Path, parents: Iterable[Path], needed: int, replace: bool) -> None:
    """Raise before work of which the result could not be written, or would destroy a parent; `needed` in bytes."""
    target = folder.resolve()
    for path in parents:
        parent = path.resolve()
        if target == parent or target in parent.parents or parent in target.parents:
            raise UsageError(f"`out` must be another folder than its parents, but is '{folder}'. Choose a new one.")
    require_new(folder, replace)
    atomic.require_writable(folder)
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StorageError(
            f"The result takes {needed / 1e9:.1f} GB, but '{target.parent}' has {free / 1e9:.1f} GB left."
            " Free some space or choose another disk."
        )


def require_new(folder: Path, replace: bool) -> None:
    """Raise `UsageError` for a folder that holds something, but an older result of ours that may be replaced."""
    ours = (folder / record.RECORD).is_file() or (folder / DOCUMENT).is_file()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (replace and ours):
        raise UsageError(f"'{folder}' must be new, but exists. Choose another, or replace an older result (--replace).")


def workplace(folder: Path) -> Path:
    """The hidden folder beside a result in which it is made, and which a killed run leaves for the next."""
    target = folder.resolve()
    return target.parent / f".{target.name}.fusing"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one run writes into a folder."""
    lock = FileLock(f"{workplace(folder)}.lock")
    with atomic.explained(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(f"Another run is writing '{folder}'. Wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
