"""What reshaping changed: answers, accuracy on the same examples, parameters, multiply-adds, milliseconds."""

from collections.abc import Mapping
from typing import Any

import torch

from transfuse.core.nouns import DataWarning, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.costs import Costs, costs_of
from transfuse.tuning.sampling import made_up

BEFORE, AFTER = "before", "after"


def evidence(
    before: Model, after: Model, task: Task | None, facts: Mapping[str, Any], *, run: Run, command: str
) -> dict[str, Any]:
    """Metrics and report; accuracy is compared when there is a task and the classes are the same."""
    costs = dict(zip((BEFORE, AFTER), costs_of((before, after)), strict=True))
    measured = task if task is not None and before.classes == after.classes else None
    split = "test" if measured and "test" in measured.splits else "valid"
    found: dict[str, Assessment] = {}
    if measured is not None:
        found = {n: assess(m, measured.splits[split], run=run) for n, m in ((BEFORE, before), (AFTER, after))}
    rows = [
        {**(plain_row(name, found[name]) if found else {"model": name}), **own.row()} for name, own in costs.items()
    ]
    report = Report(
        title=after.name,
        columns=tuple(rows[0]),
        rows=tuple(rows),
        summary=(*_verdict(before, after, found, split), *_smaller(costs), *_told(facts)),
        sections=_sections(after, found, facts),
        warnings=(*(task.warnings if task else ()), *_no_test(measured, split)),
        command=command,
    )
    return {"metrics": {split: found[AFTER].all_measured()} if found else {}, "report": report}


def _verdict(before: Model, after: Model, found: Mapping[str, Assessment], split: str) -> list[str]:
    if found:
        gap = difference(found[AFTER], found[BEFORE])
        told = in_words("the reshaped model", "the one before", PRIMARY[after.kind], gap)
        return [f"{capitalised(told)} [{split} split]"]
    if before.classes != after.classes:
        return [f"The head has {len(after.classes)} classes now; it answered for {len(before.classes)}."]
    return [f"Answers to made-up examples differ by {_difference(before, after):.1e} of the largest answer."]


def _difference(before: Model, after: Model) -> float:
    sample = made_up(before, 0)
    with torch.no_grad():
        a, b = (model.network.eval()(sample) for model in (before, after))
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))


def _smaller(costs: Mapping[str, Costs]) -> list[str]:
    a, b = costs[BEFORE], costs[AFTER]
    return [
        f"Parameters {a.parameters:,} to {b.parameters:,} ({b.parameters / max(1, a.parameters):.2f} times),"
        f" multiply-adds {b.multiply_adds / max(1, a.multiply_adds):.2f} times, an example takes"
        f" {b.milliseconds:.1f} ms instead of {a.milliseconds:.1f} ms here."
    ]


def _told(facts: Mapping[str, Any]) -> list[str]:
    """What was proven, and what could not be changed and why."""
    lines = []
    for way, own in facts.items():
        if "difference" in own:
            lines.append(f"Proven: the answers differ by at most {own['difference']:.1e} of the largest ({way}).")
        kept = dict(own.get("kept") or {}) if isinstance(own.get("kept"), Mapping) else {}
        for why in list(dict.fromkeys(kept.values()))[:3]:
            names = [name for name, reason in kept.items() if reason == why]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"Not changed: {names[0]}{more}, because {why}.")
        if own.get("not_understood"):
            lines.append(f"Not understood, so left alone: {', '.join(own['not_understood'][:3])}.")
    return lines


def _sections(after: Model, found: Mapping[str, Assessment], facts: Mapping[str, Any]) -> tuple[Section, ...]:
    sizes = [
        {"units": name, "before": size[0], "after": size[1]}
        for own in facts.values()
        for name, size in {**(own.get("grown") or {}), **(own.get("sizes") or {})}.items()
    ]
    content = {"columns": ["units", "before", "after"], "rows": sizes}
    return (
        *([Section(kind="table", title="Units of each layer", content=content)] if sizes else []),
        *(detailed(found[AFTER]) if found else ()),
        Section(kind="provenance", title="How it was made", content=plain(after.provenance)),
    )


def _no_test(task: Task | None, split: str) -> list[DataWarning]:
    told = "There is no test split: the figures are of the validation split, and flatter."
    return [DataWarning(code="no-test", message=told)] if task is not None and split == "valid" else []
