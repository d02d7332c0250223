"""A linear head on a table whose texts, pictures and sounds are seen by frozen sources, beside its plain columns.

Every such column is a block of features, the plain columns are another, the counted words of a free text one more: its
source has to know more than they. Blocks join by evidence and what each buys is measured out of fold, as in
`fused_probe`, of which this is the sibling for columns in place of sources. A column's source is read at its end or at
several depths side by side, whichever ridge head is better out of fold.
Letters: N rows, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from transfuse.core.digests import of_many
from transfuse.core.nouns import Features, Source, TablePreprocessing, Task
from transfuse.core.runs import Run
from transfuse.sources.depths import FINAL, deep, spread
from transfuse.sources.extraction import features
from transfuse.sources.opening import Opened, open_source
from transfuse.sources.tables.mixed import CellBody, of_column, side_by_side
from transfuse.sources.tables.references import fresh, unfitted
from transfuse.tasks.name_groups import Parted, parted
from transfuse.tasks.tables.opening import columns_of
from transfuse.tasks.tables.roles import FILES
from transfuse.tasks.tables.rows import cells_of
from transfuse.training.options import Fit
from transfuse.transferring.fused_probe import Joined, chosen_of
from transfuse.tuning.starting import COUNTS, Probed, fitted, probed

COLUMNS = "columns"
"""Name of the block of numbers, categories and dates."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A column of texts or of paths of pictures or sounds, and the source that sees it."""

    column: str
    source: Source


def joined_columns(seen: Sequence[Seen], task: Task, *, fit: Fit, run: Run = Run(), every: bool = False) -> Joined:
    """The blocks of columns that raise the evidence side by side; all of them when `every`."""
    blocks = plain_blocks(task).items()
    probes = {name: probed(opened, task, fit=fit, run=run, solver="ridge") for name, opened in blocks}
    for one in seen:
        found = _probed(one, task, fit, run)
        probes[found.opened.source.name] = found
    return Joined(probes=probes, gains=(), rejected={}) if every else chosen_of(probes, task, fit)


def columns_together(found: Joined) -> tuple[Opened, np.ndarray, Joined]:
    """The joined blocks as one source, its features of the training rows, and the blocks in the order of those."""
    names = sorted(found.probes, key=lambda name: sees_cells(found.probes[name]))  # as they lie in a row
    ordered = replace(found, probes={name: found.probes[name] for name in names})
    together = side_by_side([probe.opened for probe in ordered.probes.values()])
    return together, np.concatenate([probe.x_ND for probe in ordered.probes.values()], axis=1), ordered


def plain_blocks(task: Task) -> dict[str, Opened]:
    """The columns that need no source, by block: plain ones together, the counted words of each free text apart."""
    columns = columns_of(task).columns
    plain = tuple(column for column in columns if column.role not in ("text", *FILES))
    groups = {COLUMNS: plain} if plain else {}
    groups |= {f"words of {column.name}": (column,) for column in columns if column.role == "text"}
    return {
        name: open_source(fresh(unfitted("columns"), TablePreprocessing(columns=group)))
        for name, group in groups.items()
    }


def sees_cells(probe: Probed) -> bool:
    """Whether a block is of a column that goes through a source of its own."""
    preprocessing = probe.opened.source.preprocessing
    return isinstance(preprocessing, TablePreprocessing) and bool(preprocessing.parts)


def _probed(seen: Seen, task: Task, fit: Fit, run: Run) -> Probed:
    """A head on one column's features, at the end of its source or at several depths."""
    opened = open_source(seen.source, seed=fit.seed)
    several, groups = spread(opened.depths, COUNTS["several"]), _parted(seen.column, task)
    ways = [opened] if several == (FINAL,) else [opened, deep(opened, several)]
    probes = (_of(of_column(way, seen.column), task, fit, run, groups) for way in ways)
    return min(probes, key=lambda probe: probe.head.score)


def _parted(column: str, task: Task) -> Parted | None:
    """The groups in the names of a column's files, where the user named none."""
    train, role = task.splits["train"], task.description.get("roles", {}).get(column)
    if train.groups is not None or role not in FILES:
        return None
    names = {split: cells_of(examples.items, column) for split, examples in task.splits.items()}
    return parted(names, train.targets)


def _of(opened: Opened, task: Task, fit: Fit, run: Run, groups: Parted | None) -> Probed:
    """The head; cells that are missing get the mean features of the others, in the network too."""
    found = cast("Features", features(opened, task, "train", FINAL, run=run))
    x_ND, body = np.array(found.x_ND), opened.body
    assert isinstance(body, CellBody)
    gone_N = x_ND[:, -1] > 0.5
    if not gone_N.all():
        mean_D = x_ND[~gone_N, :-1].mean(0)
        x_ND[gone_N, :-1] = mean_D
        body.mean_D.copy_(torch.from_numpy(mean_D))
    digest = of_many([opened.source.digest, task.digest])
    return Probed(
        opened=replace(opened, source=replace(opened.source, digest=digest)),
        head=fitted(x_ND, task, fit, "ridge", groups),
        x_ND=x_ND,
        precision=found.precision,
        deviation=found.deviation,
        parted=groups,
    )
