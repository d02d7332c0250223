"""The door of the room: Source x Task -> Model, the step recorded, the evidence beside it."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core.nouns import DataWarning, Model, Report, Section, Source, Step, Task
from transfuse.core.provenance import options_of, plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row
from transfuse.evaluating.sections import detailed
from transfuse.evaluating.text_baseline import NAME, against, text_baseline
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.guarding import guarded
from transfuse.sources.inputs import notes_on
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.sources.tables.references import changed_lines
from transfuse.tasks.opening import open_task, require_modality
from transfuse.transferring.options import arranged
from transfuse.transferring.sharing.share import share
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described, learning_curves


def transfer(
    source: Source | str | Path,
    data: Any,
    *,
    method: str = "finetune",
    name: str | None = None,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> Model | dict[str, Model]:
    """Adapt one source to one task by one method, and measure the result on the test split, once.

    Args:
        source: A Source or a reference such as `timm:resnet18`.
        data: A Task, or whatever one can be opened from; for the method `shared` a list of them, which gives a Model
            for each by the name of its task.
        method: A name in `transferring.methods.METHODS`.
        name: Name of the model; by default made of method, source and task.
        trust_code: Allow a source that is built by the user's own function.
        run: Deadline, checkpoint folder, watcher.
        command: What repeats this, for the report.
        options: Of the method: `steps`, `rate`, `loss`, `class_weights`, `head`, ... (see `Fit`, `HeadShape`).

    Raises:
        UnknownName: A method or an option that does not exist.
        UsageError, DataError, SourceError, WeightsError: See their docstrings.
    """
    if method == "shared":
        return share(source, data, name=name, trust_code=trust_code, run=run, command=command, **options)
    task = data if isinstance(data, Task) else open_task(data, seed=options.get("seed", 0), run=run)
    source = find(str(source), trust_code=trust_code) if not isinstance(source, Source) else source
    model, outcome = carried_out(source, task, method=method, name=name, run=run, options=options)
    model = guarded(model, task, run=run)
    evidence = _evidence(model, outcome, task, run, command)
    warnings = (*about_columns(source, task), *evidence["report"].warnings)
    return replace(model, **{**evidence, "report": replace(evidence["report"], warnings=warnings)})


def carried_out(
    source: Source, task: Task, *, method: str, name: str | None, run: Run, options: dict[str, Any]
) -> tuple[Model, Outcome]:
    """Call the method and record the step; nothing is read from the test split."""
    source = suited(source, task)
    require_modality(task, source.modality)
    function, arguments = arranged(method, options)
    started = time.monotonic()
    outcome: Outcome = function(source, task, run=run, **arguments)
    step = Step(
        verb="transfer",
        method=method,
        options={**options_of(function, arguments), "run": None, "found": plain(outcome.facts)},
        inputs=(described(source), described(task)),
        digests={"source": source.digest, "task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    return as_model(outcome, task, step, name or f"{method} of {source.name} on {task.name}"), outcome


def _evidence(model: Model, outcome: Outcome, task: Task, run: Run, command: str) -> dict[str, Any]:
    """Metrics and report; on the validation split, and said so, when there is no test split."""
    split = "test" if "test" in task.splits else "valid"
    assessment = assess(model, task.splits[split], run=run)
    sections = [
        *detailed(assessment),
        Section(kind="provenance", title="How it was made", content=plain(model.provenance)),
    ]
    if outcome.curves:
        sections.insert(0, learning_curves({model.provenance.method: outcome.curves}, PRIMARY[task.kind]))
    warnings = [*about_preprocessing(outcome, task), *task.warnings]
    if split == "valid":
        warnings.append(
            DataWarning(
                code="no-test", message="There is no test split: the figures are of the validation split, and flatter."
            )
        )
    report = _report(model, assessment, sections, warnings, command)
    if task.modality == "text":
        report = _beside_words(report, assessment, task, split)
    return {"metrics": {split: assessment.all_measured()}, "report": report}


def _beside_words(report: Report, assessment: Assessment, task: Task, split: str) -> Report:
    """The report with the row of a model that counts words, and whether it was beaten."""
    started = time.monotonic()
    words = text_baseline(task, seed=task.seed).assess(task.splits[split])
    row = plain_row(NAME, words, seconds=round(time.monotonic() - started, 3))
    sentence = f"{against(report.rows[0]['model'], assessment, words)} [{split} split]"
    return replace(report, rows=(*report.rows, row), summary=(sentence, *report.summary))


def about_columns(source: Source, task: Task) -> tuple[DataWarning, ...]:
    """What differs between the table that the source learnt from and the task's."""
    lines = changed_lines(source, task)
    message = (
        f"The columns of '{source.name}' and of the data differ in {len(lines)} point(s): - gone, + new, ~ changed."
    )
    return (DataWarning(code="columns-differ", message=message, places=lines, severity="note"),) if lines else ()


def about_preprocessing(outcome: Outcome, task: Task) -> list[DataWarning]:
    """A warning when the source does not say how it wants its pictures: a wrong guess costs more than methods win.

    Of texts, a note on how many are cut.
    """
    notes = list(notes_on(task.splits["train"].items, outcome.preprocessing))
    if outcome.preprocessing.known or task.modality not in ("image", "sound"):
        return notes
    message = (
        "The source does not say how its pictures were prepared; ImageNet's mean and deviation were assumed. Give"
        " --mean, --std, --size and --range if you know them."
    )
    return [*notes, DataWarning(code="assumed-preprocessing", message=message)]


def _report(
    model: Model, assessment: Assessment, sections: list[Section], warnings: list[DataWarning], command: str
) -> Report:
    row = plain_row(model.provenance.method, assessment, seconds=model.provenance.seconds)
    found = model.provenance.options["found"]
    return Report(
        title=model.name,
        columns=tuple(row),
        rows=(row,),
        summary=tuple(_sentences(found)),
        sections=tuple(sections),
        warnings=tuple(warnings),
        command=command,
    )


def _sentences(found: dict[str, Any]) -> list[str]:
    sentences = [f"Source: {found['loaded']}."] if "loaded" in found else []
    if found.get("deviation") is not None:
        sentences.append(f"Features in {found['precision']} differ by {found['deviation']:.2%} from float32.")
    if "rate" in found:
        tried = len({trial["rate"] for trial in found["rate_search"]})
        sentences.append(
            f"Trained for {found['steps']} of {found['steps_wanted']} steps at a learning rate of {found['rate']:g}"
            f"{f', the best of {tried} tried' if tried else ''}; stopped by {found['stopped_by']}."
        )
        sentences.append(f"Augmentation: {found['augmentation']}")
    if "pretraining" in found:
        told = found["pretraining"]
        sentences.append(
            f"Learnt from {told['rows']} rows without their labels first: {told['loss']:.0%} of what knowing nothing of"
            f" a cell costs is left, {told['loss_before']:.0%} before."
        )
    if "robustness" in found:
        sentences += _robust(found["robustness"])
    if "interpolation" in found:
        alpha = found["interpolation"]["alpha"]
        sentences.append(f"Kept {alpha:.0%} of the way from the source to the trained weights.")
    return sentences


def _robust(told: dict[str, Any]) -> list[str]:
    """What robustness brought and cost, on the validation split."""
    said = {name: f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})" for name, one in _flat(told).items()}
    size = f"eps {told['eps']:.4g} ({told['norm']}), n = {told['robust']['n']}"
    sentences = [
        f"Trained on attacked pictures ({told['attack']}): on the validation split {said['robust']} under PGD-20 with"
        f" {size}, {said['clean']} without attack; its best weights were chosen there, which flatters a little."
    ]
    if "plain" in told:
        cost = told["plain"]["clean"]["value"] - told["clean"]["value"]
        sentences.append(
            f"The same without attacks in training: {said['plain robust']} under PGD-20, {said['plain clean']} without"
            f" attack. Robustness costs {100 * cost:.1f} points of the clean figure."
        )
    return sentences


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    own = {name: told[name] for name in ("clean", "robust")}
    return own | {f"plain {name}": one for name, one in told.get("plain", {}).items()}
