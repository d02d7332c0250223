"""What `fit` has in hand: models that were made, with what they know of the validation split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.transferring.outcome import Outcome
from transfuse.transferring.targets import scored
from transfuse.transferring.transfer import carried_out


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that might be given to the user."""

    name: str
    source: Source
    method: str
    model: Model
    outcome: Outcome
    validation: Assessment
    seconds_an_example: float
    """What one answer takes, measured on the validation split."""

    @property
    def score(self) -> tuple[float, float]:
        """(score, minus loss) on the validation split: higher is better."""
        metrics = scored(self.validation.kind, self.validation.targets, self.validation.outputs_NC)
        return metrics["score"], -metrics["loss"]

    @property
    def seconds(self) -> float:
        """What making it took."""
        return self.model.provenance.seconds


def made(source: Source, task: Task, method: str, *, run: Run, options: dict[str, Any]) -> Candidate:
    """Carry out a method and measure the result on the validation split."""
    name = f"{method} of {source.name}"
    model, outcome = carried_out(
        source, task, method=method, name=name, run=run.part(f"{method}-{source.digest[:12]}"), options=options
    )
    started = time.monotonic()
    validation = assess(model, task.splits["valid"])
    return Candidate(
        name=name,
        source=source,
        method=method,
        model=model,
        outcome=outcome,
        validation=validation,
        seconds_an_example=(time.monotonic() - started) / len(validation.examples),
    )


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest validation score; of equal ones the simplest method, then the lower loss.

    Losses do not choose between methods: training has stopped, and temperatures were fitted, where the validation loss
    was lowest, which flatters what was trained longest.
    """
    simplicity = {"probe": 2, "finetune": 1, "scratch": 0}
    return max(candidates, key=lambda c: (c.score[0], simplicity.get(c.method, 1), c.score[1]))
