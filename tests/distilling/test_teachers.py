"""Who may teach, and what several teachers answer together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.distilling.teachers import Teacher, opened_teachers
from transfuse.predicting.predict import probabilities
from transfuse.sources.inputs import tensor_of
from transfuse.sources.opening import open_source


def opened_teacher(given, task: Task, label_map=None, **options) -> Teacher:
    (found,) = opened_teachers(given, task, label_map or {}, **options)
    return found


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


def test_classes_in_another_order_are_found_by_name(teacher: Model, task: Task):
    turned = replace(task, classes=("blue", "red", "green"))
    found = opened_teacher(teacher, turned)
    expected = probabilities(teacher, task.splits["valid"].items)[:, [2, 0, 1]]
    np.testing.assert_allclose(found.probabilities(task.splits["valid"], turned), expected, atol=1e-5)


def test_classes_that_are_shared_stand_in_their_conditional_distribution(teacher: Model, task: Task):
    other = replace(task, classes=("red", "black", "green"))
    found = opened_teacher(teacher, other)
    assert (found.matched.known, found.matched.left_out, found.matched.lacking) == ((0, 2), ("blue",), ("black",))
    with torch.inference_mode():
        raw_NC = teacher.network(tensor_of(task.splits["valid"].items, teacher.preprocessing))
    np.testing.assert_allclose(answers(found, other), raw_NC[:, :2].softmax(1).numpy(), atol=1e-6)
    whole_NC = found.probabilities(task.splits["valid"], other)
    assert (whole_NC[:, 1] == 0).all()
    np.testing.assert_allclose(whole_NC.sum(1), 1)


def test_fine_classes_add_up_and_names_may_differ(teacher: Model, task: Task):
    other = replace(task, classes=("warm", "cold"))
    found = opened_teacher(teacher, other, {"red": "warm", "green": "warm", "blue": "cold"})
    p_NC = probabilities(teacher, task.splits["valid"].items)
    expected = np.stack([p_NC[:, 0] + p_NC[:, 1], p_NC[:, 2]], 1)
    np.testing.assert_allclose(found.probabilities(task.splits["valid"], other), expected, atol=1e-6)
    assert found.digest != opened_teacher(teacher, other, {"red": "warm", "blue": "cold"}).digest
    assert "red = warm, green = warm, blue = cold" in found.matched.told


def test_an_empty_name_leaves_a_class_out(teacher: Model, task: Task):
    assert opened_teacher(teacher, task, {"green": ""}).matched.lacking == ("green",)


@pytest.mark.parametrize(
    ("label_map", "words"),
    [
        ({"rot": "red"}, "No class of the teacher is called 'rot'"),
        ({"red": "reed"}, r"No class of the task is called 'reed'\. Did you mean 'red'"),
        ({"red": "", "green": ""}, "share at least 2 classes with the task, but 'finetune of small.*shares 1"),
    ],
)
def test_wrong_maps_are_explained(label_map, words, teacher: Model, task: Task):
    with pytest.raises(UsageError, match=words):
        opened_teacher(teacher, task, label_map)


def test_nothing_shared_names_both_sides(teacher: Model, task: Task):
    with pytest.raises(UsageError, match=r"shares 0: it has red, green, blue, and the task one, two.*--label-map"):
        opened_teacher(teacher, replace(task, classes=("one", "two")))


def test_a_source_s_own_classes_are_numbers_in_a_map(small: Source, task: Task):
    found = opened_teacher(small, task, {"4": "red", "0": "blue", "1": "green"})
    assert found.matched.own == ((4,), (1,), (0,))


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
