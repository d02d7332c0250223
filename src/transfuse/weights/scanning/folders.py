"""A path as people give it: one file, or a folder with everything in it, as a repository of a model."""

import os
from collections.abc import Iterator
from pathlib import Path

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_file

_SKIPPED = {".git", "__pycache__", ".cache"}


def judge(path: Path) -> Iterator[Judgement]:
    """Judgements of a file, or of every file in a folder and then of the folder itself."""
    if not path.is_dir():
        yield judge_file(path)
        return
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(set(folders) - _SKIPPED)
        for name in sorted(names):
            yield judge_file(Path(folder, name))
