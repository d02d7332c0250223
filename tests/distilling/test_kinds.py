"""Labels and numbers have teachers too; losses for classes are refused there by name."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.distilling.conftest import QUICK

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source
from transfuse.distilling.losses.bernoulli import bernoulli
from transfuse.distilling.losses.values import values
from transfuse.measuring.metrics import measure
from transfuse.predicting.predict import probabilities

KINDS = ("multi-label", "regression")
METRIC = {"multi-label": "average_precision", "regression": "rmse"}


def measured(teachers, task) -> float:
    """The metric of the mean answer on the test split."""
    test = task.splits["test"]
    mean_NC = np.mean([probabilities(teacher, test.items) for teacher in teachers], 0)
    return measure(task.kind, test.targets, mean_NC)[METRIC[task.kind]]


@pytest.fixture(scope="module", params=KINDS)
def known(request, small: Source, tasks):
    """A task of the kind, and a teacher of it."""
    task = tasks[request.param]
    return task, tr.transfer(small, task, method="finetune", steps=20, rate=1e-2)


def test_bernoulli_is_the_divergence_of_two_coins():
    z_BC, t_BC = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    for temperature in (1.0, 4.0):
        p, q = (t_BC / temperature).sigmoid(), (z_BC / temperature).sigmoid()
        expected = F.binary_cross_entropy(q, p) - F.binary_cross_entropy(p, p)
        torch.testing.assert_close(bernoulli(z_BC, t_BC, temperature=temperature), temperature**2 * expected)


def test_bernoulli_is_finite_for_the_largest_logits():
    z_BC = torch.tensor([[500.0, -500.0]], requires_grad=True)
    loss = bernoulli(z_BC, -z_BC.detach(), temperature=1.0)
    loss.backward()
    assert loss.isfinite()
    assert z_BC.grad.isfinite().all()


def test_values_are_squared_errors():
    assert values(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])) == 2.5


@pytest.mark.parametrize("method", ["kd", "kd + at", "labels + rkd"])
def test_a_student_of_labels_or_numbers_is_taught(method, known, student: Source, tmp_path):
    task, teacher = known
    model = tr.distill(teacher, student, task, method=method, **QUICK)
    assert [row["model"] for row in model.report.rows] == ["teacher", "student distilled", "student alone"]
    again = tr.load(model.save(tmp_path / "student"), trust_code=True)
    items = task.splits["valid"].items
    np.testing.assert_allclose(probabilities(again, items), probabilities(model, items), rtol=1e-4, atol=1e-4)


def test_the_teacher_s_row_is_in_the_user_s_units(known, student: Source):
    task, teacher = known
    model = tr.distill(teacher, student, task, compare=False, **QUICK)
    assert model.report.rows[0][METRIC[task.kind]]["value"] == pytest.approx(measured([teacher], task), rel=1e-3)


def test_a_student_approaches_its_teacher(known, student: Source):
    task, teacher = known
    options = {**QUICK, "steps": 30, "rate": 5e-3, "validate_every": 15}
    model = tr.distill(teacher, student, task, method="0*labels + kd", compare=False, **options)
    start = tr.distill(teacher, student, task, compare=False, **{**QUICK, "steps": 1})
    items = task.splits["train"].items
    near, far = (np.abs(probabilities(m, items) - probabilities(teacher, items)).mean() for m in (model, start))
    assert near < 0.7 * far


def test_several_teach_labels_and_numbers(known, small: Source, student: Source):
    task, teacher = known
    other = tr.transfer(small, task, method="probe")
    model = tr.distill([teacher, other], student, task, teacher_weights="confidence", compare=False, **QUICK)
    found = model.report.rows[0][METRIC[task.kind]]["value"]
    assert found == pytest.approx(measured([teacher, other], task), rel=1e-3)


@pytest.mark.parametrize("method", ["dkd", "dist", "logit_std", "ctkd", "gkd", "ofa"])
def test_losses_of_classes_are_refused(method, known, student: Source):
    task, teacher = known
    with pytest.raises(UsageError, match=f"must be of kd, .*but is '{method}'"):
        tr.distill(teacher, student, task, method=method, **QUICK)


def test_numbers_have_no_temperature(known, student: Source):
    task, teacher = known
    if task.kind == "regression":
        with pytest.raises(UsageError, match="`temperature` of 'kd' must not be given for a regression"):
            tr.distill(teacher, student, task, method="kd(temperature=2)", **QUICK)


def test_regression_columns_are_found_by_name(small: Source, student: Source, tasks):
    task = tasks["regression"]
    teacher = tr.transfer(small, task, method="probe")
    turned = replace(
        task,
        classes=("verde", "red light"),
        splits={name: replace(split, targets=split.targets[:, ::-1].copy()) for name, split in task.splits.items()},
    )
    model = tr.distill(teacher, student, turned, label_map={"green light": "verde"}, compare=False, **QUICK)
    assert model.report.rows[0]["rmse"]["value"] == pytest.approx(measured([teacher], task), rel=1e-3)
