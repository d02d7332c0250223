"""Columns that give the target away: each alone, judged on folds that it was not fitted on.

A column becomes at most 64 cells (quantiles or categories; one more for missing cells), and the mean target of a cell
in the other folds is its prediction: AUC for classes, R² for numbers. Judged in this way an id predicts nothing, a
near-copy of the target everything. Letters: N rows, C classes or target columns, G groups of cells.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import rankdata

from transfuse.core.nouns import DataWarning, Kind, TablePreprocessing
from transfuse.core.randomness import key
from transfuse.tasks.tables.encoding import slots_of

ALONE = 0.99
"""AUC or R² of one column from which it is said to give the target away."""
_FOLDS = 5
_CELLS = 64
_ROWS = 50_000  # rows that are looked at, at most
_AFTER = 0.99  # share of rows in which one date lies after another
_SMOOTH = 1e-3  # weight of the mean of all rows in that of a cell: breaks ties without a say


def leak_warnings(
    x_NK: np.ndarray, targets: np.ndarray, kind: Kind, preprocessing: TablePreprocessing, seed: int = 0
) -> tuple[DataWarning, ...]:
    """Warnings for columns that alone predict the target, and for dates that lie after another one."""
    some = np.random.default_rng(key(seed, "leaks")).permutation(len(x_NK))[:_ROWS]
    x_NK, targets = x_NK[some], targets[some]
    return (*_predictors(x_NK, targets, kind, preprocessing), *_later_dates(x_NK, preprocessing))


def alone(column_N: np.ndarray, targets: np.ndarray, kind: Kind, categorical: bool) -> float:
    """How well one column predicts the target out of fold: mean AUC over classes (0..1), or R² of the best target."""
    goal_NC = _goals(targets, kind)
    cells_N = _cells(column_N, categorical)
    predicted_NC = out_of_fold_means(cells_N, goal_NC)
    if kind != "regression":
        return float(np.mean([_auc(goal_N, p_N) for goal_N, p_N in zip(goal_NC.T, predicted_NC.T, strict=True)]))
    varied = ((goal_NC - goal_NC.mean(0)) ** 2).sum(0)
    left = ((goal_NC - predicted_NC) ** 2).sum(0)
    return float(np.max(1 - left / np.where(varied == 0, np.inf, varied)))


def out_of_fold_means(cells_N: np.ndarray, goal_NC: np.ndarray) -> np.ndarray:
    """The mean goal of each row's cell over the rows of the other folds, (N, C)."""
    fold_N = np.arange(len(cells_N)) % _FOLDS  # the rows come shuffled
    size = int(cells_N.max()) + 1
    place_N = fold_N * size + cells_N
    counts_FG = np.bincount(place_N, minlength=_FOLDS * size).reshape(_FOLDS, size)
    sums = [np.bincount(place_N, goal_N, minlength=_FOLDS * size).reshape(_FOLDS, size) for goal_N in goal_NC.T]
    sums_FGC = np.stack(sums, axis=-1)
    others_FG = counts_FG.sum(0) - counts_FG
    means_FGC = (sums_FGC.sum(0) - sums_FGC + _SMOOTH * goal_NC.mean(0)) / (others_FG + _SMOOTH)[..., None]
    return means_FGC[fold_N, cells_N]


def _auc(goal_N: np.ndarray, score_N: np.ndarray) -> float:
    """Mann-Whitney by ranks (`measuring` is a room beside this one); 0.5 without both sides."""
    yes = goal_N > 0.5
    count, others = int(yes.sum()), int((~yes).sum())
    if not count or not others:
        return 0.5
    return float((rankdata(score_N)[yes].sum() - count * (count + 1) / 2) / (count * others))


def _goals(targets: np.ndarray, kind: Kind) -> np.ndarray:
    if kind != "single-label":
        return targets.astype(np.float64)
    classes = np.unique(targets)
    if len(classes) == 2:  # one side says all
        classes = classes[1:]
    return (targets[:, None] == classes).astype(np.float64)


def _cells(column_N: np.ndarray, categorical: bool) -> np.ndarray:
    """Small whole numbers for values, int (N,); 0 is missing."""
    cells_N = np.zeros(len(column_N), int)
    there = ~np.isnan(column_N)
    values = column_N[there]
    if categorical or len(np.unique(values)) <= _CELLS:
        cells_N[there] = 1 + np.unique(values, return_inverse=True)[1]
    else:
        cells_N[there] = 1 + np.digitize(values, np.unique(np.quantile(values, np.linspace(0, 1, _CELLS + 1)[1:-1])))
    return cells_N


def _predictors(
    x_NK: np.ndarray, targets: np.ndarray, kind: Kind, preprocessing: TablePreprocessing
) -> Iterator[DataWarning]:
    measure = "R²" if kind == "regression" else "AUC"
    found: list[str] = []
    afterwards: list[str] = []
    for place, slot in enumerate(slots_of(preprocessing)):
        column_N = x_NK[:, place]
        score = alone(column_N, targets, kind, slot.values > 0)
        if score >= ALONE:
            found.append(f"{slot.name}: {measure} {score:.3f} alone")
        gone = np.isnan(column_N)
        if gone.any() and not gone.all():
            presence = alone(gone.astype(np.float32), targets, kind, True)
            if presence >= ALONE:
                afterwards.append(f"{slot.name}: {measure} {presence:.3f} by being there or not")
    yield from _told(
        found,
        "target-leak",
        "{} column(s) alone predict the target, out of fold: perhaps copies of it, or known only afterwards. If they"
        " will not be there when the model is used, leave them out: --role COLUMN=drop.",
    )
    yield from _told(
        afterwards,
        "known-afterwards",
        "{} column(s) give the target away by whether they are filled in: they are known only afterwards. Leave them"
        " out: --role COLUMN=drop.",
    )


def _later_dates(x_NK: np.ndarray, preprocessing: TablePreprocessing) -> Iterator[DataWarning]:
    """Dates that in nearly all rows lie after another date: what happened afterwards may not be known in time."""
    first: dict[str, int] = {}
    for place, slot in enumerate(slots_of(preprocessing)):
        first.setdefault(slot.column, place)
    dates = [column for column in preprocessing.columns if column.role == "date"]
    days = {c.name: x_NK[:, first[c.name]].astype(np.float64) * c.std + c.mean for c in dates}
    later = []
    for one in dates:
        for other in dates:
            both = np.isfinite(days[one.name]) & np.isfinite(days[other.name])
            if one is not other and both.sum() > 20:
                after = np.mean(days[one.name][both] > days[other.name][both] + 1e-3)
                later += [f"{one.name} after {other.name} in {after:.0%} of rows"] if after >= _AFTER else []
    yield from _told(
        later,
        "later-date",
        "{} date(s) lie after another one: may the later be known only when the target is? Then leave it out.",
        "note",
    )


def _told(places: Sequence[str], code: str, message: str, severity: str = "warning") -> Iterator[DataWarning]:
    if places:
        yield DataWarning(code=code, message=message.format(len(places)), places=tuple(places), severity=severity)  # type: ignore[arg-type]
