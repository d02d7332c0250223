"""A guard is made by every door, kept in the folder, and tells strangers at the rate that it promises."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import ModelError, UsageError
from transfuse.core.nouns import Model, Task
from transfuse.predicting.folder import DOCUMENT
from transfuse.predicting.guard_file import GUARD
from transfuse.predicting.guarding import described
from transfuse.tasks.tables.opening import open_table

STRANGER = {"a": 40.0, "b": -40.0}


@pytest.fixture(scope="module")
def task() -> Task:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 1500))
    classes = np.where(a + b + 0.5 * generator.normal(size=1500) > 0, "up", "down")
    return open_table({"a": a, "b": b, "y": classes}, target="y", name="t", valid=0.4)


@pytest.fixture(scope="module")
def model(task: Task) -> Model:
    return tr.transfer("table:columns", task, method="probe")


def rows(task: Task, split: str) -> list[dict]:
    return [row.values() for row in task.splits[split].items]


def test_a_probe_carries_distances_and_keeps_its_promise(model: Model, task: Task, tmp_path: Path):
    again = tr.load(model.save(tmp_path / "model"))
    assert again.guard is not None and again.guard.score == "mahalanobis"
    assert again.guard.ordinary["n"] == len(task.splits["valid"]) and again.guard.ordinary["value"] <= 0.01
    held = again.predict(rows(task, "valid"))
    above = sum(answer["outside"]["outside"] for answer in held)
    assert above <= 0.01 * len(held)
    test = again.predict(rows(task, "test"))
    assert np.mean([answer["outside"]["outside"] for answer in test]) < again.guard.ordinary["high"] + 0.02
    (told,) = again.predict([STRANGER])
    assert told["outside"]["outside"] and told["outside"]["score"] > told["outside"]["threshold"] and "class" in told
    (gone,) = again.predict([STRANGER], ood="reject")
    assert gone["rejected"] and "mahalanobis" in gone["reason"] and "class" not in gone
    assert "outside" not in again.predict([STRANGER], ood="off")[0]
    assert "95 % interval" in described(again).summary[0]


@pytest.mark.parametrize("score", ["energy", "probability", "mahalanobis", "neighbours", "none"])
def test_every_score_survives_the_folder(model: Model, task: Task, tmp_path: Path, score: str):
    made = tr.guard(replace(model, guard=None), task, score=score, share=0.05)
    again = tr.load(made.save(tmp_path / score))
    first, second = made.predict(rows(task, "test")[:20]), again.predict(rows(task, "test")[:20])
    assert first == second and ("outside" in first[0]) == (score != "none")
    valid = again.predict(rows(task, "valid"), ood="flag")
    if score != "none":
        assert 0.03 < np.mean([answer["outside"]["outside"] for answer in valid]) <= 0.05


def test_distances_need_no_second_pass(task: Task):
    probe = tr.transfer("table:columns", task, method="probe")
    again = tr.guard(replace(probe, guard=None), task, score="mahalanobis")
    assert probe.guard is not None and again.guard is not None
    for name, array in probe.guard.statistics.items():
        np.testing.assert_allclose(abs(array), abs(again.guard.statistics[name]), rtol=1e-3, atol=1e-4)
    assert probe.guard.threshold == pytest.approx(again.guard.threshold, rel=1e-3)


def test_an_older_folder_opens_and_can_be_guarded(model: Model, task: Task, tmp_path: Path):
    folder = replace(model, guard=None).save(tmp_path / "old")
    document = json.loads((folder / DOCUMENT).read_text())
    del document["guard"]
    (folder / DOCUMENT).write_text(json.dumps(document))
    (folder / "SHA256SUMS").unlink()
    old = tr.load(folder)
    assert old.guard is None and "outside" not in old.predict([STRANGER])[0]
    with pytest.raises(UsageError, match="transfuse guard MODEL DATA"):
        old.predict([STRANGER], ood="reject")
    assert tr.guard(folder, task, score="mahalanobis").predict([STRANGER], ood="reject")[0]["rejected"]


def test_its_file_may_be_deleted_and_must_not_be_changed(model: Model, tmp_path: Path):
    folder = model.save(tmp_path / "model")
    data = bytearray((folder / GUARD).read_bytes())
    data[-1] ^= 1
    (folder / GUARD).write_bytes(bytes(data))
    with pytest.raises(ModelError, match=r"guard\.safetensors' is not the file"):
        tr.load(folder)
    (folder / GUARD).unlink()
    bare = tr.load(folder)
    assert bare.guard is not None and bare.guard.score == "" and "outside" not in bare.predict([STRANGER])[0]


def test_regression_has_distances_from_a_probe(tmp_path: Path):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 400))
    task = open_table({"a": a, "b": b, "y": a - b}, target="y", name="r")
    model = tr.transfer("table:columns", task, method="probe")
    assert model.guard is not None and model.guard.score == "mahalanobis"
    assert model.predict([{"a": 90.0, "b": 9.0}], ood="reject")[0]["rejected"]
    with pytest.raises(UsageError, match="is a score of classes"):
        tr.guard(model, task, score="energy")


def test_wrong_data_and_scores_are_said(model: Model, task: Task):
    with pytest.raises(UsageError, match="kind and classes"):
        tr.guard(replace(model, classes=("x", "y")), task)
    with pytest.raises(UsageError, match="mahalanobis"):
        tr.guard(model, task, score="mahalanobi")
    with pytest.raises(UsageError, match="`share` must be above 0"):
        tr.guard(model, task, share=0.0)


def test_sizes_far_from_those_of_training_are_told(colour_model: Model, pictures: list[np.ndarray]):
    from transfuse.core.nouns import Guard

    model = replace(colour_model, guard=Guard(ranges={"width": (24, 24), "height": (20, 20)}))
    large, ordinary = model.predict([np.zeros((50, 24, 3), np.uint8), pictures[0]])
    assert large["warnings"] == ["its height 50 is far from those of training, 20 to 20"] and "warnings" not in ordinary
    assert model.predict([np.zeros((50, 24, 3), np.uint8)], strict=True)[0]["rejected"]


def test_coarser_pictures_are_replayed_and_priced(colour_model: Model, pictures: list[np.ndarray], tmp_path: Path):
    from transfuse.tasks.opening import open_task

    generator = np.random.default_rng(0)
    images = [
        np.clip(picture + generator.normal(0, 60, picture.shape), 0, 255) for picture in pictures for _ in range(20)
    ]
    data = (np.stack(images).astype(np.uint8), np.repeat(np.array(colour_model.classes), 20))
    task = replace(open_task(data, seed=0), classes=("blue", "green", "red"))
    model = replace(colour_model, classes=("blue", "green", "red"))
    made = tr.guard(model, task, score="energy", encode="bits:1+median:3")
    assert made.preprocessing.encoding == "bits:1+median:3"  # type: ignore[union-attr]
    again = tr.load(made.save(tmp_path / "coarse"), trust_code=True)
    assert again.preprocessing == made.preprocessing
    first, second = (m.predict(pictures[:1], ood="off")[0]["probabilities"] for m in (made, again))
    assert first == second != model.predict(pictures[:1])[0]["probabilities"]
    report = tr.evaluate(model, task, split="train", encode="bits:1")
    row = next(row for row in report.rows if row["metric"] == "accuracy")
    assert row["difference"]["value"] == pytest.approx(row["value"]["value"] - row["without"]["value"])
    assert row["difference"]["low"] <= row["difference"]["value"] <= row["difference"]["high"]
    assert "bits:1" in report.summary[0] and "95 % interval" in report.summary[0]


def test_only_pictures_are_encoded(model: Model, task: Task):
    with pytest.raises(UsageError, match="`encode` is for pictures"):
        tr.guard(model, task, encode="jpeg:75")
