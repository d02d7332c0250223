"""Examples without labels: taught by the teacher alone, beside labelled ones or without any."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.conftest import write_photos
from tests.distilling.conftest import QUICK
from tests.distilling.test_distill import Killed, same

import transfuse as tr
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.distilling.preparing import Plan, prepared
from transfuse.distilling.sums import parsed
from transfuse.distilling.teachers import opened_teachers
from transfuse.distilling.unlabelled import unlabelled
from transfuse.predicting.predict import probabilities
from transfuse.training.options import Fit


@pytest.fixture(scope="module")
def plain(tmp_path_factory, task: Task) -> Path:
    """A folder of 12 new pictures, of a copy of a validation picture, and of a file that is none."""
    folder = tmp_path_factory.mktemp("unlabelled")
    random = np.random.default_rng(9)
    for place in range(12):
        levels = 70 + 80 * np.eye(3)[place % 3]
        light = levels[None, None] + random.normal(0, 40, (32, 32, 3))
        Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).save(folder / f"{place:02}.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "again.png").write_bytes((folder / "00.png").read_bytes())
    return folder


def test_copies_and_broken_files_are_left_out_and_named(plain: Path, task: Task, student: Source):
    found, warnings = unlabelled(plain, task, student.preprocessing)
    assert len(found) == 12
    assert {warning.code for warning in warnings} == {"unreadable", "unlabelled-copies"}
    held = replace(task.splits["valid"], digests=(found.digests[3], *task.splits["valid"].digests[1:]))
    less, _ = unlabelled(plain, replace(task, splits={**task.splits, "valid": held}), student.preprocessing)
    assert found.digests[3] not in less.digests
    with pytest.raises(DataError, match="there is no 'nowhere'"):
        unlabelled("nowhere", task, student.preprocessing)


def test_labels_weigh_as_without_the_others(plain: Path, task: Task, student: Source, teacher: Model):
    extra, _ = unlabelled(plain, task, student.preprocessing)
    plan = Plan(
        student=student, task=task, teachers=opened_teachers(teacher, task, {}), wanted=parsed("kd"), fit=Fit(),
        views=1, extra=extra,
    )  # fmt: skip
    bench = prepared(plan).bench
    assert len(bench.train_inputs) == len(bench.targets) == 36
    assert bench.weights_N.sum() == pytest.approx(36)
    assert (bench.weights_N[24:] == 0).all()


@pytest.mark.parametrize("method", ["kd", "labels + dkd + sp"])
def test_a_student_learns_from_both(method, plain: Path, teacher: Model, student: Source, task: Task):
    model = tr.distill(teacher, student, task, unlabelled=plain, method=method, compare=False, **QUICK)
    assert any("12 examples without labels beside 24" in line for line in model.report.summary)
    without = tr.distill(teacher, student, task, method=method, compare=False, **QUICK)
    assert not same(model, without)


def test_a_killed_training_beside_unlabelled_examples_resumes_exactly(
    plain: Path, teacher: Model, student: Source, task: Task, tmp_path: Path
):
    done: list[Mapping[str, Any]] = []

    def killing(event: Mapping[str, Any]) -> None:
        done.append(event)
        if event["stage"] == "training" and event["done"] == 4:
            raise Killed

    options = {**QUICK, "unlabelled": plain, "compare": False}
    with pytest.raises(Killed):
        tr.distill(teacher, student, task, run=Run(checkpoints=tmp_path, watch=killing), **options)
    resumed = tr.distill(teacher, student, task, run=Run(checkpoints=tmp_path, watch=done.append), **options)
    assert any(event.get("text") == "resumed" for event in done)
    assert same(resumed, tr.distill(teacher, student, task, **options))


def test_without_labels_the_teacher_s_answers_are_the_task(plain: Path, teacher: Model, student: Source):
    model = tr.distill(teacher, student, unlabelled=plain, **QUICK)
    assert model.classes == teacher.classes
    assert [row["model"] for row in model.report.rows] == [
        "teacher", "student distilled", "student of hard answers",
    ]  # fmt: skip
    assert model.report.rows[0]["accuracy"]["value"] == 1  # it agrees with itself
    assert any("agreement with the teacher" in warning.message for warning in model.report.warnings)
    assert "labels" not in model.provenance.options["found"]["sum"]
    with pytest.raises(UsageError, match="`data` must be labelled"):
        tr.distill(teacher, student, **QUICK)


def test_without_labels_names_may_be_changed(plain: Path, teacher: Model, student: Source):
    names = {"red": "warm", "green": "warm", "blue": "cold"}
    model = tr.distill(teacher, student, unlabelled=plain, label_map=names, compare=False, **QUICK)
    assert model.classes == ("warm", "cold")


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_without_labels_of_other_kinds(kind, plain: Path, small: Source, student: Source, tasks):
    teacher = tr.transfer(small, tasks[kind], method="probe")
    model = tr.distill(teacher, student, unlabelled=plain, compare=False, **QUICK)
    row = model.report.rows[0]
    assert row["rmse"]["value"] < 1e-3 if kind == "regression" else row["f1"]["value"] == 1


def test_texts_and_rows_without_labels(tmp_path: Path):
    rows = [(place % 7, place % 3, "yes" if place % 7 > 3 else "no") for place in range(60)]
    lines = [f"{a},{b},{c},{(d * 37 % 60) / 7:.3f}" for d, (a, b, c) in enumerate(rows)]
    (tmp_path / "train.csv").write_text("a,b,label,d\n" + "\n".join(lines[:40]) + "\n")
    (tmp_path / "rest.csv").write_text("a,b,label,d\n" + "\n".join(lines[40:]) + "\n")
    task = tr.task(tmp_path / "train.csv", target="label")
    teacher = tr.transfer("table:columns", task, method="trees")
    options = {**QUICK, "compare": False}
    model = tr.distill(teacher, "table:network", task, unlabelled=tmp_path / "rest.csv", **options)
    assert any("20 examples without labels" in line for line in model.report.summary)
    alone = tr.distill(teacher, "table:network", unlabelled=tmp_path / "rest.csv", **options)
    assert alone.classes == teacher.classes
    assert np.isfinite(probabilities(alone, task.splits["valid"].items)).all()
    assert torch.is_tensor(next(alone.network.parameters()))


def test_too_few_are_told(tmp_path: Path, teacher: Model, student: Source):
    write_photos(tmp_path / "photos", each=1)
    with pytest.raises(DataError, match="at least five"):
        tr.distill(teacher, student, unlabelled=tmp_path / "photos", **QUICK)
