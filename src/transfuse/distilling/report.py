"""What distilling bought: teacher, student distilled and student alone on the same examples, by pairs, in words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from transfuse.core.nouns import DataWarning, Examples, Model, Report, Section, Step
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.preparing import Plan
from transfuse.distilling.repeating import Taught
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.measuring.metrics import PRIMARY
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, learning_curves

DISTILLED, ALONE, TEACHER = "student distilled", "student alone", "teacher"
HARD = "student of hard answers"
"""Without labels: trained alone on what the teacher answers, as if these were labels."""


def evidence(model: Model, found: Taught, other: Model | None, *, run: Run, command: str) -> dict[str, Any]:
    """Metrics and report; on the validation split, and said so, when there is no test split."""
    plan, outcome = found.plan, found.outcome
    split = "test" if "test" in plan.task.splits else "valid"
    examples = plan.task.splits[split]
    reference = HARD if plan.label_free else ALONE
    models = {DISTILLED: model, **({reference: other} if other else {})}
    taught, sizes = _of_teachers(plan, examples, split, run)
    students = {name: assess(one, examples, run=run) for name, one in models.items()}
    rows = [plain_row(name, taught[name], parameters=sizes[name], steps=_taught_steps(plan)) for name in taught]
    rows += [plain_row(name, students[name], parameters=_size(one), steps=_steps(one)) for name, one in models.items()]
    every = {**taught, **students}
    report = Report(
        title=model.name,
        columns=tuple(rows[0]),
        rows=tuple(rows),
        summary=(*verdicts(every, split, reference), *several(found, split, run), *facts(outcome, plan, models)),
        sections=_sections(model, outcome, every, plan),
        warnings=(*plan.task.warnings, *_no_test(split)),
        command=command,
    )
    return {"metrics": {split: students[DISTILLED].all_measured()}, "report": report}


def _of_teachers(plan: Plan, examples: Examples, split: str, run: Run) -> tuple[dict[str, Assessment], dict[str, int]]:
    """The mean of teachers who know all classes as one row; a row for each where one of them does not."""
    theirs = examples if plan.heard is None else plan.heard[split]
    outputs = [teacher.probabilities(theirs, plan.task, run) for teacher in plan.teachers]
    names = [f"{TEACHER} {teacher.name}" for teacher in plan.teachers]
    sizes = [teacher.size for teacher in plan.teachers]
    if outputs and all(teacher.whole for teacher in plan.teachers):
        outputs, names, sizes = [np.mean(outputs, 0)], [TEACHER], [sum(sizes)]
    assessed = [
        Assessment(
            kind=plan.task.kind, classes=plan.task.classes, examples=examples, outputs_NC=outputs_NC,
            modality=plan.task.modality, preprocessing=plan.student.preprocessing,
        )
        for outputs_NC in outputs
    ]  # fmt: skip
    return dict(zip(names, assessed, strict=True)), dict(zip(names, sizes, strict=True))


def _taught_steps(plan: Plan) -> int | None:
    return _steps(plan.teachers[0].model) if len(plan.teachers) == 1 else None


def verdicts(found: dict[str, Assessment], split: str, reference: str = ALONE) -> list[str]:
    """Whether distilling helped, and what is missing to the teacher, by paired differences."""
    student, metric = found[DISTILLED], PRIMARY[found[DISTILLED].kind]
    lines = []
    if reference in found:
        gap = difference(student, found[reference])
        helped = "Distilling helped." if gap["low"] > 0 else "DISTILLING IS NOT PROVEN TO HELP."
        helped = "DISTILLING HURT." if gap["high"] < 0 else helped
        sentence = capitalised(in_words("the distilled student", f"the {reference}", metric, gap))
        lines.append(f"{helped} {sentence} [{split} split]")
    else:
        lines.append("Whether distilling helped is not known: the student was not trained alone.")
    if TEACHER in found:
        gap = difference(student, found[TEACHER])
        lines.append(f"{capitalised(in_words('the distilled student', 'its teacher', metric, gap))} [{split} split]")
    return lines


def facts(outcome: Outcome, plan: Plan, models: dict[str, Model]) -> list[str]:
    """How it was done."""
    facts, count = outcome.facts, _size(models[DISTILLED])
    whole = sum(teacher.size for teacher in plan.teachers)
    fewer = f", {whole / max(count, 1):.1f} times fewer than its teacher's {whole:,}" if whole > count else ""
    lines = [
        f"Classes of '{teacher.name}': {teacher.matched.told}."
        for teacher in plan.teachers
        if not teacher.whole or teacher.matched.left_out or teacher.matched.renamed
    ]
    lines += [
        f"The student has {count:,} parameters{fewer}.",
        f"Minimised: {facts['sum']}; teacher: {_asked(outcome, plan)}.",
        *_examples(plan),
        f"Trained for {facts['steps']} of {facts['steps_wanted']} steps at a rate of {facts['rate']:g}; stopped"
        f" by {facts['stopped_by']}. Augmentation: {facts['augmentation']}",
    ]
    if ALONE in models and _steps(models[ALONE]) != facts["steps"]:
        lines.append(f"The student alone stopped after {_steps(models[ALONE])} steps, by the same rules.")
    for name in dict.fromkeys(pair["teacher_name"] for pair in facts["pairs"]):
        pairs = [pair for pair in facts["pairs"] if pair["teacher_name"] == name]
        told = "; ".join(f"{pair['student']} - {pair['teacher']} ({pair['similarity']:.2f})" for pair in pairs)
        whose = f" of {name}" if len(plan.teachers) > 1 else ""
        lines.append(f"Layers{whose} in pairs, with their similarity (CKA) before training: {told}.")
    if facts["copied"]:
        lines.append(
            f"Later operations overwrite these layers, so they were copied first: {', '.join(facts['copied'])}."
        )
    return lines


def _asked(outcome: Outcome, plan: Plan) -> str:
    if not plan.teachers:
        return "the other students" if "peers" in outcome.facts else "none"
    if plan.heard is not None:
        return "its answers about the other half of every pair were kept"
    views = outcome.facts["views"]
    kept = f"its {plan.teaching.top} largest answers" if plan.teaching.top else "its answers"
    computed = f", computed in {found}" if (found := outcome.facts.get("computed_in")) else ""
    return f"{kept} about {views} view(s) of every example were kept{computed}" if views else "asked live"


def _examples(plan: Plan) -> list[str]:
    """Who teaches which examples, where that is not plain."""
    lines = []
    if plan.extra is not None:
        lines.append(
            f"{len(plan.extra)} examples without labels beside {len(plan.task.splits['train'])} with them; these the"
            " teacher alone taught."
        )
    how = plan.teaching.teacher_weights
    if len(plan.teachers) > 1 or not isinstance(how, str) or how != "equal":
        told = how if isinstance(how, str) else "as given, example by example"
        lines.append(f"Weights of the {len(plan.teachers)} teacher(s): {told}.")
    return lines


def several(found: Taught, split: str, run: Run) -> list[str]:
    """What each seed, generation or peer reached; which was kept was decided by validation alone."""
    plan, lines = found.plan, []
    metric = PRIMARY[plan.task.kind]
    if found.generations:
        told = ", ".join(f"{row['generation']}: {row[metric]:.4g}" for row in found.generations)
        kept = max(found.generations, key=lambda row: (row["score"], -row["generation"]))["generation"]
        lines.append(f"Validation {metric} by generation (0 learnt from labels alone): {told}. Kept: {kept}.")
    if "peers" in found.outcome.facts:
        told = ", ".join(f"{score:.4g}" for score in found.outcome.facts["peers"])
        kept = found.outcome.facts["kept"]
        which = "the mean of all" if kept == "all" else f"number {kept + 1}"
        lines.append(f"Validation scores of the students that learnt together: {told}. Kept: {which}.")
    if found.everyone:
        lines.append(_of_seeds(found, split, metric, run))
    return lines


def _of_seeds(found: Taught, split: str, metric: str, run: Run) -> str:
    values = []
    for one in found.everyone:
        model = as_model(one.outcome, one.plan.task, Step(verb="distill"), "")
        assessed = assess(model, one.plan.task.splits[split], run=run)
        values.append(float(assessed.measured(metric)["value"]))
    told = "; ".join(
        f"seed {one.plan.fit.seed}: {one.outcome.facts['validation'][metric]:.4g} / {value:.4g}"
        for one, value in zip(found.everyone, values, strict=True)
    )
    mean, half = float(np.mean(values)), margin(values)
    return (
        f"{metric} by seed (validation / {split}): {told}. Mean {mean:.4g}, 95 % interval {mean - half:.4g} to"
        f" {mean + half:.4g} over {len(values)} seeds; kept by validation: seed {found.plan.fit.seed}."
    )


def margin(values: Sequence[float]) -> float:
    """Half of Student's 95 % interval of a mean over seeds; infinite for one."""
    if len(values) < 2:
        return float("inf")
    return float(student_t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)


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
