"""What is trained more than once: under several seeds, in generations. Every choice is by the validation split.

Generations are born-again networks (Furlanello et al., "Born Again Neural Networks", arXiv 1805.04770): the first
student learns from labels alone, each next one, from the same start under another seed, from the one before. Changed:
of all of them, the first included, the one that validates best is kept (the paper tests the last, and their ensemble);
the losses are those of `method`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import transfuse
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Model, Step
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.mutual import mutual
from transfuse.distilling.preparing import Plan
from transfuse.distilling.students import alone, distilled
from transfuse.distilling.teachers import as_teacher
from transfuse.training.options import default_steps
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A student that was trained."""

    plan: Plan
    """With the seed, and the teachers of the generation, that it was trained with."""
    outcome: Outcome
    generations: tuple[Mapping[str, Any], ...] = ()
    """Validation metrics of each, the one that learnt from labels alone first."""
    everyone: tuple["Taught", ...] = field(default=())
    """Under each seed, this one among them."""

    @property
    def score(self) -> float:
        """On the validation split; higher is better."""
        return float(self.outcome.facts["validation"]["score"])


def taught(plan: Plan, run: Run) -> Taught:
    """The student under each seed; the best of them."""
    count, everyone = plan.teaching.seeds, list[Taught]()
    for place in range(count):
        own = replace(plan, fit=replace(plan.fit, seed=plan.fit.seed + place))
        part = run if count == 1 else run.part(f"seed-{own.fit.seed}", _share(run, count - place))
        try:
            everyone.append(_once(own, part))
        except BudgetError:
            if not everyone:
                raise
            break
        if everyone[-1].outcome.interrupted:
            break
    best = max(everyone, key=lambda one: one.score)
    return replace(best, everyone=tuple(everyone)) if plan.teaching.seeds > 1 else best


def _once(plan: Plan, run: Run) -> Taught:
    if plan.teaching.mutual:
        return Taught(plan=plan, outcome=mutual(plan, run))
    if plan.teaching.generations:
        return _generations(plan, run)
    return Taught(plan=plan, outcome=distilled(plan, run))


def _generations(plan: Plan, run: Run) -> Taught:
    """Each student taught by the one before."""
    steps = plan.fit.steps or default_steps(len(plan.task.splits["train"]), random=plan.random)
    count = plan.teaching.generations + 1
    born: list[Taught] = []
    for number in range(count):
        part = run.part(f"generation-{number}", _share(run, count - number))
        if not born:
            born.append(Taught(plan=plan, outcome=_told(alone(plan, steps, part), "labels alone")))
            continue
        teacher = as_teacher(_as_model(born[-1], number - 1), plan.task, {})
        fit = replace(plan.fit, seed=plan.fit.seed + 1000 * number, steps=steps)
        own = replace(plan, teachers=(teacher,), fit=fit)
        try:
            born.append(Taught(plan=own, outcome=distilled(own, part)))
        except BudgetError:
            break
        if born[-1].outcome.interrupted:
            break
    rows = tuple({"generation": n, **one.outcome.facts["validation"]} for n, one in enumerate(born))
    best = max(range(len(born)), key=lambda n: (born[n].score, -n))
    return replace(born[best], generations=rows)


def _share(run: Run, left: int) -> float | None:
    """Seconds for the next of so many trainings."""
    return run.remaining() / left if run.deadline is not None else None


def _told(outcome: Outcome, sum_: str) -> Outcome:
    """With the facts that a report asks for."""
    return replace(outcome, facts={**outcome.facts, "sum": sum_, "views": 0, "copied": [], "pairs": []})


def _as_model(born: Taught, number: int) -> Model:
    step = Step(
        verb="distill",
        method=f"generation {number}",
        options={"found": plain(born.outcome.facts)},
        inputs=tuple(teacher.model.provenance for teacher in born.plan.teachers),
        version=transfuse.__version__,
    )
    return as_model(born.outcome, born.plan.task, step, f"generation {number}")


def alone_of(plan: Plan, steps: int, seeds: Sequence[int], run: Run) -> Outcome:
    """The student alone under the same seeds, the best on validation: what the distilled one is compared with."""
    found = []
    for seed in seeds:
        part = run.part("alone") if seed == plan.fit.seed else run.part(f"alone-{seed}")
        found.append(alone(replace(plan, fit=replace(plan.fit, seed=seed)), steps, part))
    return max(found, key=lambda outcome: outcome.facts["validation"]["score"])
