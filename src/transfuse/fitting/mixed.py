"""The part of `fit` that is for mixed tables: texts, pictures and sounds in columns go through sources of their own."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import transfuse
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import DataWarning, Modality, Model, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, measured
from transfuse.fitting.probes import bought, paying
from transfuse.fitting.progress import Progress
from transfuse.sources.references import find
from transfuse.sources.sound_sources import hearing
from transfuse.tasks.tables import columns_of
from transfuse.tasks.tables_rows import cells_of
from transfuse.training.options import Fit
from transfuse.transferring.fused_probe import Joined
from transfuse.transferring.mixed_probe import Seen, joined_columns, mixed_probe, sees_cells
from transfuse.transferring.outcome import Outcome
from transfuse.transferring.transfer import as_model, described

_SEES: Mapping[str, Modality] = {"picture": "image", "text": "text", "sound": "sound"}
"""What a column's source must take, by the column's role."""
_SHARE = 0.5
"""Of the time that is left, for the features of texts, pictures and sounds."""


def fuse_columns(found: Sequence[Source], task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """The probe of all kinds of columns side by side, as far as each raises what is right out of fold.

    Raises `BudgetError` when the time does not allow it and nothing else was made.
    """
    seen = seen_columns(found, task, progress)
    if not seen or progress.interrupted:
        return
    started, fit = time.monotonic(), _fit(options)
    try:
        every = joined_columns(seen, task, fit=fit, run=run.part("mixed", run.remaining() * _SHARE))
    except BudgetError as error:
        if not progress.candidates:
            raise
        progress.warn("budget", f"Texts and pictures of the table were not used: {error} Give a longer `budget`.")
        return
    kept = paying(every)
    left = "".join(f"; {name} does not raise the evidence" for name in every.rejected)
    told = f"Out of fold: {bought(every) or 'nothing is better than none'}{left}."
    if not any(map(sees_cells, kept.probes.values())):
        progress.decide("Which columns know what?", told, "Plain columns and counted words are enough.")
        return
    progress.decide("Which columns know what?", told, f"{' + '.join(kept.probes)}.")
    model, outcome = _fused(kept, seen, task, fit, started)
    candidate = measured(
        model, seen[0].source, task, method="fused_probe", out_of_fold_NC=outcome.out_of_fold_NC,
        options={**options, "columns": [one.column for one in _used(kept, seen)]},
    )  # fmt: skip
    progress.candidates.append(replace(candidate, parts=tuple(one.source for one in _used(kept, seen))))


def fused_again(candidate: Candidate, task: Task, run: Run) -> Model:
    """The same columns by the same sources on another task's rows."""
    pairs = zip(candidate.options["columns"], candidate.parts, strict=True)
    seen = [Seen(column=column, source=source) for column, source in pairs]
    started, fit = time.monotonic(), _fit(candidate.options)
    found = joined_columns(seen, task, fit=fit, run=run, every=True)
    found = replace(found, probes={name: found.probes[name] for name in candidate.facts["sources"]})
    return _fused(found, seen, task, fit, started)[0]


def seen_columns(found: Sequence[Source], task: Task, progress: Progress) -> list[Seen]:
    """Each column of texts, pictures or sounds with every source that takes such.

    Pictures are seen by the built-in source if none is given, and sounds by every source of pictures. Sources without a
    column, and texts without a source, are said.
    """
    columns = {column.name: _SEES[column.role] for column in columns_of(task).columns if column.role in _SEES}
    given = [source for source in found if source.modality != "table"]
    files = {"image", "sound"} & set(columns.values())
    if files and not any(source.modality in ("image", *files) for source in given):
        given.append(find("builtin"))
        noun = " and ".join(_NOUNS[modality] for modality in sorted(files))
        progress.notes.append(f"No source of {noun} was given: the built-in one sees those of the table.")
    for source in given:
        takes = {"image", "sound"} if source.modality == "image" else {source.modality}
        if not takes & set(columns.values()):
            message = f"'{source.name}' is a source of {_NOUNS[source.modality]}, of which the table has no column."
            progress.warnings.append(DataWarning(code="source-left-out", message=message))
    seen = [one for name, wanted in columns.items() for s in given for one in _seeing(name, wanted, s, task)]
    blind = [name for name, wanted in columns.items() if name not in {one.column for one in seen}]
    if blind:
        message = (
            f"Free text in {', '.join(map(repr, blind))} is taken as counts of words. A source of texts, such as"
            " --source hf:NAME, may know more."
        )
        progress.warnings.append(DataWarning(code="text-without-source", message=message, severity="note"))
    return seen


_NOUNS: Mapping[str, str] = {"image": "pictures", "text": "texts", "sound": "sounds"}


def _seeing(column: str, wanted: Modality, source: Source, task: Task) -> list[Seen]:
    """The column by the source, if it takes such."""
    if wanted == "sound" and source.modality == "image":
        cells = cells_of(task.splits["train"].items, column, paths=True)
        source = hearing(source, [cell for cell in cells if cell is not None])
    return [Seen(column=column, source=source)] if source.modality == wanted else []


def _used(found: Joined, seen: Sequence[Seen]) -> list[Seen]:
    return [one for one in seen if f"{one.column} by {one.source.name}" in found.probes]


def _fit(options: Mapping[str, Any]) -> Fit:
    return Fit(**{name: options[name] for name in ("seed", "class_weights") if name in options})


def _fused(found: Joined, seen: Sequence[Seen], task: Task, fit: Fit, started: float) -> tuple[Model, Outcome]:
    outcome = mixed_probe(found, task, fit=fit)
    sources = {one.source.digest: one.source for one in _used(found, seen)}
    step = Step(
        verb="fuse",
        method="fused_probe",
        options={"fit": plain(fit), "found": plain(outcome.facts)},
        inputs=(*(described(source) for source in sources.values()), described(task)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    columns = (name.removeprefix("words of ").partition(" by ")[0] for name in found.probes)
    return as_model(outcome, task, step, f"fused probe of {' + '.join(dict.fromkeys(columns))}"), outcome
