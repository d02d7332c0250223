"""The door of `shared`: Source x Tasks -> a Model for each task, the steps recorded, the evidence beside them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import transfuse
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Model, Source, Step, Task
from transfuse.core.provenance import options_of, plain
from transfuse.core.runs import Run
from transfuse.predicting.guarding import guarded
from transfuse.sources.inputs import identity
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.tasks.aligning import aligned
from transfuse.tasks.joining import concatenated
from transfuse.tasks.opening import open_task, require_modality
from transfuse.transferring.options import arranged
from transfuse.transferring.sharing.report import evidence
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described
from transfuse.tuning.targets import require_splits


def share(
    source: Source | str | Path,
    data: Any,
    *,
    name: str | None = None,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> dict[str, Model]:
    """Several tasks on one trunk: a Model for each, by the task's name, whose networks share one body.

    `data` is a sequence of Tasks, or of what they can be opened from. See `transferring.methods.shared` for the options
    and `transfer` for the rest. Tasks that are proven to hurt each other get trunks of their own.
    """
    function, arguments = arranged("shared", options)  # mistakes are told before the data are read
    tasks = _opened(data, options.get("seed", 0), run)
    source = find(str(source), trust_code=trust_code) if not isinstance(source, Source) else source
    source = _suited(source, tasks)
    started = time.monotonic()
    sharing = function(source, tasks, run=run, **arguments)
    recorded = Step(
        verb="transfer",
        method="shared",
        options={**options_of(function, arguments), "run": None},
        inputs=(described(source), *map(described, tasks)),
        digests={"source": source.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    named = name or f"shared of {source.name}"
    kept = _models(sharing.outcomes, tasks, recorded, named)
    others = {way: _models(getattr(sharing, way), tasks, recorded, named) for way in ("alone", "together")}
    kept = {task.name: guarded(kept[task.name], task, run=run) for task in tasks}
    return evidence(kept, others, tasks, sharing, run=run, command=command)


def _models(outcomes: Mapping[str, Outcome], tasks: Sequence[Task], step: Step, name: str) -> dict[str, Model]:
    """Outcomes as Models; each records its own task first, and what was found for it."""
    models = {}
    for place, task in enumerate(tasks):
        if task.name not in outcomes:
            continue
        source, *others = step.inputs
        own = others.pop(place)
        step_of_task = replace(
            step,
            options={**step.options, "found": plain(outcomes[task.name].facts)},
            inputs=(source, own, *others),
            digests={**step.digests, "task": task.digest},
        )
        models[task.name] = as_model(outcomes[task.name], task, step_of_task, f"{name}: {task.name}")
    return models


def _opened(data: Any, seed: int, run: Run) -> list[Task]:
    """Several tasks of one modality, told apart by name, split alike. Raises `UsageError` and `DataError`."""
    if not isinstance(data, Sequence) or isinstance(data, str | bytes):
        raise UsageError(f"`data` must be a list of several tasks for 'shared', but is {type(data).__name__}.")
    if len(data) < 2:
        raise UsageError(f"`shared` must be given at least two tasks, but has {len(data)}. Use 'finetune' for one.")
    tasks = [one if isinstance(one, Task) else open_task(one, seed=seed, run=run) for one in data]
    names = [task.name for task in tasks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"Tasks must have names of their own, but two are called '{twice}'. Open them with another `name`; on the"
            " command line write NAME=DATA."
        )
    modalities = list(dict.fromkeys(task.modality for task in tasks))
    if len(modalities) > 1:
        told = ", ".join(f"'{task.name}' {task.modality}" for task in tasks)
        raise DataError(f"Tasks on one trunk must be of one modality, but are of several: {told}.")
    for task in tasks:
        require_splits(task)
        _require_numbers(task)
    return aligned(tasks)


def _require_numbers(task: Task) -> None:
    """Raise `DataError` when a target is no number."""
    for split, examples in task.splits.items():
        if examples.targets.dtype.kind == "f" and not np.isfinite(examples.targets).all():
            rows = ~np.isfinite(examples.targets.reshape(len(examples), -1)).all(1)
            first = examples.names[int(rows.argmax())]
            raise DataError(
                f"Targets must be numbers, but {int(rows.sum())} of '{task.name}' in its '{split}' split are not, such"
                f" as that of {first}. Leave these examples out, or mend them."
            )


def _suited(source: Source, tasks: Sequence[Task]) -> Source:
    """The source for the data of all tasks, which must be prepared alike."""
    if tasks[0].modality != "table":
        found = suited(source, _as_one(tasks))
        require_modality(tasks[0], found.modality)
        return found
    require_modality(tasks[0], source.modality)
    return _with_columns_of_all([suited(source, task) for task in tasks], tasks)


def _as_one(tasks: Sequence[Task]) -> Task:
    """The training examples of all tasks, of which words and lengths are learnt; without targets."""
    trains = {task.splits["train"].digests: task.splits["train"] for task in tasks}.values()
    plain_trains = [replace(train, targets=np.zeros(len(train)), weights=None, groups=None) for train in trains]
    return replace(tasks[0], splits={**tasks[0].splits, "train": concatenated(*plain_trains)})


def _with_columns_of_all(found: Sequence[Source], tasks: Sequence[Task]) -> Source:
    """The source for the first table. Raises `DataError` when another has other columns."""
    columns = [[(c["name"], c["role"]) for c in identity(one.preprocessing)["columns"]] for one in found]
    other = next((t for t, own in enumerate(columns) if own != columns[0]), None)
    if other is not None:
        apart = sorted({name for name, _ in {*columns[0]} ^ {*columns[other]}}) or ["their order"]
        raise DataError(
            f"Tasks on one trunk must have the same columns in one order, but '{tasks[0].name}' and"
            f" '{tasks[other].name}' differ in: {', '.join(apart)}. Drop what the other has not, or predicts"
            " (`roles`, `--role NAME=drop`)."
        )
    return found[0]
