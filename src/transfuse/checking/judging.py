"""A judge for every label: answers for all examples by models that have not seen them.

All splits are judged together, each example by a model that has seen neither it nor a copy of it nor its group: a
linear head on features, or boosted trees on the cells of rows, where a linear judge would be too weak.
Letters: N examples of all splits, D features, C classes or target columns, K folds.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.checking.seeing import CELLS, WORDS, everything
from transfuse.core.errors import DataError
from transfuse.core.nouns import Kind, Task
from transfuse.predicting.predict import activated
from transfuse.probing.heads import Head, fit_head

FOLDS = 5
_WIDTHS = (16, 64)
"""First directions of texts' words that are tried beside all of them: wrong labels are learnt by heart from many."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a head answers for examples that it has not learnt from."""

    outputs_NC: np.ndarray
    """Calibrated probabilities, or values."""
    by: str
    """Whose features, in words."""
    notes: tuple[str, ...] = ()


def answered(x_ND: np.ndarray, task: Task, units_N: np.ndarray, by: str, *, seed: int = 0) -> Answers:
    """Out-of-fold answers for all examples; those of one unit are never in two folds.

    Raises `DataError` when nothing can be held out.
    """
    if len(np.unique(units_N)) < 2:
        raise DataError("Wrong labels can be looked for only where examples can be held out, but all are of one group.")
    if by == CELLS:
        return Answers(outputs_NC=_of_trees(x_ND, task, units_N, seed), by=f"boosted trees on {by}")
    widths = [*(width for width in _WIDTHS if width < x_ND.shape[1] and by == WORDS), x_ND.shape[1]]
    heads = [_head(x_ND[:, :width], task, units_N, seed) for width in widths]
    head = min(heads, key=lambda head: head.score)
    outputs_NC = activated(head.out_of_fold_NC, task.kind, temperature=head.temperature)
    return Answers(outputs_NC=outputs_NC, by=f"linear probe on {by}", notes=head.notes)


def _head(x_ND: np.ndarray, task: Task, units_N: np.ndarray, seed: int) -> Head:
    examples = everything(task).examples
    return fit_head(
        x_ND,
        examples.targets,
        task.kind,
        method="ridge",
        classes=len(task.classes),
        weights_N=examples.weights,
        seed=seed,
        groups=[str(unit) for unit in units_N.tolist()],
    )


def _of_trees(x_ND: np.ndarray, task: Task, units_N: np.ndarray, seed: int) -> np.ndarray:
    """Answers (N, C) of scikit-learn's boosted trees, which take missing cells as they are."""
    examples = everything(task).examples
    targets = examples.targets if task.kind == "single-label" else examples.targets.astype(np.float64)
    fold_N = _folds(targets, task.kind, units_N, seed)
    columns = [targets] if task.kind == "single-label" else list(targets.T)
    outputs_NC = np.zeros((len(x_ND), len(task.classes)))
    for fold in range(fold_N.max() + 1):
        held, seen = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        weights = None if examples.weights is None else examples.weights[seen]
        for column, y_N in enumerate(columns):
            answers = _grown(x_ND[seen], y_N[seen], x_ND[held], (task.kind, len(task.classes), seed), weights)
            outputs_NC[held] = answers if task.kind == "single-label" else outputs_NC[held]
            if task.kind != "single-label":
                outputs_NC[held, column] = answers
    return outputs_NC


def _grown(
    x_ND: np.ndarray, y_N: np.ndarray, held_ND: np.ndarray, what: tuple[Kind, int, int], weights_N: np.ndarray | None
) -> np.ndarray:
    """Of trees that learnt from some rows: probabilities (N, C), of one label (N,), or values (N,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind, classes, seed = what
    shared: dict[str, Any] = {"random_state": seed, "early_stopping": len(y_N) >= 200}
    if kind == "regression":
        found = HistGradientBoostingRegressor(**shared).fit(x_ND, y_N, sample_weight=weights_N)
        return np.asarray(found.predict(held_ND))
    known = np.unique(y_N).astype(np.int64)
    p_NC = np.zeros((len(held_ND), classes if kind == "single-label" else 2))
    if len(known) == 1:
        p_NC[:, known] = 1.0
    else:
        grown = HistGradientBoostingClassifier(**shared).fit(x_ND, y_N, sample_weight=weights_N)
        p_NC[:, known] = grown.predict_proba(held_ND)
    return p_NC if kind == "single-label" else p_NC[:, 1]


def _folds(targets: np.ndarray, kind: Kind, units_N: np.ndarray, seed: int) -> np.ndarray:
    """int64 (N,): the fold of each, with equal shares of classes as far as units allow."""
    from transfuse.tasks.splitting import split

    folds = min(FOLDS, len(np.unique(units_N)))
    names = [str(row) for row in range(len(units_N))]
    return np.unique(split([1 / folds] * folds, targets, kind, names, seed, units_N), return_inverse=True)[1]
