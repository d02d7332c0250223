"""The ladder in words and pictures: accuracy with its interval against parameters and milliseconds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transfuse.core.nouns import DataWarning, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY, higher_is_better
from transfuse.predicting.costs import Costs, costs_of

if TYPE_CHECKING:
    from transfuse.fitting.shrinking.shrink import Rung

WHOLE = "the whole"


def evidence(whole: Model, rungs: Sequence["Rung"], task: Task, *, run: Run, command: str) -> dict[str, Model]:
    """The smaller Models by the name of their size, each with its metrics and the report of all."""
    split = "test" if "test" in task.splits else "valid"
    models = {WHOLE: whole, **{rung.limit.name: rung.model for rung in rungs}}
    models |= {_random(rung): rung.scratch for rung in rungs if rung.scratch is not None}
    found = {name: assess(model, task.splits[split], run=run) for name, model in models.items()}
    costs = dict(zip(models, costs_of(list(models.values())), strict=True))
    rows = [{**plain_row(name, found[name]), **costs[name].row()} for name in models]
    report = Report(
        title=f"{whole.name} in smaller sizes",
        columns=tuple(rows[0]),
        rows=tuple(rows),
        summary=tuple(line for rung in rungs for line in _told(rung, found, costs, split)),
        sections=(
            *_fronts({n: found[n] for n in (WHOLE, *(r.limit.name for r in rungs))}, costs, task),
            _decided(rungs),
        ),
        warnings=(*task.warnings, *_no_test(split)),
        command=command,
    )
    return {rung.limit.name: _with_report(rung, report, found[rung.limit.name], split) for rung in rungs}


def _with_report(rung: "Rung", report: Report, assessment: Assessment, split: str) -> Model:
    own = Section(kind="provenance", title=f"How {rung.limit.name} was made", content=plain(rung.model.provenance))
    report = replace(report, sections=(*report.sections, *detailed(assessment), own))
    return replace(rung.model, report=report, metrics={split: assessment.all_measured()})


def _random(rung: "Rung") -> str:
    return f"{rung.limit.name} from random weights"


def _told(rung: "Rung", found: Mapping[str, Assessment], costs: Mapping[str, Costs], split: str) -> list[str]:
    name, own = rung.limit.name, found[rung.limit.name]
    metric, small, large = PRIMARY[own.kind], costs[rung.limit.name], costs[WHOLE]
    lines = [
        f"{name}: {large.parameters / small.parameters:.1f} times fewer parameters, {small.milliseconds:.2f} ms instead"
        f" of {large.milliseconds:.2f} ms. {capitalised(in_words(name, WHOLE, metric, difference(own, found[WHOLE])))}"
        f" [{split} split]"
    ]
    if rung.limit.unit == "ms" and small.milliseconds > rung.limit.value:
        lines.append(
            f"MORE THAN THE {rung.limit.value:g} ms ASKED FOR: it was within them when its shape was chosen. Measure on"
            " a quiet machine, or ask for less."
        )
    if _random(rung) in found:
        gap = difference(own, found[_random(rung)])
        helped = "Keeping the weights helped." if gap["low"] > 0 else "KEEPING THE WEIGHTS IS NOT PROVEN TO HELP."
        helped = "KEEPING THE WEIGHTS HURT." if gap["high"] < 0 else helped
        lines.append(f"{helped} {capitalised(in_words(name, 'the same shape from random weights', metric, gap))}")
    return lines


def _fronts(found: Mapping[str, Assessment], costs: Mapping[str, Costs], task: Task) -> list[Section]:
    """What is lost for what is saved, as pictures; for errors, which are better the smaller, their negative."""
    metric = PRIMARY[task.kind]
    sign = 1.0 if higher_is_better(metric) else -1.0
    points: dict[str, dict[str, Any]] = {}
    for name, assessment in found.items():
        value = assessment.measured(metric)
        low, high = sorted((sign * value["low"], sign * value["high"]))
        points[name] = {"name": name, "y": sign * value["value"], "low": low, "high": high}
    shown = metric if sign > 0 else f"-{metric}"
    axes = {"parameters": "parameters", "milliseconds": "milliseconds an example"}
    return [
        Section(
            kind="front",
            title=f"{metric} against {title}",
            content={"x": title, "y": shown, "points": [{**p, "x": getattr(costs[n], a)} for n, p in points.items()]},
        )
        for a, title in axes.items()
    ]


def _decided(rungs: Sequence["Rung"]) -> Section:
    """Every shape that was tried, with the loss that decided."""
    decisions = []
    for rung in rungs:
        tried = "; ".join(
            f"{_shape(one.options)}: {-one.score:.4f}"
            if one.outcome == "finished"
            else f"{_shape(one.options)}: failed"
            for one in rung.found.attempts
        )
        decisions.append(
            {
                "question": f"In which shape does {rung.limit.name} lose least?",
                "decision": _shape(rung.found.best.options),
                "evidence": f"Validation loss after a short distillation: {tried}.",
            }
        )
    return Section(kind="decisions", title="How it was decided", content=decisions)


def _shape(options: Mapping[str, Any]) -> str:
    how = {0.0: "fewer units", 1.0: "lower ranks"}.get(float(options["rank"]), "fewer units and lower ranks")
    blocks = f", {100 * float(options['cut']):.0f} % of the blocks cut" if options["cut"] else ""
    return how + blocks + ("" if options["activation"] == "same" else f", {options['activation']}")


def _no_test(split: str) -> list[DataWarning]:
    told = "There is no test split: the figures are of the validation split, and flatter."
    return [DataWarning(code="no-test", message=told)] if split == "valid" else []
