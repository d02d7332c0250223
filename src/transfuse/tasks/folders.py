"""Class folders: `photos/cat/1.jpg`, `mails/spam/1.txt`, `words/yes/1.wav`; with or without train/valid/test above."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.listing import SPLIT_NAMES, Listing, in_order, natural


def list_folder(
    folder: Path,
    *,
    group: str | Mapping[str, str] | None = None,
    suffixes: frozenset[str] | set[str] = SUFFIXES,
    noun: str = "pictures",
) -> Listing:
    """Every file with one of the suffixes below the class folders; `noun` is what these files are.

    `group`: a regular expression on the path, or {path: group}.
    """
    splits, others = _split_folders(folder)
    roots = splits or {folder: None}
    found: list[tuple[Path, str, str | None]] = []
    strangers, empty, loose = [], [], [*others]
    for root, split in roots.items():
        for child in _children(root):
            if not child.is_dir():
                loose.append(child)
                continue
            pictures, rest = _pictures(child, suffixes)
            strangers += rest
            if not pictures:
                empty.append(child)
            found += [(path, child.name, split) for path in pictures]
    if not found:
        raise DataError(_nothing_found(folder, loose, suffixes, noun))
    names = [str(path) for path, _, _ in found]
    return Listing(
        layout="class folders" + (f" with {', '.join(in_order(root.name for root in splits))}" if splits else ""),
        items=[path for path, _, _ in found],
        names=names,
        labels=[label for _, label, _ in found],
        splits=[split or "train" for _, _, split in found] if splits else None,
        groups=None if group is None else _groups([path.relative_to(folder).as_posix() for path, _, _ in found], group),
        kind="single-label",
        warnings=tuple(_warnings(strangers, empty, loose, bool(splits), suffixes, noun.removesuffix("s"))),
    )


def _split_folders(folder: Path) -> tuple[dict[Path, str | None], list[Path]]:
    """Folders that are splits, and what lies beside them. A folder `train` that holds pictures is a class."""
    children = _children(folder)
    folders = [child for child in children if child.is_dir()]
    splits: dict[Path, str | None] = {
        child: SPLIT_NAMES[child.name.lower()]
        for child in folders
        if child.name.lower() in SPLIT_NAMES and any(inner.is_dir() for inner in child.iterdir())
    }
    if not splits or ("train" not in splits.values() and len(splits) < len(folders)):
        return {}, []
    return splits, [child for child in children if child not in splits]


def _children(folder: Path) -> list[Path]:
    return sorted(
        (path for path in folder.iterdir() if not _hidden(path)), key=lambda path: (natural(path.name), path.name)
    )


def _hidden(path: Path) -> bool:
    return path.name.startswith((".", "__MACOSX")) or path.name.lower() in ("thumbs.db", "desktop.ini")


def _pictures(folder: Path, suffixes: frozenset[str] | set[str]) -> tuple[list[Path], list[Path]]:
    pictures: list[Path] = []
    rest: list[Path] = []
    for path in _files(folder):
        (pictures if path.suffix.lower() in suffixes else rest).append(path)
    return pictures, rest


def _files(folder: Path) -> Iterator[Path]:
    for child in _children(folder):
        if child.is_dir():
            yield from _files(child)
        else:
            yield child


def _groups(paths: list[str], group: str | Mapping[str, str]) -> list[str | None]:
    if isinstance(group, Mapping):
        return [group.get(path) for path in paths]
    try:
        pattern = re.compile(group)
    except re.error as problem:
        raise UsageError(
            f"`group` must be a regular expression for a folder, but '{group}' is none: {problem}."
        ) from None
    matches = [pattern.search(path) for path in paths]
    if not any(matches):
        raise UsageError(
            f"`group` must match paths such as '{paths[0]}', but '{group}' matches none. "
            r"Write for example --group '(patient_\d+)'; what the brackets hold is the group."
        )
    return [match.group(match.re.groups and 1) if match else None for match in matches]


def _warnings(
    strangers: list[Path],
    empty: list[Path],
    loose: list[Path],
    split: bool,
    suffixes: frozenset[str] | set[str],
    noun: str,
) -> Iterator[DataWarning]:
    if empty:
        yield DataWarning(
            code="empty-class",
            message=f"{len(empty)} class folder(s) hold no {noun} and are left out.",
            places=tuple(map(str, empty)),
        )
    if strangers:
        yield DataWarning(
            code=f"not-a-{noun}",
            message=f"{len(strangers)} file(s) in class folders are not {noun}s by their names and are left out.",
            places=tuple(map(str, strangers)),
        )
    pictures = [path for path in loose if path.suffix.lower() in suffixes or path.is_dir()]
    if pictures:
        beside = "beside the splits" if split else "outside any class folder"
        yield DataWarning(
            code="outside-classes",
            message=f"{len(pictures)} {noun}(s) or folder(s) lie {beside}, have no label and are left out.",
            places=tuple(map(str, pictures)),
        )
    rest = [path for path in loose if path not in pictures]
    if rest:
        yield DataWarning(
            code="other-files",
            message=f"{len(rest)} other file(s) beside the class folders are not read.",
            places=tuple(map(str, rest)),
            severity="note",
        )


def _nothing_found(folder: Path, loose: list[Path], suffixes: frozenset[str] | set[str], noun: str) -> str:
    pictures = sum(path.suffix.lower() in suffixes for path in loose)
    tables = [path.name for path in loose if path.suffix.lower() in (".csv", ".jsonl", ".parquet", ".json", ".npz")]
    if tables:
        found = f"a table. Did you mean '{folder / tables[0]}'?"
        return f"'{folder}' must hold one folder of {noun} for each class, but holds {found}"
    found = f"{pictures} {noun} without class folders" if pictures else f"no {noun}"
    example = {"pictures": "cat/1.jpg", "sounds": "yes/1.wav"}.get(noun, "spam/1.txt")
    return (
        f"'{folder}' must hold one folder of {noun} for each class, such as '{folder}/{example}', but has {found}. "
        f"Sort the {noun} into folders named like the classes, or give a table of {noun} and labels."
    )
