"""Everything that is found in a task, as one value: copies, damaged contents, likely wrong labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfuse.checking.copies import Copies, copies
from transfuse.checking.findings import Finding, findings
from transfuse.checking.judging import Answers, answered
from transfuse.checking.poisoned import Poison, poison_of
from transfuse.checking.seeing import Everything, everything, seen
from transfuse.checking.wrong_labels import Suspects, suspects
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Source, Task
from transfuse.core.runs import Run
from transfuse.tasks.splitting import joined


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A task with all that was found."""

    task: Task
    every: Everything
    found: tuple[Finding, ...]
    answers: Answers | None
    """None where no wrong labels could be looked for; a warning says why."""
    wrong: Suspects | None
    poison: Poison | None
    """None where examples have no single label, or too few groups to say anything."""
    warnings: tuple[DataWarning, ...]


def examined(
    task: Task, source: Source | str | Path | None = None, *, seed: int = 0, trust_code: bool = False, run: Run = Run()
) -> Checked:
    """All findings of a task."""
    every = everything(task)
    run.watch({"stage": "looking for copies", "done": 0, "total": None})
    twins = copies(every.examples, task.modality, run)
    units_N = units_of(every, twins)
    x_ND, by = seen(task, source, trust_code=trust_code, run=run)
    run.watch({"stage": "looking for wrong labels", "done": 0, "total": None, "text": by})
    warnings = list(task.warnings)
    answers, wrong = None, None
    try:
        answers = answered(x_ND, task, units_N, by, seed=seed)
        groups = [str(unit) for unit in units_N.tolist()]
        wrong = suspects(task.kind, every.examples.targets, answers.outputs_NC, groups=groups, seed=seed)
        warnings += [DataWarning(code="cross-validation", message=note, severity="note") for note in answers.notes]
    except DataError as error:
        warnings.append(DataWarning(code="labels-not-checked", message=str(error)))
    run.watch({"stage": "looking for signs of poisoning", "done": 0, "total": None, "text": ""})
    poison = poison_of(task, every, x_ND, seed=seed)
    found = findings(task, every, twins, answers, wrong, poison)
    return Checked(
        task=task, every=every, found=tuple(found), answers=answers, wrong=wrong, poison=poison,
        warnings=tuple(warnings),
    )  # fmt: skip


def units_of(every: Everything, twins: Copies) -> np.ndarray:
    """Numbers (N,), equal for copies and for examples of one group, which must not be in two folds."""
    pairs = np.concatenate([twins.exact, twins.near])
    return joined(len(every.examples), pairs, every.examples.groups)
