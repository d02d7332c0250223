"""The door: several ways at once, costs and proof in the report, mistakes in words."""

from dataclasses import replace

import pytest
from tests.conftest import write_photos
from tests.reshaping.parts import model_of

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.predicting.predict import probabilities
from transfuse.reshaping.ways import WAYS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of three colours: cat red, dog green, eel blue."""
    return write_photos(tmp_path_factory.mktemp("pictures"), 14, names=("cat", "dog", "eel"))


def test_the_answers_stay_and_the_report_says_so(tmp_path):
    model = model_of("resnet")
    wider = tr.reshape(model, widen=1.5, deepen=2)
    assert wider.provenance.method == "widen + deepen"
    assert len(wider.builder["reshaped"]["changes"]) == 2
    assert [row["model"] for row in wider.report.rows] == ["before", "after"]
    before, after = (row["parameters"] for row in wider.report.rows)
    assert after > 2 * before
    assert "Answers to made-up examples differ by" in wider.report.summary[0]
    assert float(wider.report.summary[0].split("differ by ")[1].split(" ")[0]) < 1e-4
    again = tr.load(wider.save(tmp_path / "wider"))
    assert again.name == wider.name


@pytest.mark.parametrize("way", ["cut", "prune", "low_rank", "exits"])
def test_what_may_go_is_decided_on_examples(way):
    with pytest.raises(UsageError, match="there are none: give DATA"):
        tr.reshape(model_of("resnet"), **{way: 2 if way == "exits" else 0.5})


def test_accuracy_before_and_after_stands_in_the_report(folder):
    model = model_of("resnet")
    smaller = tr.reshape(model, folder, prune=0.5)
    assert smaller.report.rows[1]["parameters"] <= 0.5 * smaller.report.rows[0]["parameters"]
    assert smaller.report.rows[0]["accuracy"]["n"] == len(tr.task(folder).splits["test"])
    assert "accuracy" in smaller.metrics["test"]
    assert any("of accuracy (95 % interval" in line for line in smaller.report.summary)


def test_what_it_answers_is_calibrated_anew(folder):
    model = replace(model_of("resnet"), confidences=(0.1, 0.9))
    assert tr.reshape(model, widen=1.5).confidences == (0.1, 0.9)
    assert tr.reshape(model, activation="gelu").confidences == ()  # nobody knows them without examples
    task = tr.task(folder, seed=0)
    smaller = tr.reshape(model, task, prune=0.5)
    answers = probabilities(smaller, task.splits["valid"].items).max(1)
    assert smaller.confidences[0] == answers.min() and smaller.confidences[-1] == answers.max()
    assert smaller.temperature != model.temperature


def test_a_head_for_other_classes():
    other = tr.reshape(model_of("resnet"), head=["eel", "fox"])
    assert other.classes == ("eel", "fox")
    assert "The head has 2 classes now" in other.report.summary[0]


def test_mistakes_are_told(folder, tmp_path):
    model = model_of("resnet")
    with pytest.raises(UsageError, match=f"must be told how, by one of {', '.join(WAYS)}"):
        tr.reshape(model)
    with pytest.raises(UnknownName, match="Did you mean 'gelu'"):
        tr.reshape(model, activation="gelo")
    (tmp_path / "one").mkdir()
    two = tr.task(folder, seed=0)
    with pytest.raises(UsageError, match="must have the model's kind and classes"):
        tr.reshape(tr.reshape(model, head=["eel", "fox"]), two, prune=0.5)
