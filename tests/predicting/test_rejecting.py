"""Answers that are given up: by the confidences of the validation split, stored with the model."""

from dataclasses import replace

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Task
from transfuse.predicting.predict import confidences_of, predict, probabilities, rejected_below
from transfuse.tasks.tables.opening import open_table


@pytest.fixture(scope="module")
def task() -> Task:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 600))
    classes = np.where(a + b + 0.5 * generator.normal(size=600) > 0, "up", "down")
    return open_table({"a": a, "b": b, "y": classes}, target="y", name="t")


@pytest.fixture(scope="module")
def model(task: Task) -> Model:
    return tr.transfer("table:columns", task, method="probe")


def test_the_share_that_is_given_up_is_that_of_the_validation_split(model: Model, task: Task, tmp_path) -> None:
    again = tr.load(model.save(tmp_path / "model"))
    assert again.confidences == model.confidences
    rows = [row.values() for row in task.splits["valid"].items]
    answers = again.predict(rows, reject=0.2)
    assert abs(np.mean([answer["rejected"] for answer in answers]) - 0.2) <= 1.5 / len(rows)
    given_up = max(answer["confidence"] for answer in answers if answer["rejected"])
    assert given_up < min(answer["confidence"] for answer in answers if not answer["rejected"])
    test = again.predict([row.values() for row in task.splits["test"].items], reject=0.2)
    assert 0.08 < np.mean([answer["rejected"] for answer in test]) < 0.35
    assert not any(answer["rejected"] for answer in again.predict(rows, reject=0.0))
    assert not again.predict(rows[:1])[0]["rejected"]


def test_the_threshold_is_the_quantile(model: Model, task: Task) -> None:
    confidence = probabilities(model, task.splits["valid"].items).max(1)
    for share in (0.05, 0.1, 0.5):
        assert rejected_below(model, share) == pytest.approx(np.quantile(confidence, share), abs=2e-3)


def test_fit_keeps_them_too(task: Task) -> None:
    fitted = tr.fit(task, budget="1m", finetune=False)
    confidence = probabilities(fitted, task.splits["valid"].items).max(1)
    assert fitted.confidences[0] == pytest.approx(confidence.min(), abs=1e-5)
    assert fitted.confidences[-1] == pytest.approx(confidence.max(), abs=1e-5)


def test_what_cannot_be_rejected_is_said(model: Model) -> None:
    row = [{"a": 1.0, "b": 1.0}]
    with pytest.raises(UsageError, match=r"`reject` must be at least 0 and below 1, but is 1\.5"):
        predict(model, row, reject=1.5)
    with pytest.raises(UsageError, match=r"which .* was saved without"):
        predict(replace(model, confidences=()), row, reject=0.1)
    with pytest.raises(UsageError, match="must go with a single-label model"):
        predict(replace(model, kind="multi-label"), row, reject=0.1)
    assert confidences_of(np.zeros((3, 1)), "regression") == ()
