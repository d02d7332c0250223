"""Who may teach, and what several teachers answer together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.distilling.teachers import opened_teacher
from transfuse.predicting.predict import probabilities
from transfuse.sources.inputs import tensor_of
from transfuse.sources.opening import open_source


def answers(teacher, task: Task) -> np.ndarray:
    with torch.inference_mode():
        x = tensor_of(task.splits["valid"].items, teacher.preprocessing)
        return teacher.network(x).softmax(1).numpy()


def test_one_model_is_taken_as_it_is_and_frozen(teacher: Model, task: Task):
    found = opened_teacher(teacher, task)
    assert found.network is teacher.network
    assert not found.network.training
    assert not any(parameter.requires_grad for parameter in found.network.parameters())


def test_a_saved_folder_is_the_same_teacher(teacher: Model, task: Task, tmp_path):
    teacher.save(tmp_path / "teacher")
    given, loaded = opened_teacher(teacher, task), opened_teacher(str(tmp_path / "teacher"), task, trust_code=True)
    as_source = opened_teacher(tr.source(tmp_path / "teacher", trust_code=True), task, trust_code=True)
    assert given.digest == loaded.digest == as_source.digest


def test_several_answer_by_the_mean_of_their_probabilities(teacher: Model, small: Source, task: Task):
    other = tr.transfer(small, task, method="probe")
    found = opened_teacher([teacher, other], task)
    valid = task.splits["valid"].items
    expected = (probabilities(teacher, valid) + probabilities(other, valid)) / 2
    np.testing.assert_allclose(answers(found, task), expected, atol=1e-5)
    assert found.body is None
    assert found.digest != opened_teacher([other, teacher], task).digest


def test_classes_in_another_order_are_found_by_name(teacher: Model, task: Task):
    turned = replace(task, classes=("blue", "red", "green"))
    found = opened_teacher(teacher, turned)
    expected = probabilities(teacher, task.splits["valid"].items)[:, [2, 0, 1]]
    np.testing.assert_allclose(answers(found, turned), expected, atol=1e-5)


def test_other_classes_are_refused_by_name(teacher: Model, task: Task):
    with pytest.raises(UsageError, match=r"only it has \['blue'\], and it lacks \['black'\]"):
        opened_teacher(teacher, replace(task, classes=("red", "green", "black")))


def test_a_source_teaches_by_the_head_that_it_brings(small: Source, task: Task):
    with pytest.raises(UsageError, match=r"has one of 5.*transfuse transfer"):
        opened_teacher(small, task)
    five = replace(task, classes=("red", "green", "blue", "grey", "black"))
    opened = open_source(small)
    x = tensor_of(task.splits["valid"].items, small.preprocessing)
    with torch.inference_mode():
        expected = opened.source_head(opened.body(x)).softmax(1)
    np.testing.assert_allclose(answers(opened_teacher(small, five), five), expected, atol=1e-5)


def test_other_kinds_and_no_teacher_are_refused(teacher: Model, tasks):
    with pytest.raises(UsageError, match="multi-label image"):
        opened_teacher(teacher, tasks["multi-label"])
    with pytest.raises(UsageError, match="at least one"):
        opened_teacher([], tasks["single-label"])
