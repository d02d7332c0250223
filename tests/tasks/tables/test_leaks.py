"""Leaks: named when they are there, and not when they are not."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transfuse.core.nouns import Task
from transfuse.tasks.tables.leaks import _auc, alone
from transfuse.tasks.tables.opening import open_table

N = 400


def opened(**more: object) -> Task:
    generator = np.random.default_rng(0)
    label = generator.integers(0, 2, N)
    columns = {
        "good": generator.normal(size=N) + label,
        "noise": generator.normal(size=N),
        "town": generator.choice([f"t{k}" for k in range(150)], N),
        "label": np.where(label == 1, "yes", "no"),
    }
    made = {name: make(label, generator) for name, make in more.items()}  # type: ignore[operator]
    return open_table({**columns, **made}, target="label")


def warned(task: Task, code: str) -> list[str]:
    return [place for w in task.warnings if w.code == code for place in w.places]


def test_an_honest_table_has_none() -> None:
    task = opened()
    assert not warned(task, "target-leak") and not warned(task, "known-afterwards")


@pytest.mark.parametrize(
    "copy",
    [
        lambda y, g: y * 2.0 + g.normal(0, 0.01, N),
        lambda y, g: np.where(y == 1, "approved", "refused"),
        lambda y, g: np.where(y == 1, g.choice(["a", "b"], N), g.choice(["c", "d"], N)),
        lambda y, g: np.abs(g.normal(size=N)) * np.where(y == 1, 1, -1),
    ],
)
def test_near_copies_of_the_target_are_named(copy) -> None:
    found = warned(opened(outcome=copy), "target-leak")
    assert len(found) == 1 and found[0].startswith("outcome: AUC")


def test_what_is_filled_in_only_afterwards_is_named() -> None:
    task = opened(paid=lambda y, g: np.where(y == 1, g.normal(size=N), np.nan))
    assert warned(task, "known-afterwards")[0].startswith("paid")


def test_an_id_is_left_out_and_no_leak() -> None:
    task = opened(customer_id=lambda y, g: np.arange(N))
    assert task.description["roles"]["customer_id"] == "id"
    assert any(place.startswith("customer_id") for place in warned(task, "column-left-out"))


def test_later_dates_are_noted() -> None:
    day = np.datetime64("2020-01-01")
    task = opened(
        asked=lambda y, g: (day + np.arange(N) % 300).astype(str),
        answered=lambda y, g: (day + np.arange(N) % 300 + g.integers(1, 9, N)).astype(str),
    )
    assert warned(task, "later-date") == ["answered after asked in 100% of rows"]


def test_regression_by_r2() -> None:
    generator = np.random.default_rng(0)
    y = generator.normal(size=(N, 1)).astype(np.float32)
    assert alone(y[:, 0] * 3 + 1, y, "regression", False) > 0.97
    assert alone(generator.normal(size=N), y, "regression", False) < 0.1


def test_ids_predict_nothing_out_of_fold() -> None:
    y = np.random.default_rng(0).integers(0, 2, N)
    assert alone(np.arange(N, dtype=float), y, "single-label", True) == pytest.approx(0.5, abs=0.1)


def test_auc_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    goal, score = generator.integers(0, 2, 200), generator.integers(0, 9, 200).astype(float)
    assert _auc(goal, score) == pytest.approx(roc_auc_score(goal, score), abs=1e-12)
