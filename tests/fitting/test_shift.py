"""Two populations: what is aligned, what is weighted, and what the report says of it."""

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import DataError
from transfuse.core.nouns import Task
from transfuse.core.runs import Run
from transfuse.fitting.shift import drift, importance, opened_source, together
from transfuse.tasks.tables.opening import columns_of, open_table
from transfuse.tasks.tables.rows import encoded_rows


def people(count: int, mean: float, seed: int, turned: bool = False) -> Task:
    """The answer rises with `x`, or falls where the population is `turned`."""
    generator = np.random.default_rng(seed)
    x = generator.normal(mean, 1, count)
    value = (-x if turned else x) + 0.7 * generator.normal(size=count)
    columns = {"x": x, "z": generator.normal(size=count), "y": np.where(value > 0, "yes", "no")}
    return open_table(columns, target="y", name=f"people {seed}")


def test_rows_like_the_targets_weigh_more() -> None:
    source, task = people(600, 0.0, 0), people(300, 1.5, 1)
    both = together(source, task)
    ratio = importance(source, task, both, Run())
    x_N = encoded_rows(both.splits["train"].items, columns_of(both))[len(task.splits["train"]) :, 0]
    assert ratio.weights_N.mean() == pytest.approx(1)
    assert ratio.weights_N[x_N > 1].mean() > 3 * ratio.weights_N[x_N < 0].mean()


def test_equal_populations_weigh_the_same() -> None:
    source, task = people(600, 0.0, 0), people(300, 0.0, 1)
    ratio = importance(source, task, together(source, task), Run())
    assert ratio.weights_N.std() < 0.3 and ratio.effective > 0.9 * len(source.splits["train"])


def test_drift_is_told_by_column() -> None:
    places = drift(people(600, 0.0, 0), people(600, 1.5, 1))[0].places
    assert places[0].startswith("x: overlap 0.") and "z: overlap 0.9" in places[1]


def test_another_question_is_refused() -> None:
    with pytest.raises(DataError, match="kind and classes"):
        opened_source([{"x": float(k * k % 17), "y": "abc"[k % 3]} for k in range(60)], people(100, 0, 0), 0)


def test_the_report_says_whether_the_source_helps() -> None:
    task = people(400, 0.0, 1)
    losses = {}
    for turned in (False, True):
        model = tr.fit(task, source_data=people(2000, 0.0, 2, turned), budget="2m", finetune=False)
        rows = {row["model"]: row["log_loss"]["value"] for row in model.report.rows}
        assert {"pooled trees of columns", "importance-weighted trees of columns", "CORAL linear model of columns"} <= {
            *rows
        }
        assert any(warning.code == "drift" for warning in model.report.warnings)
        left = next(w.places for w in model.report.warnings if w.code == "importance-weights")
        assert any(line.startswith("importance weights: 1200 examples count like 1") for line in left), left
        losses[turned] = rows["pooled linear model of columns"]
    said = [finding for finding in model.report.summary if "pooled linear model of columns is worse" in finding]
    assert said and said[0].startswith("NEGATIVE TRANSFER")
    assert losses[True] > losses[False] + 0.1 and model.provenance.method != "unchanged"
