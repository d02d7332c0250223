"""Whether tasks help or hurt each other, and trunks of their own for those that are hurt.

Asked is the outcome itself: each task's answers on its validation split, shared against alone, by paired differences.
Conflicts of gradients on the way are cheaper to look at and foretell it badly (Standley et al., "Which tasks should be
learned together in multi-task learning?", arXiv 1905.07553, who also train the groups to compare them). The task that
is most surely hurt leaves; the rest learns anew without it, until nobody who shares is proven worse. Intervals are of
1 - 0.05 / T for T tasks (Bonferroni), so that asking many tasks does not make it likelier that one leaves by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Task
from transfuse.core.runs import Run
from transfuse.measuring.intervals import paired
from transfuse.measuring.metrics import PRIMARY
from transfuse.transferring.sharing.groups import Learnt, Recipe, learn
from transfuse.tuning.outcome import Outcome

Gap = Mapping[str, float]
_SHARE_TOGETHER = 0.5
"""Of the time left, for all tasks together; each alone gets an equal part of the rest."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """One comparison: who shared a trunk, what it gained them on validation, who left."""

    members: tuple[str, ...]
    gaps: Mapping[str, Gap]
    """By task: metric shared minus metric alone, positive where sharing helped."""
    level: float
    """0..1: coverage of their intervals."""
    left: str | None


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """What came of sharing, and how it was decided."""

    outcomes: Mapping[str, Outcome]
    """By task, in the order of the tasks: what is kept."""
    together: Mapping[str, Outcome]
    """By task: all on one trunk."""
    alone: Mapping[str, Outcome] = field(default_factory=dict)
    """By task: its own model, where it was trained."""
    rounds: tuple[Round, ...] = ()
    interrupted: bool = False


def learnt_together(tasks: Sequence[Task], recipe: Recipe, run: Run, *, compare: bool) -> Sharing:
    """All tasks on one trunk and, with `compare`, each alone and as few trunks as nobody is hurt by."""
    half = _SHARE_TOGETHER * run.remaining() if compare and run.deadline is not None else None
    all_together = learn(tasks, recipe, run.part("together", half))
    sharing = Sharing(
        outcomes=all_together.outcomes, together=all_together.outcomes, interrupted=all_together.interrupted
    )
    if not compare or sharing.interrupted:
        return sharing
    recipe = replace(recipe, fit=replace(recipe.fit, steps=_steps(all_together)))
    alone = _each_alone(tasks, replace(recipe, balancing="equal"), run)  # with one loss there is nothing to balance
    stopped = any(one.interrupted for one in alone.values())
    own = {name: one.outcomes[name] for name, one in alone.items() if not one.interrupted}
    sharing = replace(sharing, alone=own, interrupted=stopped)
    return sharing if stopped else _split(sharing, tasks, all_together, alone, recipe, run)


def _steps(learnt: Learnt) -> int:
    """As many steps for a task alone, and patience by the same rules."""
    facts = next(iter(learnt.outcomes.values())).facts
    steps: int = facts["steps"] if facts["stopped_by"] == "time" else facts["steps_wanted"]
    return steps


def _each_alone(tasks: Sequence[Task], recipe: Recipe, run: Run) -> dict[str, Learnt]:
    """Every task's own model, as far as the time allows."""
    found: dict[str, Learnt] = {}
    for place, task in enumerate(tasks):
        part = run.remaining() / (len(tasks) - place) if run.deadline is not None else None
        try:
            found[task.name] = learn([task], recipe, run.part(f"alone-{place}", part))
        except BudgetError:
            continue
        if found[task.name].interrupted:
            break
    return found


def _split(
    sharing: Sharing, tasks: Sequence[Task], learnt: Learnt, alone: Mapping[str, Learnt], recipe: Recipe, run: Run
) -> Sharing:
    """Let tasks that are proven to be hurt leave, one after the other."""
    members, outcomes, rounds = list(tasks), dict(sharing.outcomes), []
    while True:
        level = 1 - 0.05 / len(members)
        gaps = {task.name: gap_of(task, learnt, alone[task.name], level) for task in members if task.name in alone}
        outcomes |= learnt.outcomes
        hurt = sorted((gap["p_value"], gap["high"], name) for name, gap in gaps.items() if gap["high"] < 0)
        left = hurt[0][-1] if hurt else None
        rounds.append(Round(members=tuple(task.name for task in members), gaps=gaps, level=level, left=left))
        if left is None:
            break
        outcomes[left] = sharing.alone[left]
        members = [task for task in members if task.name != left]
        if len(members) == 1:
            outcomes |= _of_the_last(members[0].name, gaps, sharing.alone)
            break
        learnt_anew = _without(left, tasks, members, recipe, run)
        if learnt_anew is None or learnt_anew.interrupted:
            outcomes |= {task.name: sharing.alone[task.name] for task in members if task.name in sharing.alone}
            sharing = replace(sharing, interrupted=learnt_anew is not None)
            break
        learnt = learnt_anew
    return replace(sharing, outcomes={task.name: outcomes[task.name] for task in tasks}, rounds=tuple(rounds))


def _of_the_last(name: str, gaps: Mapping[str, Gap], alone: Mapping[str, Outcome]) -> dict[str, Outcome]:
    """Who is left without company keeps the shared trunk only where that is proven better than its own."""
    return {} if name not in alone or gaps[name]["low"] > 0 else {name: alone[name]}


def _without(left: str, tasks: Sequence[Task], members: Sequence[Task], recipe: Recipe, run: Run) -> Learnt | None:
    """The remaining tasks on a trunk of their own; None when the time is up."""
    names = [task.name for task in members]
    places = "-".join(str(place) for place, task in enumerate(tasks) if task.name in names)
    try:
        return learn(members, recipe, run.part(f"group-{places}"))
    except BudgetError:
        return None


def gap_of(task: Task, one: Learnt, other: Learnt, level: float) -> dict[str, float]:
    """The metric of one minus that of the other on the validation split, paired."""
    valid = task.splits["valid"]
    answers = (one.answers[task.name], other.answers[task.name])
    return paired(task.kind, PRIMARY[task.kind], valid.targets, *answers, level=level, groups=valid.groups)
