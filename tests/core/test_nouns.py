import dataclasses

import numpy as np
import pytest

from transfuse.core import nouns
from transfuse.core.errors import ModelError
from transfuse.core.nouns import Examples, Model, Preprocessing, Report, Section, Step, Task

CLASSES = [kind for kind in vars(nouns).values() if dataclasses.is_dataclass(kind)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_noun_is_frozen_and_keyword_only(kind):
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))


def test_examples_count_their_items():
    examples = Examples(items=["a", "b"], targets=np.array([0, 1]), digests=("x", "y"), names=("a", "b"))
    assert len(examples) == 2


def test_channels_are_counted_by_the_mean():
    assert Preprocessing(size=(8, 8)).channels == 3
    assert Preprocessing(size=(8, 8), mean=(0.5,), std=(0.5,)).channels == 1


def test_a_report_saves_itself_by_the_verb(tmp_path):
    report = Report(
        title="T", columns=("a",), rows=({"a": 1},), sections=(Section(kind="text", title="S", content=["w"]),)
    )
    assert report.save(tmp_path / "r.json").read_text().startswith("{")


def test_a_model_opens_itself_by_the_verb(tmp_path):
    with pytest.raises(ModelError, match=r"model\.json"):
        Model.load(tmp_path)


def test_a_noun_cannot_be_changed():
    step = Step(verb="fit")
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.verb = "other"  # type: ignore[misc]


def test_a_task_without_warnings_has_none():
    task = Task(name="t", kind="regression", classes=("y",), splits={}, seed=0, digest="d")
    assert task.warnings == () and task.description == {}
