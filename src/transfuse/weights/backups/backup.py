"""`backup` and `restore`: verified copies of saved Models, checkpoints and runs, at any place that fsspec reaches.

Contents are sent first, each read back and compared with its SHA-256, and the list that makes them a version is written
last: a backup that was killed is none, and the same command goes on with what is there. Restoring compares every byte
on the way back and replaces the folder only when all of them are right.
"""

import hashlib
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from transfuse.core import atomic, digests, sums
from transfuse.core.errors import ModelError, StorageError, UsageError
from transfuse.core.nouns import Report
from transfuse.core.runs import Run
from transfuse.weights.backups.places import CHUNK, Place, place_of
from transfuse.weights.backups.versions import (
    FILES,
    VERSIONS,
    Copy,
    Version,
    as_rows,
    files_below,
    lacking,
    versions_at,
    written,
)

_ABANDONED = timedelta(days=1)
_TRIES = 3
_COLUMNS = ("version", "name", "files", "MB", "whole")
Stamps = dict[str, tuple[int, int, int]]


def backup(
    path: str | Path, url: str | Path, *, keep: int | None = None, quick: bool = False, run: Run = Run()
) -> Report:
    """Copy a saved Model, a checkpoint or a run's folder to a place, and read it back.

    Args:
        path: A folder, or one file.
        url: Of the place, which holds the versions of one folder: `s3://bucket/birds`, `hf://datasets/me/birds`.
        keep: Versions that are kept there; older ones are removed once the new one is verified. None: all.
        quick: Believe the length of what is there instead of reading it back.
        run: Watcher.

    Raises:
        UsageError, StorageError, MissingExtra: The path or the place cannot be used.
        ModelError: The folder is not what was saved, so its copy would be worth nothing.
    """
    path, place = Path(path), place_of(url)
    _require_sound(path, keep)
    before, _ = versions_at(place)
    _require_own(path, before, place)
    for _ in range(_TRIES):
        stamps = _stamps(path)
        made = _state(path, before)
        sent = _sent(path, made, place, quick, run)
        if stamps == _stamps(path):
            break
    else:
        raise StorageError(f"'{path}' was changed {_TRIES} times while it was copied. Back it up when it rests.")
    if all(version.id != made.id for version in before):
        place.write(written(made), VERSIONS, f"{made.id}.json")
        before = [*before, made]
    _require_there(made, place)
    removed = _removed(before, made, keep, place) if keep else []
    told = [f"{made.id}: {len(made.files)} files, {made.bytes / 1e6:.3f} MB at {place.told}; {sent} of them sent."]
    told += ["Every byte was read back and is right." if not quick else "The lengths are right; nothing was read back."]
    told += [f"Removed: {', '.join(removed)}."] if removed else []
    return _report(f"Backup of {made.name}", place, told)


def restore(
    url: str | Path,
    folder: str | Path | None = None,
    *,
    version: str | None = None,
    replace: bool = False,
    run: Run = Run(),
) -> Report:
    """Bring back the newest whole version at a place, or the one that is named, as a folder.

    Args:
        url: As it was given to `backup`.
        folder: Where to; by default the name it had, here.
        version: Its id, or the beginning of it.
        replace: Replace a folder that is there.
        run: Watcher.

    Raises:
        UsageError, StorageError, MissingExtra: There is no such version, or the folder cannot be written.
        StorageError: A file is not what was backed up; it is named, and nothing was replaced.
    """
    place = place_of(url)
    found, wrong = versions_at(place)
    taken, notes = _chosen(found, wrong, version, place)
    target = Path(folder) if folder is not None else Path(taken.name)
    here = Path.cwd()
    if target.resolve() in (here, *here.parents) and any(target.iterdir()):
        raise UsageError(f"`folder` must not be the folder you are in, but is '{target}'. Choose another.")
    if target.exists() and not replace and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"'{target}' must be new, but exists. Choose another, or replace it (--replace).")
    atomic.require_writable(target)
    free = shutil.disk_usage(target.resolve().parent).free
    if free < taken.bytes:
        raise StorageError(f"{taken.bytes / 1e9:.1f} GB are needed, but '{target}' has {free / 1e9:.1f} GB left.")
    with atomic.writing_folder(target) as part:
        done = 0
        for name, copy in taken.files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            _fetched(place, copy, part / name, f"'{name}' of {taken.id}")
            done += copy.bytes
            run.watch({"stage": "restoring", "done": done >> 10, "total": taken.bytes >> 10, "text": f"kB; {name}"})
    told = f"{taken.id} as '{target}': {len(taken.files)} files, {taken.bytes / 1e6:.3f} MB, every byte compared."
    return _report(f"Restored {taken.name}", place, [told, *notes])


def backups(url: str | Path) -> Report:
    """The versions at a place."""
    place = place_of(url)
    found, wrong = versions_at(place)
    return Report(
        title=f"Backups at {place.told}",
        columns=_COLUMNS,
        rows=tuple(as_rows(found, wrong, place)),
        summary=() if found or wrong else ("There are none.",),
    )


def _require_sound(path: Path, keep: int | None) -> None:
    if keep is not None and keep < 1:
        raise UsageError(f"`keep` must be at least 1, but is {keep}.")
    if not path.exists():
        raise UsageError(f"A backup must be of a folder or a file, but '{path}' does not exist.")
    if not files_below(path):
        raise UsageError(f"A backup must be of files, but '{path}' has none.")
    changed = [line for line in sums.changes(path) if line.endswith(" differs")] if path.is_dir() else []
    if changed:
        raise ModelError(f"'{path}' is not what was saved ({'; '.join(changed[:3])}), so it was not backed up.")


def _require_own(path: Path, found: list[Version], place: Place) -> None:
    if place.is_disk and path.resolve() in (Path(place.root).resolve(), *Path(place.root).resolve().parents):
        raise UsageError(f"A backup must lie outside of what it copies, but {place.told} lies in '{path}'.")
    name = _name(path)
    other = next((version.name for version in found if version.name != name), None)
    if other is not None:
        raise UsageError(f"{place.told} holds backups of '{other}'. Give '{name}' a place of its own.")


def _name(path: Path) -> str:
    return path.resolve().name.lstrip(".") or "folder"


def _stamps(path: Path) -> Stamps:
    """What tells that a file was replaced or changed meanwhile."""
    found = {name: file.stat() for name, file in files_below(path).items()}
    return {name: (status.st_ino, status.st_mtime_ns, status.st_size) for name, status in found.items()}


def _state(path: Path, before: list[Version]) -> Version:
    """The version that the folder is now; the last one when that is the same."""
    files = {
        name: Copy(sha256=digests.of_file(file), bytes=file.stat().st_size) for name, file in files_below(path).items()
    }
    digest = digests.of_value({name: copy.sha256 for name, copy in files.items()})
    if before and before[-1].digest == digest and before[-1].files == files:
        return before[-1]
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    if before and now <= before[-1].id[: len(now)]:  # the clock went back
        last = datetime.strptime(before[-1].id[: len(now)], "%Y%m%dT%H%M%S%fZ")
        now = f"{last + timedelta(microseconds=1):%Y%m%dT%H%M%S%fZ}"
    return Version(id=f"{now}-{digest[:12]}", name=_name(path), files=files, digest=digest)


def _sent(path: Path, made: Version, place: Place, quick: bool, run: Run) -> int:
    """Send what is not there in every byte, and read back what was sent; how many files."""
    there, local = place.names(FILES), files_below(path)
    sent, done = set(), 0
    seen: set[str] = set()
    for name, copy in made.files.items():
        if copy.sha256 not in seen and not (there.get(copy.sha256) == copy.bytes and _is_right(place, copy, quick)):
            place.send(local[name], FILES, copy.sha256)
            if not quick and not _is_right(place, copy, quick) and _of_local(local[name]) == copy.sha256:
                raise StorageError(f"'{name}' came back from {place.told} with other bytes. Look at that place.")
            sent.add(copy.sha256)
        seen.add(copy.sha256)
        done += copy.bytes
        run.watch({"stage": "backup", "done": done >> 10, "total": made.bytes >> 10, "text": f"kB; {name}"})
    return sum(copy.sha256 in sent for copy in made.files.values())


def _is_right(place: Place, copy: Copy, quick: bool) -> bool:
    return quick or place.digest(FILES, copy.sha256) == copy.sha256


def _of_local(file: Path) -> str:
    return digests.of_file(file) if file.exists() else ""


def _require_there(made: Version, place: Place) -> None:
    lost = lacking(place, made, place.names(FILES))
    if lost:  # another backup's --keep may have removed them
        raise StorageError(f"'{lost[0]}' went from {place.told} meanwhile. Run it again: the rest is not sent twice.")


def _removed(found: list[Version], made: Version, keep: int, place: Place) -> list[str]:
    """Remove the oldest versions, then contents that no version holds; the new one, just verified, always stays."""
    old = [version for version in found[: max(0, len(found) - keep)] if version.id != made.id]
    for version in old:
        place.remove(VERSIONS, f"{version.id}.json")
    left, _ = versions_at(place)
    held = {copy.sha256 for version in (*left, made) for copy in version.files.values()}
    mine = {copy.sha256 for version in old for copy in version.files.values()}
    for name in place.names(FILES):
        if name not in held and (name in mine or place.is_older(_ABANDONED, FILES, name)):
            place.remove(FILES, name)
    return [version.id for version in old]


def _chosen(
    found: list[Version], wrong: Mapping[str, str], wanted: str | None, place: Place
) -> tuple[Version, list[str]]:
    """The version to restore, and what is to be said about newer ones."""
    if wanted is not None:
        named = [version for version in found if version.id.startswith(wanted)]
        if len(named) == 1:
            return named[0], []
        why = next((f": {text}" for name, text in wrong.items() if name.startswith(wanted)), "")
        known = ", ".join(version.id for version in found[-5:]) or "none"
        raise UsageError(f"`version` must name one version at {place.told}, but is '{wanted}'{why}. Known: {known}.")
    there, notes = place.names(FILES), [f"{name} was passed over: {why}." for name, why in wrong.items()]
    for version in reversed(found):
        lost = lacking(place, version, there)
        if not lost:
            return version, notes
        notes.append(f"{version.id} was passed over: {', '.join(lost[:3])} is not there.")
    raise StorageError(f"{place.told} must hold a whole backup, but has none. {' '.join(notes)}".rstrip())


def _fetched(place: Place, copy: Copy, path: Path, what: str) -> None:
    """One file into the folder that is being written. Raises `StorageError` when a byte of it is wrong."""
    total, count = hashlib.sha256(), 0
    with place.opened(FILES, copy.sha256) as source, path.open("wb") as out:
        while count <= copy.bytes and (block := source.read(min(CHUNK, copy.bytes + 1 - count))):
            out.write(block)
            total.update(block)
            count += len(block)
    if count != copy.bytes or total.hexdigest() != copy.sha256:
        raise StorageError(
            f"{what} at {place.told} is not what was backed up: its digest differs. Nothing was restored; choose an"
            " older version (--version, see --list), or back up again."
        )


def _report(title: str, place: Place, told: list[str]) -> Report:
    found, wrong = versions_at(place)
    rows: list[dict[str, Any]] = as_rows(found, wrong, place)
    return Report(title=title, columns=_COLUMNS, rows=tuple(rows), summary=tuple(told))
