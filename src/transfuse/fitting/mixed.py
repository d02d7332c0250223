"""The part of `fit` that is for mixed tables: texts, pictures and sounds in columns go through sources of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transfuse.core.errors import BudgetError
from transfuse.core.nouns import DataWarning, Modality, Model, Source, Task
from transfuse.core.runs import Run
from transfuse.fitting import fusing
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.fusing import Fused
from transfuse.fitting.probes import bought, paying
from transfuse.fitting.progress import Progress
from transfuse.sources.references import find
from transfuse.sources.sounds.suiting import hearing
from transfuse.tasks.tables.opening import columns_of
from transfuse.tasks.tables.rows import cells_of
from transfuse.training.options import Fit
from transfuse.transferring.fused_probe import Joined, chosen_of
from transfuse.transferring.mixed_probe import Seen, joined_columns, sees_cells

_SEES: Mapping[str, Modality] = {"picture": "image", "text": "text", "sound": "sound"}
"""What a column's source must take, by the column's role."""
_SHARE = 0.5
"""Of the time that is left, for the features of texts, pictures and sounds."""


def fuse_columns(
    found: Sequence[Source],
    task: Task,
    run: Run,
    options: Mapping[str, Any],
    progress: Progress,
    *,
    joins: bool = False,
) -> None:
    """All kinds of columns side by side, as far as each raises what is right out of fold, and in other fusions.

    joins: try those that are trained, too. Raises `BudgetError` when the time does not allow it and nothing else was
    made.
    """
    seen = seen_columns(found, task, progress)
    if not seen or progress.interrupted:
        return
    fit = _fit(options)
    try:
        every = joined_columns(seen, task, fit=fit, run=run.part("mixed", run.remaining() * _SHARE), every=True)
    except BudgetError as error:
        if not progress.candidates:
            raise
        progress.warn("budget", f"Files and texts of the table were not used: {error} Give a longer `budget`.")
        return
    fusing.warn_of_groups(every, progress)
    if every.parted is None:
        every = chosen_of(every.probes, task, fit)
        kept = paying(every)
        left = "".join(f"; {name} does not raise the evidence" for name in every.rejected)
        told = f"Out of fold: {bought(every) or 'nothing is better than none'}{left}."
    else:  # evidence counts what is known of known groups
        kept, told = every, f"Out of fold, a group held out at a time: {fusing.scores(every, task)}."
    if not any(map(sees_cells, kept.probes.values())):
        progress.decide("Which columns know what?", told, "Plain columns and counted words are enough.")
        return
    progress.decide("Which columns know what?", told, f"{' + '.join(kept.probes)}.")
    made = [_fused(kept, seen, task, fit, run)]
    if len(every.probes) > 1:
        made += _others(every, kept, seen, task, run, fit, progress, joins=joins)
    _add(made, seen, task, options, every.parted is not None, progress)


def _others(
    every: Joined,
    kept: Joined,
    seen: Sequence[Seen],
    task: Task,
    run: Run,
    fit: Fit,
    progress: Progress,
    *,
    joins: bool,
) -> list[Fused]:
    """The best block alone, and the fusions beside the linear head on all features."""
    name, probe = min(every.probes.items(), key=lambda pair: pair[1].head.score)
    single = Joined(probes={name: probe}, gains=(), rejected={})
    sources = [one.source for one in _used(every, seen)]
    alone = _fused(single, seen, task, fit, run)
    more = fusing.more_fusions(every, sources, task, run, progress, fit=fit, joins=joins, of=columns_in(every))
    concat = [_fused(kept, seen, task, fit, run)] if len(kept.probes) > 1 else []
    fusing.decide([*concat, *more], alone, task, progress)
    return [*([alone] if len(kept.probes) > 1 and sees_cells(probe) else []), *more]


def _add(
    made: Sequence[Fused],
    seen: Sequence[Seen],
    task: Task,
    options: Mapping[str, Any],
    groups: bool,
    progress: Progress,
) -> None:
    """The fusions as candidates. Where groups decide, but other candidates know nothing of them, the best one only."""
    if groups and progress.candidates:
        made = [min(made, key=lambda one: one.loss)]
    for one in made:
        used = [other for other in seen if f"{other.column} by {other.source.name}" in one.outcome.facts["sources"]]
        said = {**options, "columns": [other.column for other in used]}
        sources = [other.source for other in used]
        alone = groups and not progress.by("probe", "trees")
        progress.candidates.append(fusing.as_candidate(one, sources, task, said, groups=alone))


def fused_again(candidate: Candidate, task: Task, run: Run) -> Model:
    """The same columns by the same sources on another task's rows."""
    pairs = zip(candidate.options["columns"], candidate.parts, strict=True)
    seen = [Seen(column=column, source=source) for column, source in pairs]
    fit = _fit(candidate.options)
    found = joined_columns(seen, task, fit=fit, run=run, every=True)
    found = replace(found, probes={name: found.probes[name] for name in candidate.facts["sources"]})
    if candidate.method in fusing.JOINS:  # nothing is left to stop by
        steps = candidate.facts["steps"]
        fit = replace(fit, steps=steps, validate_every=steps, patience=0)
    return _fused(found, seen, task, fit, run, candidate.method).model


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


def _fused(found: Joined, seen: Sequence[Seen], task: Task, fit: Fit, run: Run, method: str = "fused_probe") -> Fused:
    sources = {one.source.digest: one.source for one in _used(found, seen)}
    return fusing.fused(found, method, list(sources.values()), task, fit=fit, run=run, of=columns_in(found))


def columns_in(found: Joined) -> str:
    """The columns of the blocks, for a name."""
    return " + ".join(dict.fromkeys(name.removeprefix("words of ").partition(" by ")[0] for name in found.probes))
