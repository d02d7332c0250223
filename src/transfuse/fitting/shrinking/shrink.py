"""`shrink`: a trained Model in smaller sizes. For each, shapes are searched, and the best one learns from the whole.

A shape is tried by a short distillation and judged by its loss on the validation split; the test split is read once,
at the end. Beside each size stands the same shape from random weights, taught as long: what keeping the weights bought.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import transfuse
from transfuse.core import atomic
from transfuse.core.checking import require_kinds
from transfuse.core.digests import of_value
from transfuse.core.errors import BudgetError, TransfuseError, UsageError, WeightsError
from transfuse.core.nouns import Model, Step, Task
from transfuse.core.places import cache_folder
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.core.tables import unknown
from transfuse.distilling.preparing import Plan
from transfuse.distilling.students import distilled
from transfuse.distilling.sums import Sum, parsed, usual
from transfuse.distilling.teachers import Teacher, as_teacher
from transfuse.evaluating.assessing import require_same_question
from transfuse.fitting.shrinking.limits import Limit, limits
from transfuse.fitting.shrinking.report import evidence
from transfuse.fitting.shrinking.shapes import SPACE, first, shaped
from transfuse.predicting.folder import load
from transfuse.predicting.guarding import guarded
from transfuse.searching.search import Found, search
from transfuse.searching.strategies import Strategy
from transfuse.sources.references import find
from transfuse.tasks.opening import open_task
from transfuse.training.options import Fit, default_steps
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described

_SHORT = 0.15
"""0..1: steps of a trial, as a share of the whole distillation's."""
_RATE = 1e-3
"""Of trials, which begin from trained weights under a fitted head."""
_SEARCH = 0.4
"""0..1: share of a size's time for its search, where there is a deadline."""


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One size of the ladder."""

    limit: Limit
    model: Model
    untaught: Model
    """The same shape as it was cut from the whole, before it learnt."""
    found: Found
    scratch: Model | None
    """The same shape from random weights, taught as long."""


@dataclass(frozen=True, kw_only=True)
class _Ladder:
    whole: Model
    task: Task
    teacher: Teacher
    wanted: Sum
    fit: Fit
    trials: int
    compare: bool
    method: str


def shrink(
    model: Model | str | Path,
    data: Any,
    *,
    to: str = "2x,4x,8x",
    method: str = "",
    trials: int = 4,
    compare: bool = True,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> dict[str, Model]:
    """The Model in several smaller sizes, by the name of each, with accuracy against size and time in one report.

    Args:
        model: A Model, or the folder of a saved one.
        data: A Task, or whatever one can be opened from.
        to: How small, with commas between: `4x` is a quarter of the parameters, `3ms` the milliseconds that an example
            may take on this machine.
        method: A sum of losses of distillation; that of the task's kind unless given.
        trials: Shapes tried for each size.
        compare: Teach the same shapes from random weights as well.
        trust_code: Allow networks that are built by the user's own function.
        run: Deadline, checkpoint folder, watcher.
        command: What repeats this, for the report.
        options: Of training (see `Fit`).

    Raises:
        UsageError: Another form of `to`, or data with other classes than the Model's.
        WeightsError: A size that cannot be reached.
    """
    fit = options.pop("fit", None) or _fit_from(options)
    wanted = limits(to)
    whole = model if isinstance(model, Model) else load(model, trust_code=trust_code)
    task = data if isinstance(data, Task) else open_task(data, seed=fit.seed, run=run)
    require_same_question(task, whole)
    fit = replace(fit, steps=fit.steps or default_steps(len(task.splits["train"])))
    ladder = _Ladder(
        whole=whole, task=task, teacher=as_teacher(whole, task, {}), fit=fit, trials=trials, compare=compare,
        wanted=parsed(method) if method else usual(task.kind, False), method=method,
    )  # fmt: skip
    rungs = []
    for place, limit in enumerate(wanted):
        share = run.remaining() / (len(wanted) - place) if run.deadline is not None else None
        rungs.append(_rung(ladder, limit, run.part(limit.name, share)))
    return evidence(whole, rungs, task, run=run, command=command)


def _fit_from(options: Mapping[str, Any]) -> Fit:
    known = [field.name for field in fields(Fit)]
    for option in options:
        if option not in known:
            raise unknown("option of 'shrink'", option, known)
    require_kinds(options, get_type_hints(Fit))
    return Fit(**options)


def _rung(ladder: _Ladder, limit: Limit, run: Run) -> Rung:
    started = time.monotonic()
    found = _searched(ladder, limit, run)
    cut = shaped(ladder.whole, ladder.task, found.best.options, limit, seed=ladder.fit.seed, run=run)
    half = run.remaining() / 2 if ladder.compare and run.deadline is not None else None
    outcome = _taught(ladder, cut, ladder.fit, run.part("taught", half))
    scratch = _from_random(ladder, cut, outcome, run) if ladder.compare and not outcome.interrupted else None
    step = Step(
        verb="shrink",
        method=limit.name,
        options={
            "method": ladder.method, "shape": plain(found.best.options), "fit": plain(ladder.fit),
            "found": plain(outcome.facts),
        },
        inputs=(ladder.whole.provenance, described(ladder.task)),
        digests={"task": ladder.task.digest, "teacher": ladder.teacher.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )  # fmt: skip
    model = as_model(outcome, ladder.task, step, f"{ladder.whole.name}, {limit.name}"[:200])
    model = guarded(model, ladder.task, run=run)
    return Rung(limit=limit, model=model, untaught=cut, found=found, scratch=scratch)


def _searched(ladder: _Ladder, limit: Limit, run: Run) -> Found:
    """Shapes tried by short distillations."""
    short = replace(ladder.fit, steps=max(20, round(_SHORT * ladder.fit.steps)), rate=_RATE, patience=0)
    quiet = replace(run, checkpoints=None, deadline=None)
    problems: list[TransfuseError] = []

    def score(options: Mapping[str, Any], effort: int, _: Any) -> float:
        try:
            cut = shaped(ladder.whole, ladder.task, options, limit, seed=ladder.fit.seed, run=quiet)
            outcome = _taught(ladder, cut, replace(short, steps=effort), quiet)
        except (UsageError, WeightsError, BudgetError) as problem:
            problems.append(problem)
            return float("-inf")
        if outcome.interrupted:
            raise KeyboardInterrupt
        return -float(outcome.facts["validation"]["loss"])

    identity = {
        "teacher": ladder.teacher.digest, "task": ladder.task.digest, "sum": str(ladder.wanted), "limit": limit.name,
        "fit": plain(short),
    }  # fmt: skip
    seconds = _SEARCH * run.remaining() if run.deadline is not None else None
    strategy = Strategy(trials=ladder.trials, effort=short.steps, seed=ladder.fit.seed)
    try:
        return search(
            score,
            SPACE,
            strategy,
            first=first(limit)[: ladder.trials],
            identity=identity,
            run=run.part("shapes", seconds),
        )
    except UsageError as error:
        raise problems[0] if problems else error from None


def _taught(ladder: _Ladder, cut: Model, fit: Fit, run: Run, scratch: bool = False) -> Outcome:
    """The shape after it learnt from the whole."""
    with _as_folder(cut) as folder:
        plan = Plan(
            student=find(str(folder), trust_code=True),  # the whole was opened with the user's word
            task=ladder.task, teachers=(ladder.teacher,),
            wanted=ladder.wanted, fit=fit, views=8, scratch=scratch,
        )  # fmt: skip
        return distilled(plan, run)


@contextmanager
def _as_folder(model: Model) -> Iterator[Path]:
    """The Model as a folder, and so a source, for as long as it is needed."""
    with atomic.scratch(cache_folder() / "scratch") as temporary:
        folder = temporary / "shape"
        model.save(folder)
        yield folder


def _from_random(ladder: _Ladder, cut: Model, taught: Outcome, run: Run) -> Model | None:
    """The same shape without the weights, taught for as many steps; None when the time is up."""
    fit = replace(ladder.fit, steps=int(taught.facts["steps_wanted"]))
    try:
        outcome = _taught(ladder, cut, fit, run.part("random"), scratch=True)
    except BudgetError:
        return None
    step = Step(verb="distill", method="random weights", digests={"shape": of_value(plain(cut.builder))})
    return as_model(outcome, ladder.task, step, f"{cut.name} from random weights")
