"""The memory of a search: a journal in a folder, which `kill -9` at any moment leaves usable.

Optuna's journal (one line of JSON an event, synced to the disk) with four repairs:
- Locks are the kernel's (`flock`), which it releases when their holder dies. Optuna's own lock is a file: left behind
  by a killed process it holds up the next one for 30 seconds.
- A line that was half written (a kill, a full disk) is cut off before anything is appended; Optuna would write behind
  it and never be able to read the journal again.
- Each line carries its digest: a changed bit is noticed, not taken for a result.
- Each trial is locked by who runs it. A trial that is neither finished nor locked was abandoned, so the next process
  takes it up under its own number. Optuna leaves it running for ever.

Several processes may share a folder. The journal is the one file that is not written through `core/atomic.py`: it only
ever grows.
"""

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalStorage

from transfuse.core import atomic
from transfuse.core.documents import is_sealed, sealed
from transfuse.core.errors import StorageError

_JOURNAL = "journal.jsonl"


def open_study(folder: Path | None, name: str, attributes: dict[str, Any]) -> optuna.Study:
    """The study of that name, new or as it was left; in memory without a folder.

    Raises `StorageError` when the folder cannot be written or holds a journal that is broken.
    """
    storage = _storage(folder) if folder else optuna.storages.InMemoryStorage()
    with _quiet(), locked(folder, "asking"):
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.NopPruner(),
        )
        if not study.user_attrs:
            for key, value in attributes.items():
                study.set_user_attr(key, value)
    return study


@contextlib.contextmanager
def locked(folder: Path | None, name: str) -> Iterator[None]:
    """Hold a lock of the folder; wait for it."""
    if folder is None:
        yield
        return
    with FileLock(_lock_path(folder, name)):
        yield


def try_lock(folder: Path | None, name: str) -> contextlib.ExitStack | None:
    """What releases the lock when closed, or None when somebody else holds it."""
    stack = contextlib.ExitStack()
    if folder is not None:
        try:
            stack.enter_context(FileLock(_lock_path(folder, name)).acquire(blocking=False))
        except Timeout:
            return None
    return stack


def _storage(folder: Path) -> JournalStorage:
    folder = Path(folder).resolve()
    path = folder / _JOURNAL
    atomic.require_writable(path)
    lock = FileLock(_lock_path(folder, "journal"))
    with lock:
        _cut_half_line(path)
    try:
        # a FileLock has what the journal asks of a lock, acquire() and release(), but not the base class
        return JournalStorage(_Sealed(str(path), lock_obj=lock))  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise StorageError(
            f"'{path}' must be the journal of a search, but cannot be read ({error}): move it away to search anew."
        ) from error


class _Sealed(JournalFileBackend):
    """Optuna's file of events, each with the digest of what it says."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add events."""
        super().append_logs([sealed(log) for log in logs])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any]]:
        """Events from a number on. Raises `StorageError` for one that was changed."""
        number = log_number_from
        try:
            for log in super().read_logs(log_number_from):
                if not is_sealed(log):
                    raise ValueError("it was changed since it was written")
                yield log
                number += 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StorageError(
                f"'{self._file_path}' must be the journal of a search, but event {number + 1} is broken ({error}):"
                " move it away to search anew."
            ) from error


def _lock_path(folder: Path, name: str) -> str:
    place = Path(folder).resolve() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    return str(place / f"{name}.lock")


def _cut_half_line(path: Path) -> None:
    """Drop what stands behind the last complete line."""
    if not path.exists():
        return
    with path.open("r+b") as stream:
        end = size = stream.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 4096)
            stream.seek(start)
            line_end = stream.read(end - start).rfind(b"\n")
            if line_end >= 0:
                end = start + line_end + 1
                break
            end = start
        if end < size:
            stream.truncate(end)
            os.fsync(stream.fileno())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's notes that a study was made or found."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
