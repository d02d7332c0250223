import numpy as np
import pytest

from transfuse.core.nouns import Task
from transfuse.evaluating.assessing import Assessment
from transfuse.fitting.advice import about_wrong_labels


class Probe:
    """What advice reads of a candidate: its name and its answers out of fold."""

    def __init__(self, held: Assessment | None) -> None:
        self.name, self.out_of_fold = "probe of good", held


@pytest.fixture
def held(task: Task) -> Assessment:
    """Answers that are right for every example but the first."""
    examples = task.splits["train"]
    outputs_NC = 0.1 + 0.7 * np.eye(3)[examples.targets]
    outputs_NC[0] = np.roll(outputs_NC[0], 1)
    return Assessment(kind="single-label", classes=task.classes, examples=examples, outputs_NC=outputs_NC)


def test_doubted_labels_are_counted_with_the_command_that_shows_them(task, held):
    said = about_wrong_labels(Probe(held), task)
    assert len(said) == 1 and "1 label looks wrong" in said[0] and f"n = {len(held.examples)}" in said[0]
    assert "transfuse check DATA --out findings" in said[0] and "out of fold, probe of good" in said[0]


def test_where_nothing_is_doubted_or_known_nothing_is_said(task, held):
    sure = np.eye(3)[held.targets] * 0.9 + 0.03
    sure /= sure.sum(axis=1, keepdims=True)
    fine = Assessment(kind="single-label", classes=task.classes, examples=held.examples, outputs_NC=sure)
    assert about_wrong_labels(Probe(fine), task) == [] and about_wrong_labels(Probe(None), task) == []
