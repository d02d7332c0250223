"""What surrounds a piece of long work: when it must end, where it may resume, who watches."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Event = Mapping[str, Any]
"""`{"stage": "training", "done": 40, "total": 200, "text": "valid accuracy 0.91"}`; `total` may be None, and a
validation in training adds its `score`."""


def _silent(event: Event) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Passed down to long work. Nothing in it changes a result except an early end."""

    deadline: float | None = None
    """`time.monotonic()` seconds at which work must have ended, or None."""
    checkpoints: Path | None = None
    """Folder from which a killed run resumes, or None for no checkpoints."""
    watch: Callable[[Event], None] = _silent
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    workers: int = 1
    """Threads that prepare the coming batches of a training; with 0 each is prepared when it is needed."""

    def remaining(self) -> float:
        """Seconds left; infinite without a deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def part(self, name: str, seconds: float | None = None) -> "Run":
        """A run for one part of the work: own checkpoint folder, and at most `seconds` of what is left."""
        deadline = self.deadline
        if seconds is not None:
            deadline = min(time.monotonic() + seconds, deadline if deadline is not None else float("inf"))
        return replace(self, deadline=deadline, checkpoints=self.checkpoints / name if self.checkpoints else None)
