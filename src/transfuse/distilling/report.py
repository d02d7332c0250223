"""What distilling bought: teacher, student distilled and student alone on the same examples, by pairs, in words."""

from typing import Any

from transfuse.core.nouns import DataWarning, Model, Report, Section
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.students import Plan
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import learning_curves

DISTILLED, ALONE, TEACHER = "student distilled", "student alone", "teacher"


def evidence(
    model: Model, outcome: Outcome, other: Model | None, plan: Plan, *, run: Run, command: str
) -> dict[str, Any]:
    """Metrics and report; on the validation split, and said so, when there is no test split."""
    split = "test" if "test" in plan.task.splits else "valid"
    examples = plan.task.splits[split]
    models = {TEACHER: plan.teacher.model(plan.task), DISTILLED: model, **({ALONE: other} if other else {})}
    found = {name: assess(one, examples, run=run) for name, one in models.items()}
    rows = [plain_row(name, found[name], parameters=_size(one), steps=_steps(one)) for name, one in models.items()]
    report = Report(
        title=model.name,
        columns=tuple(rows[0]),
        rows=tuple(rows),
        summary=(*verdicts(found, split), *_facts(outcome, plan, models)),
        sections=_sections(model, outcome, found, plan),
        warnings=(*plan.task.warnings, *_no_test(split)),
        command=command,
    )
    return {"metrics": {split: found[DISTILLED].all_measured()}, "report": report}


def verdicts(found: dict[str, Assessment], split: str) -> list[str]:
    """Whether distilling helped, and what is missing to the teacher, by paired differences."""
    student, metric = found[DISTILLED], PRIMARY[found[DISTILLED].kind]
    lines = []
    if ALONE in found:
        gap = difference(student, found[ALONE])
        helped = "Distilling helped." if gap["low"] > 0 else "DISTILLING IS NOT PROVEN TO HELP."
        helped = "DISTILLING HURT." if gap["high"] < 0 else helped
        sentence = capitalised(in_words("the distilled student", "the student alone", metric, gap))
        lines.append(f"{helped} {sentence} [{split} split]")
    else:
        lines.append("Whether distilling helped is not known: the student was not trained alone.")
    to_teacher = difference(student, found[TEACHER])
    lines.append(f"{capitalised(in_words('the distilled student', 'its teacher', metric, to_teacher))} [{split} split]")
    return lines


def _facts(outcome: Outcome, plan: Plan, models: dict[str, Model]) -> list[str]:
    facts, count, whole = outcome.facts, _size(models[DISTILLED]), _size(models[TEACHER])
    asked = f"its answers about {facts['views']} view(s) of every example were kept" if facts["views"] else "asked live"
    lines = [
        f"The student has {count:,} parameters, {whole / max(count, 1):.1f} times fewer than its teacher's {whole:,}.",
        f"Minimised: {facts['sum']}; teacher: {asked}.",
        f"Trained for {facts['steps']} of {facts['steps_wanted']} steps at a rate of {facts['rate']:g}; stopped"
        f" by {facts['stopped_by']}. Augmentation: {facts['augmentation']}",
    ]
    if ALONE in models and _steps(models[ALONE]) != facts["steps"]:
        lines.append(f"The student alone stopped after {_steps(models[ALONE])} steps, by the same rules.")
    if facts["pairs"]:
        told = "; ".join(f"{pair['student']} - {pair['teacher']} ({pair['similarity']:.2f})" for pair in facts["pairs"])
        lines.append(f"Layers in pairs, with their similarity (CKA) before training: {told}.")
    if facts["copied"]:
        lines.append(
            f"Later operations overwrite these layers, so they were copied first: {', '.join(facts['copied'])}."
        )
    return lines


def _sections(model: Model, outcome: Outcome, found: dict[str, Assessment], plan: Plan) -> tuple[Section, ...]:
    metric = PRIMARY[plan.task.kind]
    return (
        learning_curves({DISTILLED: outcome.curves}, metric),
        *detailed(found[DISTILLED]),
        Section(kind="provenance", title="How it was made", content=plain(model.provenance)),
    )


def _no_test(split: str) -> list[DataWarning]:
    told = "There is no test split: the figures are of the validation split, and flatter."
    return [DataWarning(code="no-test", message=told)] if split == "valid" else []


def _size(model: Model) -> int:
    return sum(parameter.numel() for parameter in model.network.parameters())


def _steps(model: Model) -> int | None:
    found = model.provenance.options.get("found") or {}
    steps: int | None = found.get("steps") if model.provenance.verb in ("distill", "transfer") else None
    return steps
