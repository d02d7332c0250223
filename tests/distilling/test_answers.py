"""Kept answers are those about exactly the pictures that the student sees."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.distilling.conftest import QUICK

import transfuse as tr
from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Model, Preprocessing, Source, Task
from transfuse.core.runs import Run
from transfuse.distilling.answers import Asked, kept, live, safe_precision
from transfuse.distilling.teachers import opened_teachers
from transfuse.distilling.views import Cycled, SideBySide, inputs_for
from transfuse.sources import cache
from transfuse.tasks.images.augmenting import STANDARD
from transfuse.training.batches import Batches
from transfuse.training.options import Fit


def asked_of(teacher: Model, task: Task, seed: int = 0) -> Asked:
    (opened,) = opened_teachers(teacher, task, {})
    train = task.splits["train"]
    inputs = inputs_for(train, opened.preprocessing, STANDARD, seed)
    return Asked(teacher=opened, examples=train, inputs=inputs, augmentation=STANDARD, fit=Fit(seed=seed))


def batches(asked: Asked, views: int) -> Batches:
    targets = torch.from_numpy(asked.examples.targets)
    weights_N = np.ones(len(targets), np.float32)
    return Batches(inputs=Cycled(asked.inputs, views), targets=targets, weights_N=weights_N, batch_size=9, seed=0)


def log_p(z_BC: torch.Tensor) -> torch.Tensor:
    return z_BC.log_softmax(1)


@pytest.fixture
def own_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path))


@pytest.mark.usefixtures("own_folder")
def test_kept_answers_are_those_of_a_live_teacher_about_the_same_views(teacher: Model, task: Task):
    asked = asked_of(teacher, task)
    now, then = live(asked, same=True), kept(asked, 3, Run())
    for step in range(10):  # more than three passes, and batches across them
        batch = batches(asked, 3).at(step)
        torch.testing.assert_close(log_p(then(batch)), log_p(now(batch)), rtol=1e-3, atol=1e-3)
    fresh = batches(asked, 100).at(10)
    assert not torch.allclose(
        log_p(then(fresh)), log_p(now(fresh)), rtol=1e-2, atol=1e-2
    )  # of other views they are not


@pytest.mark.usefixtures("own_folder")
def test_answers_are_computed_once_and_never_taken_for_another_teacher_s(teacher: Model, task: Task, monkeypatch):
    asked = asked_of(teacher, task)
    batch = batches(asked, 2).at(0)
    first = kept(asked, 2, Run())(batch)
    with monkeypatch.context() as patch:
        patch.setattr(asked.teacher.network, "forward", lambda x: pytest.fail("asked again"))
        torch.testing.assert_close(kept(asked, 2, Run())(batch), first)
    count = len(cache.entries())
    for other in (asked_of(teacher, task, seed=1), replace(asked, teacher=replace(asked.teacher, digest="another"))):
        kept(other, 2, Run())
    assert len(cache.entries()) == count + 4
    views = [entry.path for entry in cache.entries() if entry.description.get("depth", "").startswith("view")]
    assert [np.load(path, mmap_mode="r").dtype for path in views] == [np.float16] * 6


@pytest.mark.usefixtures("own_folder")
def test_a_killed_extraction_goes_on_with_the_next_view(teacher: Model, task: Task):
    asked, seen = asked_of(teacher, task), []

    def killing(event: Mapping[str, object]) -> None:
        seen.append(event["text"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(asked, 3, Run(watch=killing))
    seen.extend(["-", "-"])
    kept(asked, 3, Run(watch=killing))
    assert seen[4:] == ["view 2 of 3", "view 3 of 3"]


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize("how", ["kept", "live"])
def test_a_teacher_that_answers_nonsense_is_named_with_the_example(teacher: Model, task: Task, how: str, monkeypatch):
    asked = asked_of(teacher, task)
    forward = asked.teacher.network.forward

    def broken(x: torch.Tensor) -> torch.Tensor:
        found = forward(x).clone()
        found[3, 1] = float("nan")
        return found

    monkeypatch.setattr(asked.teacher.network, "forward", broken)
    batch = batches(asked, 2).at(0)
    name = "row 3" if how == "kept" else f"row {int(batch.index_B[3])}"
    with pytest.raises(WeightsError, match=f"for '{name}'"):
        kept(asked, 1, Run()) if how == "kept" else live(asked, same=True)(batch)
    assert cache.entries() == []


def test_a_teacher_of_another_size_sees_the_same_picture(task: Task):
    ours = Preprocessing(size=(32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
    theirs = replace(ours, mean=(0.5,) * 3, std=(0.25,) * 3)
    larger = replace(ours, size=(64, 64))
    train, index_B = task.splits["train"], np.arange(6)
    a, b, c = (inputs_for(train, view, STANDARD, 0).take(index_B, 2) for view in (ours, theirs, larger))
    torch.testing.assert_close(b * 0.25 + 0.5, a, rtol=0, atol=1e-5)
    down = torch.nn.functional.avg_pool2d(c, 8).flatten()
    same, other = (
        torch.corrcoef(torch.stack([down, x]))[0, 1]
        for x in (
            torch.nn.functional.avg_pool2d(a, 4).flatten(),
            torch.nn.functional.avg_pool2d(inputs_for(train, ours, STANDARD, 0).take(index_B, 3), 4).flatten(),
        )
    )
    assert same > 0.95 > other


def test_an_ensemble_of_two_sizes_sees_views_too(small: Source, task: Task):
    from transfuse.core.nouns import JointPreprocessing

    assert isinstance(small.preprocessing, Preprocessing)
    views = (small.preprocessing, replace(small.preprocessing, size=(16, 16)))
    inputs = inputs_for(task.splits["train"], JointPreprocessing(views=views), STANDARD, 0)
    assert isinstance(inputs, SideBySide)
    index_B = np.arange(4)
    found = inputs.take(index_B, 1)
    assert found.shape == (4, 3 * 32 * 32 + 3 * 16 * 16)
    assert not torch.equal(found, inputs.take(index_B, 2))


@pytest.mark.usefixtures("own_folder")
def test_the_largest_answers_keep_their_probability_and_the_rest_share_what_is_left(teacher: Model, task: Task):
    asked = replace(asked_of(teacher, task), top=2)
    batch = batches(asked, 1).at(0)
    p_BC = live(asked, same=True)(batch).double().softmax(1)
    for _ in range(2):  # computed, then read
        kept_BC = kept(asked, 1, Run())(batch).double().exp()
        torch.testing.assert_close(kept_BC.sum(1), torch.ones(9, dtype=torch.float64), rtol=1e-2, atol=1e-3)
        places_BC = p_BC.topk(2, 1).indices
        torch.testing.assert_close(kept_BC.gather(1, places_BC), p_BC.gather(1, places_BC), rtol=1e-2, atol=1e-3)
    kinds = {np.load(entry.path, mmap_mode="r").dtype for entry in cache.entries() if "view" in str(entry.description)}
    assert kinds == {np.dtype("float16"), np.dtype("int32")}


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("kd", {"top": 2}, "losses at temperature 1"),
        ("logit_std(temperature=1)", {"top": 2}, "losses at temperature 1"),
        ("kd(temperature=1)", {"top": 3}, "below the 3 classes"),
        ("kd(temperature=1)", {"top": 2, "views": 0}, "kept answers"),
        ("kd(temperature=1) + at", {"top": 2}, "losses at temperature 1"),
    ],
)
def test_the_largest_answers_alone_are_refused_where_they_teach_wrong(method, options, words, teacher, student, task):
    with pytest.raises(UsageError, match=words):
        tr.distill(teacher, student, task, method=method, compare=False, **QUICK, **options)


def test_the_largest_answers_train_a_student(teacher: Model, student: Source, task: Task):
    model = tr.distill(teacher, student, task, method="kd(temperature=1)", top=2, compare=False, **QUICK)
    assert any("its 2 largest answers" in line for line in model.report.summary)


@pytest.mark.usefixtures("own_folder")
def test_bfloat16_is_taken_where_it_is_safe_and_there(teacher: Model, task: Task, monkeypatch):
    asked = asked_of(teacher, task)
    here = torch.device("cpu")
    index_B = np.arange(8)
    assert safe_precision(asked, 0, index_B, here) == ("float32", None)  # the tests' processor has none
    monkeypatch.setattr("transfuse.distilling.answers.has_native_bfloat16", lambda device: True)
    precision, deviation = safe_precision(asked, 0, index_B, here)
    assert precision == ("bfloat16" if deviation <= 0.02 else "float32")
    assert deviation > 0
    monkeypatch.setattr("transfuse.distilling.answers._SAFE", deviation / 2)
    assert safe_precision(asked, 0, index_B, here) == ("float32", deviation)
    monkeypatch.setattr("transfuse.distilling.answers._SAFE", 1.0)
    assert safe_precision(asked, 0, index_B, here) == ("bfloat16", deviation)
    kept(asked, 1, Run())
    assert [e.description["computed in"] for e in cache.entries()] == ["bfloat16"]
