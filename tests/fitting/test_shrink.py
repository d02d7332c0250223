"""A ladder of sizes: every rung is as small as asked, a Model like any other, and told with what it cost."""

import numpy as np
import pytest
from tests.conftest import write_photos

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError, WeightsError
from transfuse.fitting.shrinking.limits import limits

OPTIONS = {"steps": 30, "rate": 3e-3, "patience": 0, "trials": 2}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Pictures of three colours."""
    return tr.task(write_photos(tmp_path_factory.mktemp("pictures"), 24, names=("cat", "dog", "eel")), seed=0)


@pytest.fixture(scope="module")
def whole(task):
    """A small network that solves it."""
    source = tr.source("random:timm:test_resnet", size=32)
    return tr.transfer(source, task, method="scratch", steps=40, rate=3e-3, patience=0)


@pytest.fixture(scope="module")
def ladder(whole, task):
    return tr.shrink(whole, task, to="2x,4x", **OPTIONS)


def size(model):
    return sum(parameter.numel() for parameter in model.network.parameters())


def test_every_rung_is_as_small_as_asked_and_knows_the_task(ladder, whole):
    assert list(ladder) == ["2x", "4x"]
    assert size(ladder["2x"]) <= size(whole) / 2
    assert size(ladder["4x"]) <= size(whole) / 4
    assert ladder["2x"].metrics["test"]["accuracy"]["value"] > 0.6  # three classes


def test_the_report_has_everyone_and_both_pictures(ladder):
    report = ladder["4x"].report
    names = [row["model"] for row in report.rows]
    assert names == ["the whole", "2x", "4x", "2x from random weights", "4x from random weights"]
    assert {"parameters", "multiply-adds", "ms", "accuracy"} <= set(report.columns)
    assert [section.kind for section in report.sections[:3]] == ["front", "front", "decisions"]
    assert len(report.sections[2].content) == 2
    assert "Validation loss after a short distillation" in report.sections[2].content[0]["evidence"]
    assert sum("times fewer parameters" in line for line in report.summary) == 2
    assert sum("random weights" in line for line in report.summary) == 2


def test_a_rung_is_saved_and_answers_again(ladder, task, tmp_path):
    tr.save(ladder, tmp_path / "ladder")
    again = tr.load(tmp_path / "ladder" / "4x")
    items = task.splits["test"].items[:4]
    for found, before in zip(tr.predict(again, items), tr.predict(ladder["4x"], items), strict=True):
        scores = [answer.pop("outside")["score"] for answer in (found, before)]
        assert found == before and scores[0] == pytest.approx(scores[1])
    assert again.provenance.verb == "shrink"


def test_a_killed_ladder_is_taken_up(whole, task, tmp_path):
    run = tr.core.runs.Run(checkpoints=tmp_path / "run")
    seen = []

    def watch(event):
        seen.append(event["stage"])
        if seen.count("training") == 3:
            raise KeyboardInterrupt

    options = {**OPTIONS, "compare": False, "to": "2x"}
    whole_run = tr.shrink(whole, task, **options)
    with pytest.raises(KeyboardInterrupt):
        tr.shrink(whole, task, run=tr.core.runs.Run(checkpoints=run.checkpoints, watch=watch), **options)
    found = tr.shrink(whole, task, run=run, **options)
    for name, tensor in found["2x"].network.state_dict().items():
        assert np.array_equal(tensor.numpy(), whole_run["2x"].network.state_dict()[name].numpy()), name


def test_limits():
    assert [limit.name for limit in limits("2x, 4x,3.5ms,4x")] == ["2x", "4x", "3.5ms"]
    for wrong in ("", "four", "4", "4x;8x", "-2x"):
        with pytest.raises(UsageError, match="`to` must be sizes such as"):
            limits(wrong)
    for wrong in ("1x", "0.5x", "0ms"):
        with pytest.raises(UsageError, match="must make the model smaller"):
            limits(wrong)


def test_a_time_that_is_met_already_is_told(whole, task):
    with pytest.raises(UsageError, match="already, less than the 100000 ms allowed"):
        tr.shrink(whole, task, to="100000ms", trials=1)


def test_a_time_that_no_shape_meets_is_told(whole, task):
    with pytest.raises(WeightsError, match=r"No such shape of .* the fastest took"):
        tr.shrink(whole, task, to="0.0001ms", trials=1, steps=20)


def test_an_option_that_does_not_exist_is_told(whole, task):
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        tr.shrink(whole, task, stepz=3)
    with pytest.raises(UsageError, match="`steps` must be"):
        tr.shrink(whole, task, steps="many")


def test_other_classes_are_refused(whole, task):
    other = tr.reshape(whole, head=["cat", "dog"])
    with pytest.raises(UsageError, match="must have the model's kind and classes"):
        tr.shrink(other, task)
