"""evaluate: every metric with n and interval, on a Task and on folders whose classes are matched by name."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from transfuse.core.errors import DataError, TransfuseError, UsageError
from transfuse.core.nouns import Model, Task
from transfuse.evaluating.evaluate import evaluate
from transfuse.measuring.metrics import METRICS
from transfuse.predicting.folder import save
from transfuse.predicting.predict import probabilities


def values(report) -> dict[str, dict[str, float]]:
    return {row["metric"]: row["value"] for row in report.rows}


def test_on_a_task_against_scikit_learn(model: Model, task: Task):
    report = evaluate(model, task, command="transfuse evaluate ...")
    found = values(report)
    assert set(found) == set(METRICS["single-label"]) and next(iter(found)) == "accuracy"
    test = task.splits["test"]
    p_NC = probabilities(model, test.items)
    assert found["accuracy"]["value"] == pytest.approx(22 / 24) and found["accuracy"]["n"] == 24
    assert found["log_loss"]["value"] == pytest.approx(metrics.log_loss(test.targets, p_NC))
    expected = metrics.balanced_accuracy_score(test.targets, p_NC.argmax(1))
    assert found["balanced_accuracy"]["value"] == pytest.approx(expected)
    assert all(one["low"] <= one["value"] <= one["high"] for one in found.values())
    assert report.command == "transfuse evaluate ..." and report.title == "colours on 24 examples"


def test_the_sections_show_what_went_wrong(model: Model, task: Task):
    sections = {section.title: section.content for section in evaluate(model, task).sections}
    confusion = np.array(sections["Confusion matrix"]["counts"])
    assert confusion.sum() == 24 and confusion[1, 0] == 2 and np.trace(confusion) == 22
    worst = sections["Worst mistakes"]
    assert len(worst) == 2 and {(one["truth"], one["answer"]) for one in worst} == {("green", "blue")}
    assert worst[0]["confidence"] >= worst[-1]["confidence"] and worst[0]["image"].startswith("data:image/")
    green = next(row for row in sections["Per class"]["rows"] if row["class"] == "green")
    assert green["n"] == 10 and green["recall"] == pytest.approx(8 / 10)
    assert {"Reliability", "How the model was made"} <= sections.keys()


def test_folders_are_matched_by_name(model: Model, folder_of):
    """The folders' alphabetic order is not the model's when one class is absent."""
    report = evaluate(model, folder_of("photos", red=3, green=2))
    assert values(report)["accuracy"]["value"] == 1.0 and values(report)["accuracy"]["n"] == 5


def test_a_test_folder_inside_is_taken(model: Model, folder_of):
    root = folder_of("shots/test", red=2, green=2, blue=2).parent
    folder_of("shots/train", red=5, green=5, blue=5)
    assert values(evaluate(model, root))["accuracy"]["n"] == 6
    assert values(evaluate(model, root, split="train"))["accuracy"]["n"] == 15
    with pytest.raises(DataError, match="must have a split 'valid'"):
        evaluate(model, root, split="valid")


def test_an_unknown_class_is_named(model: Model, folder_of):
    with pytest.raises(DataError, match="violet"):
        evaluate(model, folder_of("photos", red=2, violet=2))


@pytest.mark.parametrize("classes", [("blue", "green", "violet"), ("red", "green", "blue")])
def test_a_task_with_other_classes_is_refused(model: Model, task: Task, classes: tuple[str, ...]):
    with pytest.raises(UsageError, match=f"model's kind and classes.*{classes[2]}"):
        evaluate(model, replace(task, classes=classes))


def test_a_split_that_is_not_there_is_an_error_in_words(model: Model, task: Task):
    with pytest.raises(TransfuseError, match="'valid'"):
        evaluate(model, task, split="valid")


def test_a_saved_model_is_opened(model: Model, task: Task, tmp_path):
    folder = save(model, tmp_path / "model")
    assert values(evaluate(folder, task, trust_code=True)) == values(evaluate(model, task))


def test_a_picture_that_cannot_be_read_is_named(model: Model, folder_of):
    folder = folder_of("photos", red=3, green=2)
    (folder / "red" / "bad.png").write_bytes(b"no picture")
    report = evaluate(model, folder)
    assert values(report)["accuracy"]["n"] == 5
    assert any("bad.png" in place for warning in report.warnings for place in warning.places)


def test_other_kinds_have_their_own_metrics(model: Model, task: Task):
    test = task.splits["test"]
    labels = np.eye(3, dtype=np.float32)[test.targets]
    for kind in ("multi-label", "regression"):
        other = replace(task, kind=kind, splits={"test": replace(test, targets=labels)})
        scale = ((0.0,) * 3, (1.0,) * 3) if kind == "regression" else None
        report = evaluate(replace(model, kind=kind, target_scale=scale), other)
        assert set(values(report)) == set(METRICS[kind])
        assert all(one["n"] == 24 for one in values(report).values())


def test_a_model_of_another_kind_is_refused(model: Model, task: Task):
    with pytest.raises(TransfuseError, match="regression"):
        evaluate(replace(model, kind="regression", target_scale=((0.0,) * 3, (1.0,) * 3)), task)
