"""What `--refit` does to models of tables."""

from dataclasses import replace

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.nouns import Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import made
from transfuse.fitting.progress import Progress
from transfuse.fitting.refitting import merged, refitted
from transfuse.predicting.predict import probabilities
from transfuse.sources.references import find
from transfuse.sources.tables.references import unfitted
from transfuse.tasks.tables.opening import open_table
from transfuse.transferring.boosting import library
from transfuse.transferring.methods.trees import regrown


def table(kind: str = "classes", count: int = 300, seed: int = 0) -> Task:
    generator = np.random.default_rng(seed)
    a, b = generator.normal(size=(2, count))
    value = a + b**2 + 0.3 * generator.normal(size=count)
    columns = {"a": a, "b": b, "y": np.where(value > 1, "up", "down") if kind == "classes" else value}
    target: str | list[str] = "y"
    if kind == "numbers":
        columns, target = {**columns, "z": value**3 - a}, ["y", "z"]
    return open_table(columns, target=target, seed=seed, name="t")


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_trees_are_grown_again_on_all_rows_as_many_as_before(kind: str) -> None:
    task, progress = table(kind), Progress()
    first = made(unfitted("columns"), task, "trees", run=Run(), options={"leaves": 4, "growth": 0.2})
    again = refitted(first, task, Run(), progress)
    found = again.model.provenance.options["found"]
    assert found["rounds"] == first.facts["rounds"] and again.name == f"{first.name}, refitted"
    assert not progress.warnings and again.model.temperature == first.model.temperature
    items = task.splits["test"].items
    answers = probabilities(again.model, items)
    assert not np.allclose(answers, probabilities(first.model, items))
    few = regrown(first.source, task, found=first.facts, growth=0.2)  # on the rows of before: the trees of before
    same = replace(first.model, network=few.network)
    np.testing.assert_allclose(probabilities(same, items), probabilities(first.model, items), rtol=1e-5)


def test_the_trees_are_lightgbms_on_these_rows() -> None:
    task = table()
    first = made(unfitted("columns"), task, "trees", run=Run(), options={"leaves": 4, "growth": 0.2})
    again = refitted(first, task, Run(), Progress())
    lightgbm, every = library(), merged(task)
    x_NK, test_NK = (
        np.array([[row.values()[name] for name in ("a", "b")] for row in every.splits[part].items])
        for part in ("train", "test")
    )
    options = {"objective": "binary", "num_leaves": 4, "learning_rate": 0.2, "verbosity": -1, "num_threads": 1}
    data = lightgbm.Dataset(x_NK, every.splits["train"].targets)
    grown = lightgbm.train({**options, "min_data_in_leaf": 20}, data, first.facts["rounds"][0])
    found = probabilities(replace(again.model, temperature=1.0), every.splits["test"].items)[:, 1]
    assert np.abs(found - grown.predict(test_NK)).max() < 1e-3


def test_a_source_taken_unchanged_is_calibrated_on_all_rows(tmp_path) -> None:
    before = tr.transfer("table:columns", table(seed=1), method="probe", name="before")
    source, task = find(before.save(tmp_path / "before")), table(seed=2)
    first = made(source, task, "unchanged", run=Run(), options={})
    again = refitted(first, task, Run(), Progress())
    swapped = replace(task, splits={**task.splits, "valid": merged(task).splits["train"]})
    assert again.model.temperature == made(source, swapped, "unchanged", run=Run(), options={}).model.temperature
    assert again.model.temperature != first.model.temperature


def test_what_learnt_from_two_populations_is_left_as_it_is() -> None:
    task, progress = table(), Progress()
    first = replace(made(unfitted("columns"), task, "probe", run=Run(), options={}), learnt_from="both")
    assert refitted(first, task, Run(), progress) is first
    assert [warning.code for warning in progress.warnings] == ["not-refitted"]
