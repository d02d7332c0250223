"""Where a name inside a file leads to: never out of the folder, not by dots, not by links."""

import os
import re
import stat
from pathlib import Path, PurePosixPath

_DRIVE = re.compile(r"^[A-Za-z]:")
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def strays(name: str) -> str | None:
    """How a relative name leaves its folder, in words; None when it stays inside."""
    parts = name.replace("\\", "/").split("/")
    if not name or any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        return "is empty or holds control characters"
    if _URL.match(name):
        return "is an address on a network"
    if name.startswith(("/", "\\", "~")) or _DRIVE.match(name):
        return "is an absolute path"
    if ".." in parts:
        return "climbs out of the folder with '..'"
    return None


def climbs(name: str) -> bool:
    """Whether a path has a `..` between its slashes."""
    return ".." in PurePosixPath(name.replace("\\", "/")).parts


def within(path: Path, root: Path) -> bool:
    """Whether a path, all links followed, lies in a folder, or in the same model's cache (`models--*/blobs`)."""
    target, home = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    if target.is_relative_to(home):
        return True
    caches = [folder for folder in (home, *home.parents) if folder.name.startswith(("models--", "datasets--"))]
    return bool(caches) and target.is_relative_to(caches[0] / "blobs")


def beside(folder: Path, name: str) -> str | int:
    """Size of the plain file that a name beside a model leads to, or what is wrong with it, in words."""
    wrong = strays(name)
    if wrong:
        return wrong
    path = folder / name
    try:
        if not within(path, folder):
            return "is a link that leads out of the folder"
        facts = path.stat()
    except (OSError, ValueError, RuntimeError):  # not there, a name that no system takes, a circle of links
        return "is not there"
    if not stat.S_ISREG(facts.st_mode):
        return "is no plain file"
    if facts.st_nlink > 1:
        return "is a hard link: a second name of a file that may lie elsewhere"
    return facts.st_size
