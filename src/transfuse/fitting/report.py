"""The proof: every candidate on the test split, read once, and what the differences are worth in words."""

from collections.abc import Sequence
from typing import Any

from transfuse.core.durations import spoken
from transfuse.core.nouns import DataWarning, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.compare import difference, in_words
from transfuse.evaluating.sections import detailed
from transfuse.evaluating.text_baseline import NAME, against, text_baseline
from transfuse.fitting import fusing, populations, tables
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.progress import Progress
from transfuse.measuring.metrics import PRIMARY
from transfuse.sources.inputs import notes_on
from transfuse.sources.texts.words import counts_words
from transfuse.tuning.recording import learning_curves


def evidence(
    model: Model, chosen: Candidate, progress: Progress, task: Task, *, command: str, budget: float | None, run: Run
) -> dict[str, Any]:
    """`metrics` and `report` of the model that `fit` gives."""
    split = "test" if "test" in task.splits else "valid"
    everyone = progress.candidates if chosen in progress.candidates else [chosen, *progress.candidates]
    assessments = {candidate.name: assess(candidate.model, task.splits[split]) for candidate in everyone}
    rows = [_row(candidate, assessments[candidate.name]) for candidate in everyone]
    words = text_baseline(task, seed=task.seed).assess(task.splits[split]) if task.modality == "text" else None
    rows.sort(key=lambda row: row["validation"], reverse=True)
    if words is not None:
        rows.append(plain_row(NAME, words))
    sections = [
        _path(progress),
        learning_curves({c.name: c.curves for c in everyone}, PRIMARY[task.kind]),
        *detailed(assessments[chosen.name]),
        Section(kind="provenance", title="How it was made", content=plain(model.provenance)),
    ]
    report = Report(
        title=f"{task.name}: {chosen.name}",
        columns=tuple(rows[0]),
        rows=tuple({**row, "chosen": row["model"] == chosen.name} for row in rows),
        summary=(
            f"Chosen {'out of fold' if _by_folds(chosen, task) else 'on the validation split'}: {chosen.name}.",
            *_found(task, chosen, progress.candidates, assessments, split),
            *_beside_words(chosen, progress.candidates, assessments, words, split),
            *progress.notes,
            *([] if budget is None else [_spent(budget, run, progress)]),
        ),
        sections=tuple(section for section in sections if section.kind != "curves" or section.content["series"]),
        warnings=(*progress.warnings, *_about_inputs(chosen, task), *task.warnings, *_about_split(split)),
        command=command,
    )
    return {"metrics": {split: assessments[chosen.name].all_measured()}, "report": report}


def _spent(budget: float, run: Run, progress: Progress) -> str:
    told = f"Took {spoken(budget - run.remaining())} of a budget of {spoken(budget)}."
    return told + (" Stopped by the user." if progress.interrupted else "")


def _by_folds(chosen: Candidate, task: Task) -> bool:
    """Whether answers out of fold stand in for the validation split (see `fusing`)."""
    return chosen.validation.examples.digests == task.splits["train"].digests


def _path(progress: Progress) -> Section:
    """The decisions in order, with the numbers that decided."""
    return Section(kind="decisions", title="How it was decided", content=[plain(d) for d in progress.decisions])


def _row(candidate: Candidate, assessment: Assessment) -> dict[str, Any]:
    return plain_row(
        candidate.name,
        assessment,
        validation=round(candidate.score[0], 4),
        steps=candidate.facts.get("steps", 0),
        seconds=round(candidate.seconds, 1),
    )


def _found(
    task: Task, chosen: Candidate, everyone: Sequence[Candidate], assessments: dict[str, Assessment], split: str
) -> list[str]:
    if task.modality == "table":
        return [f"{finding} [{split} split]" for finding in tables.findings(chosen, everyone, assessments)]
    return _findings(chosen, everyone, assessments, split)


def _findings(
    chosen: Candidate, everyone: Sequence[Candidate], assessments: dict[str, Assessment], split: str
) -> list[str]:
    """The chosen model against scratch and against the best probe, by paired differences.

    `everyone` learnt from the training split alone: one that was refitted on more would not be a fair opponent.
    """
    findings = []
    metric = PRIMARY[assessments[chosen.name].kind]
    mine = [c for c in everyone if c.learnt_from == "target"]
    transferred = max((c for c in mine if c.transferred), key=lambda c: c.score, default=None)
    scratch = next((c for c in everyone if c.method == "scratch"), None)
    probe = max((c for c in mine if c.method == "probe"), key=lambda c: c.score)
    if transferred is None:
        findings.append("Nothing was transferred: there was no pretrained source, and the words were counted.")
    elif scratch is None and not probe.parts:
        findings.append("What transfer bought was not measured: nothing was trained from scratch.")
    elif scratch is not None:
        gap = difference(assessments[transferred.name], assessments[scratch.name])
        findings.append(_what_transfer_bought(transferred, scratch, everyone, gap, metric))
    if probe is not chosen and not probe.parts:
        gap = difference(assessments[chosen.name], assessments[probe.name])
        findings.append(in_words(chosen.name, probe.name, metric, gap))
    findings += [*fusing.findings(chosen, everyone, assessments), *populations.findings(everyone, assessments)]
    return [f"{finding} [{split} split]" for finding in findings]


def _beside_words(
    chosen: Candidate,
    everyone: Sequence[Candidate],
    assessments: dict[str, Assessment],
    words: Assessment | None,
    split: str,
) -> list[str]:
    """Whether the best of what a pretrained source knows beats tf-idf, and the built-in words where they stand beside.

    Told of the chosen model when it knows more than words.
    """
    known = [c for c in everyone if c.transferred]
    if words is None or not known:
        return []
    told = chosen if chosen.transferred else max(known, key=lambda c: c.score)
    counted = [c for c in everyone if counts_words(c.source) and c.learnt_from == "target"]
    rivals = [(NAME, words), *((c.name, assessments[c.name]) for c in counted[:1])]
    return [f"{against(told.name, assessments[told.name], rival, name)} [{split} split]" for name, rival in rivals]


def _what_transfer_bought(
    best: Candidate, scratch: Candidate, everyone: Sequence[Candidate], gap: dict[str, float], metric: str
) -> str:
    sentence = in_words(best.name, scratch.name, metric, gap) + _about_steps(everyone, scratch)
    if gap["high"] < 0:
        return f"NEGATIVE TRANSFER. {sentence} The source hurts here."
    if gap["low"] <= 0:
        return f"Transfer is not proven to help. {sentence}"
    return f"Transfer helped. {sentence}"


def _about_steps(everyone: Sequence[Candidate], scratch: Candidate) -> str:
    """Says so when the baseline was trained for less than wanted, which flatters the transfer."""
    steps = scratch.facts["steps"]
    wanted = max(candidate.facts.get("steps_wanted", 0) for candidate in everyone)
    cut = scratch.facts["stopped_by"] != "patience" and steps < wanted
    return f" Scratch was cut to {steps} of {wanted} steps by the budget, which flatters the transfer." if cut else ""


def _about_inputs(chosen: Candidate, task: Task) -> tuple[DataWarning, ...]:
    """What the chosen source does to the examples, such as cutting long texts."""
    return notes_on(task.splits["train"].items, chosen.model.preprocessing)


def _about_split(split: str) -> list[DataWarning]:
    if split == "test":
        return []
    message = (
        "There is no test split: the figures are of the validation split, on which choices were made, and flatter."
    )
    return [DataWarning(code="no-test", message=message)]
