"""LightGBM's part of growing trees: rows in, boosters out, until the validation loss stops falling or for fixed rounds.

Ke et al., "LightGBM: a highly efficient gradient boosting decision tree", NeurIPS 2017.
Letters: N rows, C classes or target columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transfuse.core.errors import MissingExtra
from transfuse.core.nouns import TablePreprocessing, Task
from transfuse.core.runs import Run
from transfuse.sources.inputs import tensor_of
from transfuse.tasks.tables.encoding import slots_of
from transfuse.training.losses import example_weights
from transfuse.training.options import Fit
from transfuse.tuning.targets import target_scale

_PATIENCE = 50  # rounds without a lower validation loss


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How trees are grown: LightGBM's parameters that users turn."""

    rounds: int
    rate: float
    leaves: int
    least: int
    share: float
    seed: int
    monotone: tuple[int, ...] = ()
    contributions: tuple[float, ...] = ()
    exact: tuple[int, ...] = ()
    """Rounds of each booster, when they are known: nothing is validated then."""


@dataclass(frozen=True, kw_only=True)
class TreeRows:
    """Training and validation rows with standardised targets."""

    x: tuple[np.ndarray, np.ndarray]
    y: tuple[np.ndarray, np.ndarray]
    weights_N: np.ndarray
    kind: str
    classes: int
    categorical: tuple[int, ...]

    @staticmethod
    def of(task: Task, preprocessing: TablePreprocessing, fit: Fit) -> "TreeRows":
        scale = target_scale(task)
        x, y = [], []
        for part in ("train", "valid"):
            rows_NK = tensor_of(task.splits[part].items, preprocessing).numpy().copy()
            codes = [k for k, slot in enumerate(slots_of(preprocessing)) if slot.values]
            rows_NK[:, codes] = np.where(rows_NK[:, codes] < 0, np.nan, rows_NK[:, codes])  # both go right
            targets = task.splits[part].targets
            x.append(rows_NK)
            y.append(targets if scale is None else (targets - np.array(scale[0])) / np.array(scale[1]))
        return TreeRows(
            x=(x[0], x[1]), y=(y[0], y[1]), weights_N=example_weights(task, fit), kind=task.kind,
            classes=len(task.classes), categorical=tuple(codes),
        )  # fmt: skip


def boosters(
    data: TreeRows, start: Sequence[np.ndarray] | None, plan: Growth, run: Run
) -> tuple[tuple[Any, ...], float]:
    """One booster, or one for each label or target column; and the mean validation loss."""
    if data.kind == "single-label":
        several = data.classes > 2
        begin = None if start is None else [s.ravel(order="F") if several else s[:, 1] - s[:, 0] for s in start]
        goal = {"objective": "multiclass", "num_class": data.classes} if several else {"objective": "binary"}
        booster = _booster(data, data.y, begin, goal, _one(plan, 0), run)
        return (booster,), _loss_of(booster)
    objective = {"objective": "binary" if data.kind == "multi-label" else "regression"}
    found = []
    for c in range(data.classes):
        y = (data.y[0][:, c].copy(), data.y[1][:, c].copy())
        begin = None if start is None else [s[:, c].copy() for s in start]
        found.append(_booster(data, y, begin, objective, _one(plan, c), run))
    return tuple(found), float(np.mean([_loss_of(booster) for booster in found]))


def _one(plan: Growth, place: int) -> Growth:
    """The plan of one booster of several."""
    return replace(plan, rounds=plan.exact[place]) if plan.exact else plan


def _booster(data: TreeRows, y: Sequence[np.ndarray], start: Any, goal: dict[str, Any], plan: Growth, run: Run) -> Any:
    lightgbm = library()
    parameters = {
        **goal, "learning_rate": plan.rate, "num_leaves": plan.leaves, "min_data_in_leaf": plan.least,
        "feature_fraction": plan.share, "seed": plan.seed, "deterministic": True, "force_row_wise": True,
        "verbosity": -1, "feature_pre_filter": False,
    }  # fmt: skip
    if plan.monotone:
        parameters["monotone_constraints"] = list(plan.monotone)
    if plan.contributions:
        parameters["feature_contri"] = list(plan.contributions)
    begin = start or (None, None)
    train = lightgbm.Dataset(
        data.x[0], y[0], weight=data.weights_N, init_score=begin[0], categorical_feature=list(data.categorical),
        params=parameters, free_raw_data=False,
    )  # fmt: skip
    if plan.exact:
        return lightgbm.train(parameters, train, plan.rounds)
    valid = lightgbm.Dataset(data.x[1], y[1], init_score=begin[1], reference=train, params=parameters)
    stop = lightgbm.early_stopping(_PATIENCE, verbose=False)
    return lightgbm.train(parameters, train, plan.rounds, valid_sets=[valid], callbacks=[stop, _in_time(run, lightgbm)])


def _in_time(run: Run, lightgbm: Any) -> Any:
    """A callback that ends the growth when the time is over."""

    def check(state: Any) -> None:
        if run.remaining() <= 0:
            raise lightgbm.callback.EarlyStopException(state.iteration, state.evaluation_result_list)

    check.order = 100  # type: ignore[attr-defined]
    return check


def _loss_of(booster: Any) -> float:
    scores = next(iter(booster.best_score.values()), {"": float("nan")})  # nothing was validated
    return float(next(iter(scores.values())))


def rounds_of(booster: Any) -> int:
    """Rounds that are kept."""
    return int(booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration())


def library() -> Any:
    """LightGBM, imported when it is needed."""
    try:
        import lightgbm
    except (ImportError, OSError) as problem:
        raise MissingExtra(f"Growing trees needs LightGBM: pip install lightgbm. ({problem})") from None
    return lightgbm
