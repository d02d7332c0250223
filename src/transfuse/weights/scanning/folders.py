"""A path as people give it: one file, or a folder with everything in it, as a repository of a model."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from transfuse.weights.scanning.findings import Finding, Judgement
from transfuse.weights.scanning.inspecting import judge_file
from transfuse.weights.scanning.places import within

_SKIPPED = {".git", "__pycache__"}
_MOST_FILES = 100_000
_OUT = "Copy what you need into the folder, or fetch the model again."


def judge(path: Path, judged: Callable[[Path], Judgement] = judge_file) -> Iterator[Judgement]:
    """Judgements of a file, or of every file in a folder and then of the folder itself."""
    if not path.is_dir():
        yield judged(path)
        return
    began, findings, size, files = time.monotonic(), list[Finding](), 0, 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            files += 1
            judgement = _file(Path(folder, name), path, judged)
            size += judgement.size
            yield judgement
        for name in folders:
            findings += _strange(Path(folder, name), path)
        for name in names:
            findings += _strange_name(Path(folder, name), path)
        if files > _MOST_FILES:
            reason = f"It holds more than {_MOST_FILES:,} files; the rest was not looked at."
            findings.append(Finding(verdict="reject", rule="folder-files", reason=reason, advice="Scan its parts."))
            break
    yield Judgement(
        path=str(path), kind="folder", size=size, digest="", findings=tuple(findings), seconds=time.monotonic() - began
    )


def count(path: Path) -> int:
    """How many files and folders will be judged."""
    return 1 + sum(len(names) for _, _, names in os.walk(path))


def _file(path: Path, root: Path, judged: Callable[[Path], Judgement]) -> Judgement:
    """A file's judgement; a link that leads out of the folder is not followed."""
    if path.is_symlink() and not within(path, root):
        found = _link(path, root)
        return Judgement(path=str(path), kind="link", size=0, digest="", findings=(found,), seconds=0.0)
    return judged(path)


def _strange(path: Path, root: Path) -> list[Finding]:
    """What speaks against a folder inside: a link out, or a name made to deceive."""
    out = [_link(path, root)] if path.is_symlink() and not within(path, root) else []
    return out + _strange_name(path, root)


def _strange_name(path: Path, root: Path) -> list[Finding]:
    if path.name.isprintable():
        return []
    where = repr(str(path.relative_to(root)))[:120]
    reason = "A name in it holds characters that do not show, so that it looks like another."
    return [Finding(verdict="reject", rule="folder-name", reason=reason, where=where, advice="Rename or remove it.")]


def _link(path: Path, root: Path) -> Finding:
    where = str(path.relative_to(root))[:120]
    reason = f"It is a link that leads out of the folder, to '{str(path.readlink())[:120]}'."
    return Finding(verdict="reject", rule="folder-link", reason=reason, where=where, advice=_OUT)
