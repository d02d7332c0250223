"""One look at a candidate: its features of some examples, judged by a cross-validated probe and by neighbours.

Letters: N examples, D features, C classes or target columns, Q queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from torch import nn

from transfuse.core.errors import DataError, SourceError
from transfuse.core.nouns import Features, Kind, Source
from transfuse.core.runs import Run
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.probing.heads import fit_head
from transfuse.ranking.knn import knn
from transfuse.ranking.subsets import Subset
from transfuse.sources import staging
from transfuse.sources.depths import FINAL, spread
from transfuse.sources.extraction import features, keep
from transfuse.sources.opening import Opened, open_source

_QUERIES = 2000
"""Examples whose neighbours are looked for: a standard error of a point, at a cost that does not grow squared."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one source's features at one depth are worth on some examples."""

    source: Source
    depth: str
    metric: str
    probe: Mapping[str, float]
    """The metric of a ridge head out of fold: value, low, high, n."""
    neighbours: Mapping[str, float]
    outputs_NC: np.ndarray
    """The probe's answers out of fold: calibrated probabilities, or values."""
    features: int
    """Number of them, D."""
    parameters: int
    megabytes: float
    """Of tensors in memory."""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The source's name, with the depth when it is not the last."""
        return self.source.name if self.depth == FINAL else f"{self.source.name} at {self.depth}"


def looks(source: Source, depths: int | Sequence[str], subset: Subset, *, seed: int, run: Run) -> list[Look]:
    """One look for each depth, in one pass over what is not cached yet. `depths`: names, or how many to spread.

    Raises what opening raises, `SourceError` for features that are not finite, `DataError` where nothing can be held
    out, `BudgetError`.
    """
    opened = open_source(source)
    names = spread(opened.depths, depths) if isinstance(depths, int) else tuple(depths)
    found = seen(opened, names, subset, run)
    return [_look(opened, name, found[name], subset, seed) for name in names]


def seen(opened: Opened, names: Sequence[str], subset: Subset, run: Run) -> dict[str, np.ndarray]:
    """Features (N, D) of the subset's examples by depth; every piece is extracted once, then read from the cache."""
    parts = [cast("dict[str, Features]", features(opened, task, "train", names, run=run)) for task in subset.pieces]
    found = {name: _together([part[name] for part in parts]) for name in names}
    for name, x_ND in found.items():
        bad = int((~np.isfinite(x_ND).all(axis=1)).sum())
        if bad:
            raise SourceError(
                f"'{opened.source.reference}' must give finite features, but {bad} of {len(x_ND)} pictures have NaN or"
                f" infinite ones at depth '{name}'. Check its weights and its preprocessing."
            )
    if len(parts) > 1 and len(subset) == len(subset.task.splits["train"]):
        back = np.argsort(subset.places)  # other verbs will ask for the whole split, in its own order
        whole = {name: replace(parts[0][name], x_ND=x_ND[back]) for name, x_ND in found.items()}
        keep(opened, subset.task, "train", whole, run=run)
    return found


def _together(parts: Sequence[Features]) -> np.ndarray:
    return parts[0].x_ND if len(parts) == 1 else np.concatenate([part.x_ND for part in parts])


def part_of(opened: Opened, depth: str) -> nn.Module:
    """The network up to a depth."""
    return staging.at_depths(opened.body, (depth,))


def _look(opened: Opened, depth: str, x_ND: np.ndarray, subset: Subset, seed: int) -> Look:
    task, examples = subset.task, subset.examples
    metric = PRIMARY[task.kind]
    groups = examples.groups or examples.digests  # so that all candidates have the same folds, and copies share one
    head = fit_head(
        x_ND,
        examples.targets,
        task.kind,
        method="ridge",
        classes=len(task.classes),
        weights_N=examples.weights,
        seed=seed,
        groups=groups,
    )
    if head.fold_N.max() == 0:
        raise DataError(
            "Ranking needs examples that can be held out, but all are of one group or equal. Give examples of"
            " another group."
        )
    outputs_NC = activated(head.out_of_fold_NC, task.kind, temperature=head.temperature)
    rows = subset.order[:_QUERIES]
    answers_QC = knn(x_ND, targets_of(task.kind, examples.targets, len(task.classes)), head.fold_N, rows=rows)
    part = part_of(opened, depth)
    tensors = [*part.parameters(), *part.buffers()]
    return Look(
        source=opened.source,
        depth=depth,
        metric=metric,
        probe=interval(task.kind, metric, examples.targets, outputs_NC, groups=examples.groups),
        neighbours=_measured(subset, rows, answers_QC),
        outputs_NC=outputs_NC,
        features=x_ND.shape[1],
        parameters=sum(p.numel() for p in part.parameters()),
        megabytes=sum(t.numel() * t.element_size() for t in tensors) / 1e6,
        notes=head.notes,
    )


def _measured(subset: Subset, rows: np.ndarray, answers_QC: np.ndarray) -> dict[str, float]:
    """The metric of the queries that have a neighbour in another fold."""
    known = ~np.isnan(answers_QC).any(axis=1)
    kind, groups = subset.task.kind, subset.examples.groups
    kept = None if groups is None else [groups[row] for row in rows[known]]
    return interval(kind, PRIMARY[kind], subset.examples.targets[rows[known]], answers_QC[known], groups=kept)


def targets_of(kind: Kind, targets: np.ndarray, classes: int) -> np.ndarray:
    """One-hot (N, C) for classes; labels and values as they are."""
    return np.eye(classes)[targets] if kind == "single-label" else targets.reshape(len(targets), -1).astype(float)
