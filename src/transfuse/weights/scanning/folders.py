"""A path as people give it: one file, or a folder with everything in it, as a repository of a model."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_file

_SKIPPED = {".git", "__pycache__", ".cache"}


def judge(path: Path, judged: Callable[[Path], Judgement] = judge_file) -> Iterator[Judgement]:
    """Judgements of a file, or of every file in a folder and then of the folder itself."""
    if not path.is_dir():
        yield judged(path)
        return
    for file in files(path):
        yield judged(file)


def files(path: Path) -> Iterator[Path]:
    """Every file below a folder, in the order of names; links to folders are not followed."""
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            yield Path(folder, name)


def count(path: Path) -> int:
    """How many files will be judged."""
    return sum(1 for _ in files(path)) if path.is_dir() else 1
