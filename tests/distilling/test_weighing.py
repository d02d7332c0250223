"""What each teacher counts for each example, and that this is what moves the student."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.distilling.conftest import QUICK

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.distilling.lessons import counted, mixed
from transfuse.distilling.losses.kd import kd
from transfuse.distilling.teachers import opened_teachers
from transfuse.distilling.weighing import Weighing, weighing_of
from transfuse.training.batches import Batch

PLACES_ALL = torch.arange(3)


def batch(y_B, index_B=None) -> Batch:
    count = len(y_B)
    index_B = torch.arange(count) if index_B is None else torch.tensor(index_B)
    return Batch(
        x=torch.zeros(count, 1), y=torch.tensor(y_B), weights_B=torch.ones(count), index_B=index_B,
        view_B=torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip


def weighing(how="equal", places=(PLACES_ALL, PLACES_ALL), kind="single-label", labelled=100) -> Weighing:
    return Weighing(how=how, kind=kind, labelled=labelled, place_MC=torch.stack([torch.as_tensor(p) for p in places]))


A_BC = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
B_BC = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]])


def test_only_those_who_are_right_count():
    weight_BM = weighing("correct").weights([A_BC, B_BC], batch([0, 1, 1]))
    assert weight_BM.tolist() == [[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]


def test_confidence_is_the_formula_of_the_paper():
    y_B = torch.tensor([0, 1, 1])
    found = weighing("confidence").weights([A_BC, B_BC], batch(y_B.tolist()))
    losses_BM = np.stack([F.cross_entropy(z, y_B, reduction="none").numpy() for z in (A_BC, B_BC)], 1)
    expected = (1 - np.exp(losses_BM) / np.exp(losses_BM).sum(1, keepdims=True)) / (2 - 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(1).numpy(), 1, rtol=1e-6)


def test_one_teacher_s_confidence_is_its_probability_of_the_label():
    found = weighing("confidence", places=[PLACES_ALL]).weights([B_BC], batch([0, 0, 2]))
    np.testing.assert_allclose(found[:, 0].numpy(), B_BC.softmax(1)[[0, 1, 2], [0, 0, 2]].numpy(), rtol=1e-5)


def test_a_class_is_taught_by_those_who_know_it_and_an_unlabelled_example_by_all():
    places = ([0, 1, -1], [-1, 0, 1])
    found = weighing(places=places, labelled=3).weights([A_BC[:, :2], B_BC[:, 1:]], batch([0, 1, 2]))
    assert found.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    for how in ("equal", "correct", "confidence"):
        some = weighing(how, places=places, labelled=1).weights([A_BC[:, :2], B_BC[:, 1:]], batch([0, 0, 0]))
        assert some[1:].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_given_weights_go_by_the_place_of_the_example():
    how = torch.tensor([[1.0, 0.0], [0.25, 0.5]])
    found = weighing(how, labelled=2).weights([A_BC, B_BC], batch([0, 1, 0], [1, 0, 5]))
    assert found.tolist() == [[0.25, 0.5], [1.0, 0.0], [0.5, 0.5]]


def test_labels_and_numbers_have_confidence_too():
    y_BC = [[1.0, 0.0, 0.0]]
    for kind in ("multi-label", "regression"):
        sure, wrong = torch.tensor([[5.0, -5.0, -5.0]]), torch.tensor([[-5.0, 5.0, 5.0]])
        if kind == "regression":
            sure = torch.tensor([[1.0, 0.0, 0.1]])
        weight_BM = weighing("confidence", kind=kind).weights([sure, wrong], batch(y_BC))
        assert weight_BM[0, 0] > 0.9


def test_a_weight_is_the_factor_of_an_example_s_gradient():
    z_BC = torch.randn(3, 3, requires_grad=True)
    weight_B = torch.tensor([0.0, 0.3, 1.0])
    kd(counted(z_BC, weight_B), A_BC).backward()
    found = z_BC.grad.clone()
    z_BC.grad = None
    each = [kd(z_BC[place : place + 1], A_BC[place : place + 1]) for place in range(3)]
    (torch.stack(each) * weight_B).mean().backward()
    torch.testing.assert_close(found, z_BC.grad)


def test_several_answer_by_the_weighted_mean_of_calibrated_probabilities(teacher: Model, task: Task):
    first, second = opened_teachers([teacher, replace(teacher, temperature=3.0)], task, {})
    first = replace(first, model=replace(teacher, temperature=1.0))
    weight_BM = torch.tensor([[0.5, 0.5], [0.2, 0.6], [1.0, 0.0]])
    share_BM = weight_BM / weight_BM.sum(1, keepdim=True)
    expected = share_BM[:, :1] * A_BC.softmax(1) + share_BM[:, 1:] * (B_BC / 3).softmax(1)
    torch.testing.assert_close(mixed([A_BC, B_BC], [first, second], weight_BM).softmax(1), expected)


def test_labels_are_mixed_one_by_one(teacher: Model, task: Task):
    several = [
        replace(one, model=replace(teacher, kind="multi-label", temperature=1.0))
        for one in opened_teachers([teacher, teacher], task, {})
    ]
    found = mixed([A_BC, B_BC], several, torch.full((3, 2), 0.5)).sigmoid()
    torch.testing.assert_close(found, (A_BC.sigmoid() + B_BC.sigmoid()) / 2)


@pytest.mark.parametrize("how", ["correct", "confidence"])
def test_weights_train_a_student(how, teacher: Model, small: Source, student: Source, task: Task):
    other = tr.transfer(small, task, method="probe")
    model = tr.distill(
        [teacher, other], student, task, teacher_weights=how, method="kd + at", compare=False, **QUICK
    )  # fmt: skip
    assert any(f"Weights of the 2 teacher(s): {how}" in line for line in model.report.summary)


def test_no_weight_is_no_teacher(teacher: Model, student: Source, task: Task):
    weights = np.zeros((24, 1), np.float32)
    weights[0] = 1e-30  # not all zero, but nothing
    quiet = tr.distill(
        teacher, student, task, method="labels + kd", views=0, teacher_weights=weights, compare=False, **QUICK
    )
    alone = tr.distill(teacher, student, task, method="labels + 0*kd", views=0, compare=False, **QUICK)
    for name, tensor in quiet.network.state_dict().items():
        torch.testing.assert_close(tensor, alone.network.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("right", "kind of teacher weights"),
        (np.ones((24, 2)), r"must be \(24, 1\)"),
        (np.full((24, 1), np.nan), "finite"),
        (-np.ones((24, 1)), "not negative"),
        (3, "array"),
    ],
)
def test_wrong_weights_are_explained(how, words, teacher: Model, student: Source, task: Task):
    with pytest.raises((UsageError, UnknownName), match=words):
        tr.distill(teacher, student, task, teacher_weights=how, **QUICK)


def test_right_and_wrong_is_for_classes(tasks, teacher: Model):
    with pytest.raises(UsageError, match="must not be 'correct'"):
        weighing_of("correct", [], tasks["regression"])
