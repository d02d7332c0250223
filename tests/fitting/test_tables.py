"""The main job on a table: what stands in the report, and what is decided."""

import csv
from pathlib import Path

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Report
from transfuse.tasks.tables.opening import open_table


def written(path: Path, count: int, seed: int, extra: bool = False) -> Path:
    """Income by age and job, with holes; `extra` adds a column of noise."""
    generator = np.random.default_rng(seed)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["age", "job", *(["extra"] if extra else []), "income"])
        for _ in range(count):
            age, job = generator.integers(18, 80), generator.choice(["a", "b", "c"])
            score = -abs(age - 50) / 8 + {"a": 2.0, "b": 1.0, "c": 4.0}[job] + 0.3 * generator.normal()
            cell = "" if generator.random() < 0.1 else age
            writer.writerow([cell, job, *([generator.normal()] if extra else []), ">50K" if score > 0 else "<=50K"])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def fitted(folder: Path):
    path = written(folder / "people.csv", 500, 0)
    return tr.fit(open_table(path, target="income"), budget="2m", options={"steps": 80})


def test_the_baselines_stand_in_the_report(fitted) -> None:
    report: Report = fitted.report
    names = {row["model"] for row in report.rows}
    assert names == {"linear model of columns", "trees of columns", "scratch of network"}
    assert any("linear model" in finding and "test split" in finding for finding in report.summary)
    assert fitted.metrics["test"]["accuracy"]["value"] > 0.8


def test_the_model_is_saved_and_answers_rows_and_files(fitted, folder: Path) -> None:
    model = tr.load(fitted.save(folder / "model"))
    rows = [{"age": 50, "job": "c"}, {"age": 20, "job": "b"}, {"age": None, "job": "new"}]
    answers = model.predict(rows)
    assert [answer["class"] for answer in answers[:2]] == [">50K", "<=50K"] and "class" in answers[2]
    wrong = model.predict([{"age": "old", "job": "a"}, {"age": 50, "job": "c"}])
    assert "column 'age' must hold a number, but holds 'old'" in wrong[0]["reason"] and wrong[1]["class"] == ">50K"
    assert "lacks 'job'" in model.predict([{"age": 50}])[0]["reason"]
    report = tr.evaluate(model, written(folder / "new.csv", 200, 9))
    assert report.rows[0]["value"]["n"] == 200 and report.rows[0]["value"]["value"] > 0.75


def test_an_earlier_model_takes_part_and_is_judged(fitted, folder: Path) -> None:
    big = open_table(written(folder / "before.csv", 2000, 1), target="income")
    before = tr.transfer("table:columns", big, method="trees", leaves=8, name="before")
    source = str(before.save(folder / "before"))
    few = open_table(written(folder / "few.csv", 80, 2, extra=True), target="income")
    model = tr.fit(few, sources=[source], budget="2m", finetune=False)
    names = {row["model"] for row in model.report.rows}
    assert {"unchanged of before", "probe of before", "trees of before", "trees of columns"} <= names
    assert any(finding.startswith(("Transfer", "NEGATIVE TRANSFER")) for finding in model.report.summary)
    assert any(w.code == "columns-differ" and "+ extra (numeric): new" in w.places for w in model.report.warnings)


def test_rows_without_labels_take_part_and_are_judged(folder: Path) -> None:
    task = open_table(written(folder / "labelled.csv", 150, 3), target="income")
    more = str(written(folder / "unlabelled.csv", 300, 4))
    model = tr.fit(task, budget="2m", unlabelled=more, options={"steps": 30, "pretraining_steps": 60})
    assert "pretrained of network" in {row["model"] for row in model.report.rows}
    assert any("rows without labels" in finding and "[test split]" in finding for finding in model.report.summary)
    decisions = next(s for s in model.report.sections if s.kind == "decisions").content
    assert any(d["question"] == "Do the rows without labels help?" for d in decisions)
    with pytest.raises(UsageError, match="leave --no-finetune out"):
        tr.fit(task, unlabelled=more, finetune=False)
    with pytest.raises(DataError, match="There is no file"):
        tr.fit(task, unlabelled=str(folder / "nowhere.csv"))
