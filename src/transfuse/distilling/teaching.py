"""What is taught beside the labelled examples, by whom to whom, and how often: one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

WEIGHTS = ("equal", "confidence", "correct")
SELF = "self"
"""In place of a teacher: the student learns from earlier ones, or from peers."""


@dataclass(frozen=True, kw_only=True)
class Teaching:
    """Everything about a distillation but its losses and the training itself."""

    label_map: Mapping[str, str] = field(default_factory=dict)
    """Teacher's class to task's class, where names differ; several may become one, and an empty name leaves one out."""
    unlabelled: str | Path | None = None
    """Examples without labels, which the teacher alone teaches: a folder, a table, texts."""
    teacher_data: str | Path | None = None
    """The same examples as the teacher takes them, such as the sounds that belong to pictures."""
    teacher_weights: Any = "equal"
    """What each teacher counts for an example: `equal`, `confidence` (by its loss on the label), `correct` (only those
    that are right), or an array (N, teachers) of the training split, or its `.npy` file."""
    top: int = 0
    """Answers kept of each example, the largest ones (the others share the rest alike); 0 keeps all."""
    seeds: int = 1
    """Trainings under as many seeds, of which the best on validation is kept."""
    generations: int = 0
    """With the teacher `self`: students that learn from the one before, after one that learns from labels alone."""
    mutual: int = 0
    """With the teacher `self`: students that learn together, each from the others."""
    together: bool = False
    """Keep the mean of the students that learnt together rather than the best of them."""

    def __post_init__(self) -> None:
        for name, least in (("top", 0), ("seeds", 1), ("generations", 0), ("mutual", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"`{name}` must be at least {least}, but is {getattr(self, name)}.")
        if isinstance(self.teacher_weights, str):
            chosen("kind of teacher weights", self.teacher_weights, WEIGHTS)
        elif not hasattr(self.teacher_weights, "__len__"):
            raise UsageError("`teacher_weights` must be equal, confidence, correct or an array (N, teachers).")
        if self.mutual == 1:
            raise UsageError("`mutual` must be at least 2 students, but is 1.")
        if self.mutual and self.generations:
            raise UsageError("`mutual` and `generations` must not go together. Leave one of them out.")
        if self.together and not self.mutual:
            raise UsageError("`together` must go with `mutual`.")

    def require_teacher(self, teacher: Any) -> bool:
        """Whether the student teaches itself. Raises `UsageError` where options and teacher do not go together."""
        alone = isinstance(teacher, str) and teacher == SELF
        if alone and not (self.generations or self.mutual):
            raise UsageError("The teacher `self` must go with `generations`, such as 2, or with `mutual`, such as 2.")
        for name in ("generations", "mutual") if not alone else ("unlabelled", "teacher_data", "label_map", "top"):
            if getattr(self, name):
                goes = "with a teacher of its own" if alone else "with the teacher 'self'"
                raise UsageError(f"`{name}` must go {goes}, but the teacher is '{teacher}'.")
        return alone
