"""Several seeds, generations, and students that learn together: every choice is validation's."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from tests.distilling.conftest import QUICK
from tests.distilling.test_distill import Killed, same

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.distilling.mutual import mean_answer
from transfuse.distilling.report import margin
from transfuse.predicting.predict import probabilities


def test_the_seed_that_validates_best_is_kept_and_all_are_told(teacher: Model, student: Source, task: Task):
    model = tr.distill(teacher, student, task, seeds=3, compare=False, **QUICK)
    singles = [tr.distill(teacher, student, task, seed=seed, compare=False, **QUICK) for seed in range(3)]
    validation = [one.provenance.options["found"]["validation"] for one in singles]
    best = max(range(3), key=lambda n: validation[n]["score"])
    assert same(model, singles[best])
    assert [row["score"] for row in model.provenance.options["found"]["seeds"]] == [v["score"] for v in validation]
    line = next(line for line in model.report.summary if "by seed" in line)
    accuracies = [one.report.rows[-1]["accuracy"]["value"] for one in singles]
    assert f"Mean {np.mean(accuracies):.4g}, 95 % interval" in line
    assert line.endswith(f"kept by validation: seed {best}.")


def test_the_interval_over_seeds_is_student_s():
    values = [0.7, 0.8, 0.75]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert margin(values) == pytest.approx((high - low) / 2)
    assert math.isinf(margin([0.7]))


def test_each_generation_is_taught_by_the_one_before(student: Source, task: Task):
    model = tr.distill("self", student, task, generations=2, **QUICK)
    rows = model.provenance.options["found"]["generations"]
    assert [row["generation"] for row in rows] == [0, 1, 2]
    first = tr.transfer(student, task, method="scratch", **QUICK)
    assert rows[0]["score"] == first.provenance.options["found"]["validation"]["score"]
    best = max(rows, key=lambda row: (row["score"], -row["generation"]))
    assert any(line.endswith(f"Kept: {best['generation']}.") for line in model.report.summary)


@pytest.mark.parametrize("kind", ["single-label", "regression"])
def test_generations_of_any_kind_can_be_saved(kind, student: Source, tasks, tmp_path):
    task = tasks[kind]
    model = tr.distill("self", student, task, generations=1, compare=False, **QUICK)
    again = tr.load(model.save(tmp_path / "student"))
    items = task.splits["valid"].items
    np.testing.assert_allclose(probabilities(again, items), probabilities(model, items), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_students_learn_together(kind, student: Source, tasks, tmp_path):
    task = tasks[kind]
    model = tr.distill("self", student, task, mutual=2, compare=False, **QUICK)
    found = model.provenance.options["found"]
    assert len(found["peers"]) == 2
    assert found["kept"] == int(np.argmax(found["peers"]))
    both = tr.distill("self", student, task, mutual=2, together=True, compare=False, **QUICK)
    again = tr.load(both.save(tmp_path / "both"))
    items = task.splits["valid"].items
    np.testing.assert_allclose(probabilities(again, items), probabilities(both, items), rtol=1e-3, atol=1e-4)
    count = sum(p.numel() for p in model.network.parameters())
    assert sum(p.numel() for p in both.network.parameters()) >= 2 * count


def test_pretrained_peers_differ(small: Source, task: Task):
    model = tr.distill("self", small, task, mutual=2, together=True, compare=False, **QUICK)
    first, second = model.network.get_submodule("body.members")
    assert not torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.body.first[0].weight, second.body.first[0].weight)


def test_the_mean_answer_is_that_of_probabilities():
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(mean_answer([a, b], "single-label").softmax(1), (a.softmax(1) + b.softmax(1)) / 2)
    torch.testing.assert_close(mean_answer([a, b], "multi-label").sigmoid(), (a.sigmoid() + b.sigmoid()) / 2)


@pytest.mark.parametrize("options", [{"generations": 1}, {"mutual": 2}, {"seeds": 2}])
def test_what_was_killed_ends_with_the_same_weights(options, teacher: Model, student: Source, task: Task, tmp_path):
    seen, who = [], teacher if "seeds" in options else "self"

    def killing(event) -> None:
        if event["stage"] == "training":
            seen.append(event)
            if len(seen) == (4 if "mutual" in options else 10):
                raise Killed

    given = {**QUICK, **options, "compare": False}
    with pytest.raises(Killed):
        tr.distill(who, student, task, run=Run(checkpoints=tmp_path, watch=killing), **given)
    resumed = tr.distill(who, student, task, run=Run(checkpoints=tmp_path), **given)
    assert same(resumed, tr.distill(who, student, task, **given))


@pytest.mark.parametrize(
    ("teacher_name", "options", "words"),
    [
        ("self", {}, "must go with `generations`"),
        ("self", {"mutual": 1}, "at least 2 students"),
        ("self", {"mutual": 2, "generations": 1}, "must not go together"),
        ("self", {"together": True, "generations": 1}, "must go with `mutual`"),
        ("self", {"mutual": 2, "method": "kd + at"}, "must look at answers"),
        ("self", {"generations": 1, "top": 2}, "with a teacher of its own"),
        (None, {"generations": 1}, "with the teacher 'self'"),
        (None, {"seeds": 0}, "`seeds` must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_told(teacher_name, options, words, teacher: Model, student: Source, task: Task):
    with pytest.raises(UsageError, match=words):
        tr.distill(teacher_name or teacher, student, task, **{**QUICK, **options})
