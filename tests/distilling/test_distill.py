"""From teachers, a student and a task to a saved Model with proof."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.distilling.conftest import QUICK

import transfuse as tr
from transfuse.core.errors import DataError, UnknownName, UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.distilling.losses.table import LOSSES
from transfuse.distilling.report import ALONE, DISTILLED, TEACHER
from transfuse.predicting.predict import probabilities


def weights(model: Model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same(a: Model, b: Model) -> bool:
    theirs = weights(b)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in weights(a).items())


@pytest.mark.parametrize("method", LOSSES)
def test_every_loss_trains_a_student_that_can_be_saved(method, teacher: Model, student: Source, task: Task, tmp_path):
    model = tr.distill(teacher, student, task, method=method, compare=False, **QUICK)
    found = model.provenance.options["found"]
    assert found["steps"] == 6
    items = task.splits["valid"].items
    again = tr.load(model.save(tmp_path / "student"), trust_code=True)
    np.testing.assert_allclose(probabilities(again, items), probabilities(model, items), atol=1e-5)


def test_the_report_measures_all_three_and_says_whether_it_helped(teacher: Model, student: Source, task: Task):
    model = tr.distill(teacher, student, task, **QUICK)
    assert [row["model"] for row in model.report.rows] == [TEACHER, DISTILLED, ALONE]
    assert all(
        row["accuracy"]["n"] == 9 and row["accuracy"]["low"] <= row["accuracy"]["high"] for row in model.report.rows
    )
    assert [row["steps"] for row in model.report.rows] == [20, 6, 6]
    first, second = model.report.summary[:2]
    assert first.startswith(("Distilling helped.", "DISTILLING IS NOT PROVEN TO HELP.", "DISTILLING HURT."))
    assert "the student alone" in first
    assert "95 % interval" in first
    assert "its teacher" in second
    assert any("0.1*labels + 0.9*kd" in line for line in model.report.summary)


def test_both_parents_stand_in_the_provenance(teacher: Model, student: Source, task: Task):
    step = tr.distill(teacher, student, task, compare=False, **QUICK).provenance
    assert (step.verb, step.method) == ("distill", "kd")
    assert [parent.verb for parent in step.inputs] == ["source", "transfer", "task"]
    assert step.inputs[1] == teacher.provenance
    assert {"student", "teacher", "task"} == set(step.digests)


def test_the_student_alone_is_the_one_that_transfer_trains_from_scratch(teacher: Model, student: Source, task: Task):
    report = tr.distill(teacher, student, task, **QUICK).report
    scratch = tr.transfer(student, task, method="scratch", **QUICK)
    assert report.rows[2]["log_loss"] == scratch.report.rows[0]["log_loss"]


def test_a_student_taught_by_its_labels_alone_is_the_student_alone(teacher: Model, student: Source, task: Task):
    model = tr.distill(teacher, student, task, method="labels + 0*kd", views=0, compare=False, **QUICK)
    assert same(model, tr.transfer(student, task, method="scratch", **QUICK))


def test_a_student_approaches_its_teacher(teacher: Model, student: Source, task: Task):
    def apart(model: Model) -> float:
        items = task.splits["valid"].items
        return float(np.abs(probabilities(model, items) - probabilities(teacher, items)).mean())

    options = {**QUICK, "steps": 60, "rate": 3e-3}
    assert apart(tr.distill(teacher, student, task, method="0*labels + kd", compare=False, **options)) < 0.15
    assert apart(tr.transfer(student, task, method="scratch", **QUICK)) > 0.2


def test_enough_views_make_kept_answers_the_live_ones(teacher: Model, student: Source, task: Task):
    kept, live = (
        tr.distill(teacher, student, task, views=views, compare=False, **{**QUICK, "steps": 3}) for views in (8, 0)
    )
    assert kept.provenance.options["found"]["views"] == 1  # 24 examples are one pass of three steps
    for name, tensor in weights(kept).items():
        torch.testing.assert_close(tensor, weights(live)[name], rtol=1e-2, atol=2e-3)


def test_several_teachers_and_a_saved_one(teacher: Model, small: Source, student: Source, task: Task, tmp_path):
    other = tr.transfer(small, task, method="probe")
    model = tr.distill([teacher.save(tmp_path / "t"), other], student, task, trust_code=True, compare=False, **QUICK)
    assert [parent.verb for parent in model.provenance.inputs] == ["source", "transfer", "transfer", "task"]
    p_NC = (probabilities(teacher, task.splits["test"].items) + probabilities(other, task.splits["test"].items)) / 2
    right = float((p_NC.argmax(1) == task.splits["test"].targets).mean())
    assert model.report.rows[0]["accuracy"]["value"] == pytest.approx(right)
    with pytest.raises(UsageError, match="`simkd` must have one teacher"):
        tr.distill([teacher, other], student, task, method="simkd", compare=False, **QUICK)


def test_inner_layers_of_several_teachers_are_paired_one_by_one(teacher: Model, small: Source, student: Source, task):
    other = tr.transfer(small, task, method="probe")
    model = tr.distill([teacher, other], student, task, method="kd + at", compare=False, **QUICK)
    told = [line for line in model.report.summary if line.startswith("Layers of")]
    assert [name for name in (teacher.name, other.name) if any(f"Layers of {name} " in line for line in told)] == [
        teacher.name,
        other.name,
    ]


def test_the_user_s_taps_and_their_similarity_are_told(teacher: Model, student: Source, task: Task):
    taps = {"blocks.1": "first", "blocks.4": "third"}
    model = tr.distill(teacher, student, task, method="kd + at", taps=taps, compare=False, **QUICK)
    pairs = model.provenance.options["found"]["pairs"]
    assert {pair["student"]: pair["teacher"] for pair in pairs} == taps
    assert any("blocks.1 - first" in line for line in model.report.summary)
    with pytest.raises(UnknownName, match=r"No module of the teacher is called 'thrid'\. Did you mean 'third'"):
        tr.distill(teacher, student, task, method="at", taps={"blocks.1": "thrid"}, **QUICK)


def test_a_teacher_like_the_student_overwrites_what_is_tapped(teacher: Model, small: Source, task: Task):
    model = tr.distill(teacher, small, task, method="kd + sp", scratch=True, compare=False, **QUICK)
    assert model.provenance.options["found"]["copied"] == []
    pretrained = tr.distill(teacher, small, task, compare=False, **QUICK)
    assert not same(model, pretrained)


def test_simkd_answers_by_the_teacher_s_own_classifier(teacher: Model, student: Source, task: Task, tmp_path):
    model = tr.distill(teacher, student, task, method="simkd", compare=False, **{**QUICK, "steps": 40, "rate": 3e-3})
    head = teacher.network.get_submodule("head")
    assert torch.equal(model.network.get_submodule("head").weight, head.weight)
    source = tr.source(model.save(tmp_path / "student"))
    again = tr.transfer(source, task, method="probe")
    assert again.report.rows[0]["accuracy"]["value"] > 0.5
    with pytest.raises(UsageError, match="must stand alone"):
        tr.distill(teacher, student, task, method="simkd + at", **QUICK)


def test_no_time_for_the_student_alone_does_not_cost_the_distilled_one(teacher: Model, student: Source, task: Task):
    def late(event: Mapping[str, Any]) -> None:
        if event["stage"] == "training" and event["done"] == 6:
            object.__setattr__(run, "deadline", time.monotonic())

    run = Run(deadline=time.monotonic() + 600, watch=late)
    model = tr.distill(teacher, student, task, run=run, **QUICK)
    assert [row["model"] for row in model.report.rows] == [TEACHER, DISTILLED]
    assert model.report.summary[0].startswith("Whether distilling helped is not known")


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize(("stage", "after"), [("training", 4), ("training", 10)])
@pytest.mark.parametrize("method", ["kd", "ctkd + crd"])
def test_a_killed_distillation_ends_with_the_same_weights(
    method, stage, after, teacher: Model, student: Source, task: Task, tmp_path: Path
):
    done: list[Mapping[str, Any]] = []

    def killing(event: Mapping[str, Any]) -> None:
        if event["stage"] == stage:
            done.append(event)
            if len(done) == after:
                raise Killed

    run = Run(checkpoints=tmp_path)
    with pytest.raises(Killed):
        tr.distill(teacher, student, task, method=method, run=replace(run, watch=killing), **QUICK)
    resumed = tr.distill(teacher, student, task, method=method, run=replace(run, watch=done.append), **QUICK)
    assert any(event.get("text") == "resumed" for event in done)
    whole = tr.distill(teacher, student, task, method=method, **QUICK)
    assert same(resumed, whole)
    assert resumed.report.rows[1:] == whole.report.rows[1:]


def test_what_cannot_be_distilled_is_refused(teacher: Model, student: Source, tasks, task: Task):
    with pytest.raises(UsageError, match=r"regression image, but '.*' is single-label image"):
        tr.distill(teacher, student, tasks["regression"])
    with pytest.raises(DataError, match="at least two classes"):
        tr.distill(teacher, student, replace(task, classes=("red",)))
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        tr.distill(teacher, student, task, step=3)
    with pytest.raises(UnknownName, match="loss of distillation"):
        tr.distill(teacher, student, task, method="kdd")
    with pytest.raises(UsageError, match="`views` must be at least 0"):
        tr.distill(teacher, student, task, views=-1)
