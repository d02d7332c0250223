"""What every task gained or lost by sharing: each on its own test split, which is read once, by paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transfuse.core.nouns import DataWarning, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import sharing_a_trunk
from transfuse.transferring.sharing.splitting import Gap, Round, Sharing
from transfuse.tuning.recording import learning_curves

Models = Mapping[str, Model]
Found = dict[str, Assessment]
SHARED, ALONE, TOGETHER = "shared trunk", "own model", "shared by all"


def evidence(
    kept: Models, others: Mapping[str, Models], tasks: Sequence[Task], sharing: Sharing, *, run: Run, command: str
) -> dict[str, Model]:
    """The models with their metrics and one report of all; of the validation split where there is no test split."""
    found = {task.name: _assessed(task, kept, others, sharing, run) for task in tasks}
    rows = [row for task in tasks for row in _rows(task, found[task.name], sharing)]
    first = next(iter(kept.values()))
    summary = (
        *(sentence for task in tasks for sentence in _gains(task, found[task.name], sharing)),
        *_trunks(kept, sharing),
        *_facts(first, sharing),
    )
    report = Report(
        title=f"{', '.join(kept)} on {len(sharing_a_trunk(kept))} trunk(s)",
        columns=tuple(dict.fromkeys(column for row in rows for column in row)),
        rows=tuple(rows),
        summary=summary,
        sections=_sections(kept, found, tasks, sharing),
        warnings=tuple(warning for task in tasks for warning in _warnings(task)),
        command=command,
    )
    return {
        task.name: replace(
            kept[task.name],
            metrics={_split_of(task): found[task.name][_kept_as(task, sharing)].all_measured()},
            report=report,
        )
        for task in tasks
    }


def _split_of(task: Task) -> str:
    return "test" if "test" in task.splits else "valid"


def _kept_as(task: Task, sharing: Sharing) -> str:
    """Under which name a task's kept model is in the report."""
    mine = sharing.outcomes[task.name]
    if mine is sharing.alone.get(task.name):
        return ALONE
    return TOGETHER if mine is sharing.together[task.name] and _was_split(sharing) else SHARED


def _was_split(sharing: Sharing) -> bool:
    return any(one.left is not None for one in sharing.rounds)


def _assessed(task: Task, kept: Models, others: Mapping[str, Models], sharing: Sharing, run: Run) -> Found:
    """Every model of a task on the same examples, the kept one first."""
    examples = task.splits[_split_of(task)]
    wanted = {_kept_as(task, sharing): kept[task.name]}
    if task.name in others["alone"]:
        wanted.setdefault(ALONE, others["alone"][task.name])
    if _was_split(sharing):
        wanted.setdefault(TOGETHER, others["together"][task.name])
    return {name: assess(model, examples, run=run) for name, model in wanted.items()}


def _rows(task: Task, found: Found, sharing: Sharing) -> list[dict[str, Any]]:
    metric, kept = PRIMARY[task.kind], _kept_as(task, sharing)
    rows = []
    for name, one in found.items():
        row: dict[str, Any] = {"task": task.name, "model": name, "kept": "yes" if name == kept else "no"}
        row |= {"metric": metric, "value": one.measured(metric)}
        if name != ALONE and ALONE in found:
            gap = difference(one, found[ALONE])
            row["over its own model"] = {end: gap[end] for end in ("value", "low", "high", "n")}
        rows.append(row)
    return rows


def _gains(task: Task, found: Found, sharing: Sharing) -> list[str]:
    """What sharing did to a task, in words."""
    kept, split = _kept_as(task, sharing), _split_of(task)
    shared = next((name for name in (kept, TOGETHER, SHARED) if name in found and name != ALONE), None)
    if ALONE not in found and sharing.rounds:
        return [f"What '{task.name}' gained by sharing is not known: there was no time for its own model."]
    if shared is None or ALONE not in found:
        return []
    gap = difference(found[shared], found[ALONE])
    verdict = "gained" if gap["low"] > 0 else "LOST" if gap["high"] < 0 else "neither gained nor lost, provably,"
    words = capitalised(in_words("the shared trunk", "its own model", PRIMARY[task.kind], gap))
    return [f"'{task.name}' {verdict} by sharing. {words} [{split} split]"]


def _trunks(kept: Models, sharing: Sharing) -> list[str]:
    groups = [" + ".join(names) for names in sharing_a_trunk(kept)]
    if len(groups) > 1:
        return [f"SPLIT into {len(groups)} trunks, for tasks hurt each other: {'; '.join(groups)}."]
    if sharing.rounds:
        return [f"All {len(kept)} tasks stay on one trunk: on validation none is proven worse than its own model."]
    if sharing.alone or sharing.interrupted:
        return ["What sharing gained or cost is not known: work was stopped before every task was trained alone."]
    if next(iter(sharing.outcomes.values())).curves:
        return ["What sharing gained or cost is not known: no task was trained alone."]
    return ["The trunk is frozen, so nobody hurts anybody: every head is the one that its task would have alone."]


def _facts(first: Model, sharing: Sharing) -> list[str]:
    """How the tasks were trained together."""
    facts = next(iter(sharing.together.values())).facts
    lines = [f"Source: {facts['loaded']}."]
    if "rate" not in facts:
        return lines
    balancing = first.provenance.options["balancing"]
    weights = {name: outcome.facts.get("loss_weight") for name, outcome in sharing.together.items()}
    told = ", ".join(f"{name} {weight:.3g}" for name, weight in weights.items() if weight is not None)
    return [
        *lines,
        f"Together for {facts['steps']} of {facts['steps_wanted']} steps at a learning rate of {facts['rate']:g};"
        f" stopped by {facts['stopped_by']}. Losses balanced by {balancing}{f', at last {told}' if told else ''}.",
    ]


def _sections(kept: Models, found: Mapping[str, Found], tasks: Sequence[Task], sharing: Sharing) -> tuple[Section, ...]:
    sections = [_decisions(sharing, {task.name: PRIMARY[task.kind] for task in tasks})] if sharing.rounds else []
    for task in tasks:
        curves = {SHARED: sharing.together[task.name].curves}
        if task.name in sharing.alone:
            curves[ALONE] = sharing.alone[task.name].curves
        drawn = [learning_curves(curves, PRIMARY[task.kind])] if curves[SHARED] else []
        parts = [*drawn, *detailed(found[task.name][_kept_as(task, sharing)])]
        sections += [replace(part, title=f"{task.name}: {part.title.lower()}") for part in parts]
    provenance = next(iter(kept.values())).provenance
    return (*sections, Section(kind="provenance", title="How it was made", content=plain(provenance)))


def _decisions(sharing: Sharing, metrics: Mapping[str, str]) -> Section:
    """Every round of splitting with the numbers that decided."""
    content = [
        {
            "question": f"Does sharing hurt one of {', '.join(one.members)}?",
            "evidence": " ".join(_gap(name, metrics[name], gap, one.level) for name, gap in one.gaps.items())
            + " (validation)",
            "decision": _decided(one),
        }
        for one in sharing.rounds
    ]
    return Section(kind="decisions", title="How it was decided", content=content)


def _gap(name: str, metric: str, gap: Gap, level: float) -> str:
    return (
        f"{name}: {metric} {gap['value']:+.4f} over its own model ({level:.1%} interval {gap['low']:+.4f} to"
        f" {gap['high']:+.4f}, n = {gap['n']:.0f})."
    )


def _decided(one: Round) -> str:
    return "No: they share." if one.left is None else f"Yes: '{one.left}' gets a trunk of its own."


def _warnings(task: Task) -> list[DataWarning]:
    warnings = [replace(warning, message=f"{task.name}: {warning.message}") for warning in task.warnings]
    if _split_of(task) == "valid":
        told = f"{task.name}: there is no test split: the figures are of the validation split, and flatter."
        warnings.append(DataWarning(code="no-test", message=told))
    return warnings
