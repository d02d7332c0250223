"""A model measured on a task that is not its own."""

from dataclasses import replace

import pytest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.evaluating.compare import compare
from transfuse.evaluating.evaluate import evaluate
from transfuse.sources.references import find
from transfuse.tasks.images.opening import open_images
from transfuse.transferring.transfer import transfer


@pytest.fixture(scope="module")
def pair(photos):
    """A model with its task."""
    task = open_images(photos)
    return transfer(find("random:timm:test_resnet", size=32), task, method="probe"), task


def test_a_split_that_is_not_there_is_named_with_the_nearest(pair):
    model, task = pair
    with pytest.raises(UnknownName, match="Did you mean 'test'"):
        evaluate(model, task, split="tset")
    with pytest.raises(UnknownName, match="Did you mean 'valid'"):
        compare(model, model, task, split="vaild")


def test_a_task_with_other_classes_is_refused(pair):
    model, task = pair
    other = replace(task, classes=("dog", "cat", "eel"))
    with pytest.raises(UsageError, match=r"must have the model's kind and classes.*\['cat', 'dog', 'eel'\]"):
        evaluate(model, other)
    with pytest.raises(UsageError, match="must have the model's kind and classes"):
        compare(model, model, other)


def test_its_own_task_is_measured(pair):
    model, task = pair
    rows = evaluate(model, task, split="valid").rows
    assert rows[0]["metric"] == "accuracy" and rows[0]["value"]["n"] == len(task.splits["valid"])
