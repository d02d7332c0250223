"""What a single input may ask of this machine: looked at in file sizes and headers, before anything is decoded.

A few hundred bytes can promise a picture of 10^9 pixels or a table of 10^9 rows (a decompression bomb), and a link to
/dev/zero never ends. Training data are their owner's; inputs at prediction time may be a stranger's, so `predict` asks
here first and refuses the one input with a reason, while the others are answered.
"""

import dataclasses
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError, UsageError
from transfuse.core.tables import chosen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that one input may have. Each is a number above 0."""

    bytes: int = 1 << 28
    """Of a file, as it lies on the disk (256 MiB)."""
    pixels: int = 89_478_485
    """Width times height of a picture (Pillow's own limit; Pillow refuses twice as many whatever is said here)."""
    frames: int = 1_000
    """Of an animated picture, of which the first one is looked at."""
    seconds: float = 3_600.0
    """Of a sound."""
    characters: int = 1_000_000
    """Of a text, and of a cell of a table."""
    rows: int = 1_000_000
    """Of a table in one file."""
    columns: int = 10_000
    """Of a table."""
    depth: int = 32
    """Lists and objects inside each other, in JSON and in the cells of a row."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UsageError(f"`{name}` must be above 0, but is {value}.")


def limits_from(texts: Iterable[str]) -> Limits:
    """Of `NAME=NUMBER` texts, such as `pixels=2e8`. Raises `UsageError`, `UnknownName`."""
    kinds = {name: type(value) for name, value in dataclasses.asdict(Limits()).items()}
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = kinds[chosen("limit", name, kinds)](float(value))
        except (ValueError, OverflowError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"A limit must be given as NAME=NUMBER, such as pixels=2e8, but is '{text}'.") from None
    return Limits(**found)


def require_file(path: str | Path, limits: Limits) -> None:
    """Raise `DataError` for what is no ordinary file (a device, a pipe: they may never end), or is too large a one."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError) as problem:
        why = "there is no such file" if isinstance(problem, FileNotFoundError) else _reason(problem)
        raise DataError(f"{_short(path)} cannot be read: {why}.") from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path} must be an ordinary file, but is {_kind(found.st_mode)}, which is never read.")
    if found.st_size > limits.bytes:
        raise DataError(too_much(str(path), "bytes", found.st_size, limits.bytes))


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder; never an error, however strange the name is."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def too_much(name: str, what: str, found: float | str, most: float) -> str:
    """The reason for which an input above a limit is refused."""
    return (
        f"{name} must have at most {_counted(most)} {what}, but has {_counted(found)}. Nothing of it was decoded. Raise"
        f" the limit (--limit {what}=NUMBER) if you trust it."
    )


def require_plain(value: Any, name: str, limits: Limits) -> None:
    """Raise `DataError` for a value in memory that is nested too deeply or holds too long a text."""
    waiting = [(value, 1)]
    while waiting:
        part, depth = waiting.pop()
        if isinstance(part, str | bytes) and len(part) > limits.characters:
            raise DataError(too_much(name, "characters", len(part), limits.characters))
        if isinstance(part, Mapping | list | tuple):
            if depth > limits.depth:
                raise DataError(f"{name} must be nested at most {limits.depth} levels deep, but goes deeper.")
            waiting += [(inner, depth + 1) for inner in (part.values() if isinstance(part, Mapping) else part)]


def _counted(found: float | str) -> str:
    if isinstance(found, str):
        return found
    return f"{int(found):,}" if float(found).is_integer() else f"{found:,.1f}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _reason(problem: Exception) -> str:
    return (getattr(problem, "strerror", None) or str(problem)).rstrip(".")


def _short(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 300 else f"{text[:100]} \N{HORIZONTAL ELLIPSIS} {text[-100:]}"
