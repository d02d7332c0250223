"""What `fit` has in hand: models that were made, with what they know of the validation split."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfuse.core import atomic
from transfuse.core.digests import of_value
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.predicting.folder import load, save
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
    curves: tuple[Mapping[str, float], ...]
    """History of validations."""
    interrupted: bool
    validation: Assessment
    seconds_an_example: float
    """What one answer takes, measured on the validation split."""
    balanced: bool = False
    """Choose by balanced accuracy, because classes are weighted."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its method found: steps, rate, ..."""
        return self.model.provenance.options["found"]

    @property
    def score(self) -> tuple[float, float]:
        """(score, minus loss) on the validation split: higher is better."""
        found = self.validation
        metrics = scored(found.kind, found.targets, found.outputs_NC, balanced=self.balanced)
        return metrics["score"], -metrics["loss"]

    @property
    def seconds(self) -> float:
        """What making it took."""
        return self.model.provenance.seconds


def made(source: Source, task: Task, method: str, *, run: Run, options: dict[str, Any]) -> Candidate:
    """Carry out a method and measure the result on the validation split.

    With checkpoints, a candidate that a killed run had finished is taken up from there.
    """
    name = f"{method} of {source.name}"
    identity = of_value([source.digest, task.digest, method, plain(options)])
    run = run.part(f"{method}-{identity[:12]}")
    kept = run.checkpoints / "made" if run.checkpoints else None
    if kept and kept.exists():
        model, curves, interrupted = (
            load(kept, trust_code=True),
            _curves_of(kept),
            False,
        )  # the source was trusted before
    else:
        model, outcome = carried_out(source, task, method=method, name=name, run=run, options=options)
        curves, interrupted = outcome.curves, outcome.interrupted
        if kept and not interrupted:
            _keep(model, outcome, kept)
    started = time.monotonic()
    validation = assess(model, task.splits["valid"])
    return Candidate(
        name=name,
        source=source,
        method=method,
        model=model,
        curves=curves,
        interrupted=interrupted,
        validation=validation,
        balanced=options.get("class_weights", "equal") != "equal",
        seconds_an_example=(time.monotonic() - started) / len(validation.examples),
    )


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest validation score; of equal ones the simplest method, then the lower loss.

    Losses do not choose between methods: training has stopped, and temperatures were fitted, where the validation loss
    was lowest, which flatters what was trained longest.
    """
    simplicity = {"probe": 2, "finetune": 1, "scratch": 0}
    return max(candidates, key=lambda c: (c.score[0], simplicity.get(c.method, 1), c.score[1]))


def _keep(model: Model, outcome: Outcome, folder: Path) -> None:
    atomic.write_text(_curves_file(folder), json.dumps(plain(outcome.curves)))
    save(replace(model, report=None), folder)


def _curves_of(folder: Path) -> tuple[Mapping[str, float], ...]:
    return tuple(json.loads(_curves_file(folder).read_text()))


def _curves_file(folder: Path) -> Path:
    return folder.with_name("curves.json")
