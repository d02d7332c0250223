"""Two populations, one question: rows of a source population beside those of the target's.

Three ways to use them stand beside the target alone: models of the source (unchanged, under trees, fine-tuned: see
`tables`), both populations pooled, and pooled with the source's rows weighted by how much they look like the target's
(Shimodaira 2000; the ratio of densities by a domain classifier: Bickel et al. 2009). For linear models also CORAL: the
source's features get the target's mean and covariance (Sun, Feng, Saenko, arXiv 1511.05547). The choice and the report
are by the target's rows alone. Letters: N rows, D features.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from transfuse.core.digests import of_many
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Features, Source, Step, TablePreprocessing, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made, measured
from transfuse.fitting.populations import reweighted
from transfuse.fitting.progress import Progress
from transfuse.fitting.resembling import about_weights
from transfuse.predicting.folder import save
from transfuse.probing.aligning import Ratio, coral_of, density_ratio
from transfuse.sources.extraction import features
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.tables.references import changes, matched, overlap, suited, unfitted
from transfuse.tasks.joining import concatenated
from transfuse.tasks.tables.opening import columns_of, open_table
from transfuse.training.options import Fit
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.recording import as_model, described
from transfuse.tuning.starting import fitted, seeded_head, set_linear
from transfuse.tuning.targets import target_scale


def opened_source(data: Any, task: Task, seed: int) -> Task:
    """The source's rows as a Task with the target's question. Raises `DataError` when they ask another one."""
    if not isinstance(data, Task):
        data = open_table(data, target=task.description["target"], kind=task.kind, test=0, seed=seed)
    if (data.kind, data.classes) != (task.kind, task.classes):
        raise DataError(
            f"The source's rows must have the target's kind and classes, {task.kind} {list(task.classes)}, but have"
            f" {data.kind} {list(data.classes)}."
        )
    return cast("Task", data)


def source_models(source: Task, run: Run, options: Mapping[str, Any], folder: Path, *, network: bool) -> list[Source]:
    """Models that know the source's population alone, saved in `folder`."""
    shared = {name: value for name, value in options.items() if name in ("seed", "class_weights")}
    wanted = [("columns", "trees")] + ([("network", "scratch")] if network else [])
    found = []
    for reference, method in wanted:
        steps = {"batch_size": 128} if method == "scratch" else {}
        part = run.part("source", 0.2 * run.remaining())
        candidate = made(unfitted(reference), source, method, run=part, options={**shared, **steps})
        model = replace(candidate.model, name=f"the source's {'network' if method == 'scratch' else 'trees'}")
        found.append(find(save(model, folder / method)))
    return found


def pooled(source: Task, task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """Candidates that learn from both populations at once."""
    shared = {name: value for name, value in options.items() if name in ("seed", "class_weights")}
    both = together(source, task)
    ratio = importance(source, task, both, run)
    message = "What the weights of the source's rows leave of them (by a linear model of the columns)."
    places = tuple(about_weights(ratio, source, task))
    progress.warnings.append(DataWarning(code="importance-weights", message=message, places=places, severity="note"))
    weighted = reweighted(both, np.concatenate([np.ones(len(task.splits["train"])), ratio.weights_N]))
    columns = unfitted("columns")
    for name, data in (("pooled", both), ("importance-weighted", weighted)):
        for method in ("probe", "trees"):
            kind = "linear model" if method == "probe" else "trees"
            candidate = made(columns, data, method, run=run, options=dict(shared), label=f"{name} {kind}")
            progress.candidates.append(replace(candidate, learnt_from="both", out_of_fold=None))
    progress.candidates.append(_aligned(source, task, both, run, shared))


def _aligned(source: Task, task: Task, both: Task, run: Run, options: Mapping[str, Any]) -> Candidate:
    """A linear model on the target's rows and the source's, whose features CORAL aligned with the target's."""
    started = time.monotonic()
    columns, fit = suited(unfitted("columns"), both), Fit(**options)
    x_ND = cast("Features", features(columns, both, "train", run=run)).x_ND.astype(np.float64)
    count = len(task.splits["train"])
    x_ND = np.concatenate([x_ND[:count], coral_of(x_ND[count:], x_ND[:count])])
    head = fitted(x_ND.astype(np.float32), both, fit, "auto")
    opened = open_source(columns)
    linear = seeded_head(opened.feature_size, len(task.classes), HeadShape(), fit.seed)
    set_linear(linear, head, both)
    outcome = Outcome(
        network=Network(opened.body, linear),
        builder=columns.builder,
        preprocessing=columns.preprocessing,
        target_scale=target_scale(both),
        facts={"strength": head.strength, "steps": 0},
    )
    step = Step(
        verb="transfer",
        method="coral",
        options={"found": plain(outcome.facts)},
        inputs=(described(source), described(task)),
        digests={"task": both.digest},
        seconds=round(time.monotonic() - started, 3),
    )
    model = as_model(outcome, task, step, "CORAL linear model of columns")
    candidate = measured(model, columns, task, method="probe", options=options)
    return replace(candidate, learnt_from="both")


def together(source: Task, task: Task) -> Task:
    """The target's task with the source's training rows among its own, the target's first."""
    theirs, mine = columns_of(source), columns_of(task)
    names = {name for name, other in matched(theirs.columns, mine.columns).items() if other and other.name == name}
    union = changes(theirs, mine).columns.columns
    columns = TablePreprocessing(columns=tuple(column for column in union if column.name in names))
    if not columns.columns:
        raise DataError("The source's rows must share columns with the target's, but share none of one name and role.")
    train = concatenated(task.splits["train"], source.splits["train"])
    return replace(
        task,
        splits={**task.splits, "train": train},
        digest=of_many([task.digest, source.digest, "pooled"]),
        description={**task.description, "columns": plain(columns)},
    )


def importance(source: Task, task: Task, both: Task, run: Run) -> Ratio:
    """The target's density over the source's, at each of the source's rows among the pooled ones."""
    count = len(task.splits["train"])
    x_ND = cast("Features", features(suited(unfitted("columns"), both), both, "train", run=run)).x_ND
    return density_ratio(x_ND[count:], x_ND[:count], seed=both.seed)


def drift(source: Task, task: Task) -> tuple[DataWarning, ...]:
    """How alike the two populations are, column by column, least alike first."""
    mine, theirs = columns_of(task), columns_of(source)
    pairs = matched(theirs.columns, mine.columns)
    told = []
    for column in theirs.columns:
        other = pairs[column.name]
        if other is not None and column.role in ("numeric", "categorical", "date"):
            alike = overlap(column, other)
            means = f", mean {column.mean:.4g} → {other.mean:.4g}" if column.role == "numeric" else ""
            told.append(
                (alike, f"{other.name}: overlap {alike:.2f}{means}, missing {column.missing:.1%} → {other.missing:.1%}")
            )
    told.sort()
    message = "How alike the source's rows and the target's are, column by column (1 is equally distributed)."
    lines = (*(line for _, line in told), *changes(theirs, mine).lines)
    return (DataWarning(code="drift", message=message, places=lines, severity="note"),)
