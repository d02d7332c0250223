"""`SHA256SUMS` in a folder: the digest of every file in it, in the form that `sha256sum --check` reads.

So whoever has the folder can tell that it is whole, with transfuse or without.
"""

from collections.abc import Iterable
from pathlib import Path

from transfuse.core import digests
from transfuse.core.errors import TransfuseError

SUMS = "SHA256SUMS"


def text_of(found: dict[str, str]) -> str:
    """The lines of digests by path; a name that would break its line is escaped as coreutils do it."""
    lines = []
    for path in sorted(found):
        name = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{'' if name == path else chr(92)}{found[path]}  {name}\n")
    return "".join(lines)


def of_folder(folder: Path) -> dict[str, str]:
    """The digest of every file below the folder but the list itself, by its path from there with `/`."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: digests.of_file(path) for name, path in names.items() if name != SUMS}


def of_part(folder: Path) -> bytes:
    """What the list of a folder that is being written must hold."""
    return text_of(of_folder(folder)).encode("utf-8", "surrogateescape")


def listed(folder: Path) -> dict[str, str] | None:
    """The digests that the list holds; None without one. A line that is none has the name of its own text."""
    try:
        text = (folder / SUMS).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None
    found = {}
    for line in text.split("\n")[:-1]:
        digest, separator, name = line.lstrip("\\").partition("  ")
        whole = separator and len(digest) == 64
        plain = name.replace("\\n", "\n").replace("\\r", "\r").replace("\\\\", "\\") if line[:1] == "\\" else name
        found[plain if whole else line] = digest
    return found


def changes(folder: Path) -> list[str]:
    """What is no longer as the list says, one line each; empty when all is whole, or when there is no list."""
    told, found = listed(folder), of_folder(folder)
    if told is None:
        return []
    lost = [f"{name} is missing" for name in told if name not in found]
    new = [f"{name} is new" for name in found if name not in told]
    return lost + new + [f"{name} differs" for name in told if name in found and told[name] != found[name]]


def require(folder: Path, names: Iterable[str], error: type[TransfuseError]) -> None:
    """Raise `error` for the first of these files that is not as the list says; without a list nothing is known."""
    told = listed(folder)
    if told is None:
        return
    for name in names:
        if told.get(name) != digests.of_file(folder / name):
            raise error(
                f"'{folder / name}' is not the file that was saved: its digest differs. Restore the folder; or remove"
                f" its {SUMS} when you changed the file yourself."
            )
