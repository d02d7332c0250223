"""What a saved Model that is used as a source answers: its kind, classes and scale, from its document."""

import json
from pathlib import Path
from typing import Any

from transfuse.core.nouns import Source, Task
from transfuse.tuning.targets import TargetScale


def answers_the_same(source: Source, task: Task) -> bool:
    """Whether the source is a Model of the task's kind and classes, in the same order, with a linear head."""
    document = document_of(source)
    same = (document.get("kind"), document.get("classes")) == (task.kind, list(task.classes))
    return same and document.get("head", {}).get("kind") == "linear"


def source_scale(source: Source) -> TargetScale | None:
    """Of a regression Model: the mean and deviation (C each) of its targets."""
    scale = document_of(source).get("target_scale")
    return (tuple(scale[0]), tuple(scale[1])) if scale else None


def document_of(source: Source) -> dict[str, Any]:
    """The Model's document beside the source's weights; empty when the source is no Model."""
    path = Path(source.weights or "").with_name("model.json") if source.weights else None
    if path is None or not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
