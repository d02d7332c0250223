"""Two tables column by column."""

import numpy as np
import pytest
from scipy import stats

import transfuse as tr
from transfuse.checking.drift import drift
from transfuse.core.nouns import Report, Task
from transfuse.tasks.tables.opening import open_table


def people(count: int, seed: int, older: float = 0.0, towns: str = "abc", holes: float = 0.1) -> Task:
    generator = np.random.default_rng(seed)
    age = np.round(generator.normal(40 + older, 10, count))
    sick = generator.random(count) < holes
    return open_table(
        {
            "age": [None if hole else float(value) for hole, value in zip(sick, age, strict=True)],
            "height": generator.normal(170, 8, count),
            "town": generator.choice(list(towns), count).tolist(),
            "gain": np.where(generator.random(count) < 0.05, 7777, 0),
            "y": np.where(generator.random(count) < 0.5, "yes", "no"),
        },
        target="y",
        name=f"people {seed}",
    )


def rows_of(report: Report) -> dict[str, dict]:
    return {row["column"]: row for row in report.sections[0].content["rows"]}


def test_equal_populations_are_not_told_apart_and_no_column_moved() -> None:
    report = drift(people(400, 0), people(400, 1))
    assert report.rows[0]["auc"]["low"] <= 0.5 and report.summary[0].startswith("No difference")
    assert len(report.summary) == 1
    assert all(row["p corrected"] > 0.05 for row in rows_of(report).values())


def test_what_moved_is_measured_and_comes_first() -> None:
    a, b = people(400, 0), people(300, 1, older=15)
    report = drift(a, b)
    rows = rows_of(report)
    ages = [
        np.array([row.values()["age"] for part in task.splits.values() for row in part.items], float) for task in (a, b)
    ]
    first, second = (x[np.isfinite(x)] for x in ages)
    assert rows["age"]["distance"] == pytest.approx(stats.ks_2samp(first, second).statistic, abs=1e-4)
    pooled = np.sqrt((first.var() + second.var()) / 2)
    assert rows["age"]["standardised"] == pytest.approx((second.mean() - first.mean()) / pooled, abs=1e-3)
    assert next(iter(rows)) == "age" and report.summary[1].startswith("'age' moved") and len(report.summary) == 2
    assert report.rows[0]["auc"]["value"] > 0.75


def test_cells_of_one_value_are_one_value_in_both_tables() -> None:
    """Scaled by each table's own mean and deviation, equal cells would differ in their last digits."""
    rows = rows_of(drift(people(600, 0, older=3), people(400, 1)))
    assert rows["gain"]["distance"] < 0.05 and rows["gain"]["p corrected"] > 0.05


def test_new_and_gone_categories_and_missing_cells_are_named() -> None:
    report = drift(people(300, 0), people(300, 1, towns="bcd", holes=0.6))
    rows, told = rows_of(report), " ".join(report.summary)
    assert (rows["town"]["new"], rows["town"]["gone"]) == ("d", "a")
    assert rows["town"]["distance"] == pytest.approx(1 / 3, abs=0.1)
    assert rows["age"]["missing second"] > 0.5 and rows["age"]["p corrected"] < 1e-6
    assert "Categories of the second alone: 'town' (d)." in told and "'age' moved" in told
    assert report.rows[0]["auc"]["value"] > 0.8


def test_a_column_of_one_table_alone_is_named() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 60)).round(2)
    a = open_table({"x": noise[0], "z": np.arange(60.0) % 7, "y": ["a", "b"] * 30}, target="y", name="one")
    b = open_table({"w": 5 * noise[1] + 9, "z": np.arange(60.0) % 7, "y": ["a", "b"] * 30}, target="y", name="two")
    told = " ".join(tr.drift(a, b).summary)
    assert "Columns of the first alone: x." in told and "Columns of the second alone: w." in told
