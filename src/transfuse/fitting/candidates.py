"""What `fit` has in hand: models that were made, with what they know of the validation split."""

from dataclasses import dataclass

from transfuse.core.nouns import Examples, Model, Source, Task
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

    @property
    def score(self) -> tuple[float, float]:
        """(score, minus loss) on the validation split: higher is better."""
        metrics = scored(self.validation.kind, self.validation.targets, self.validation.outputs_NC)
        return metrics["score"], -metrics["loss"]

    @property
    def seconds(self) -> float:
        """What making it took."""
        return self.model.provenance.seconds


def made(source: Source, task: Task, method: str, *, run: Run, options: dict) -> Candidate:
    """Carry out a method and measure the result on the validation split."""
    name = f"{method} of {source.name}"
    model, outcome = carried_out(
        source, task, method=method, name=name, run=run.part(f"{method}-{source.digest[:12]}"), options=options
    )
    validation = assess(model, task.splits["valid"])
    return Candidate(name=name, source=source, method=method, model=model, outcome=outcome, validation=validation)


def on(candidate: Candidate, examples: Examples) -> Assessment:
    """The candidate measured on other examples."""
    return assess(candidate.model, examples)
