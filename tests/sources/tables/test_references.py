"""An earlier table's columns against a new one's."""

from dataclasses import replace

import numpy as np

from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.sources.tables.references import changes, matched, overlap
from transfuse.tasks.tables.opening import columns_of, open_table


def numbers(name: str, mean: float, std: float = 1.0) -> Column:
    quantiles = np.quantile(np.random.default_rng(0).normal(mean, std, 5000), np.linspace(0, 1, 33))
    return Column(name=name, role="numeric", mean=mean, std=std, quantiles=tuple(quantiles.tolist()))


def texts(name: str, *values: str) -> Column:
    return Column(name=name, role="categorical", values=values, shares=tuple([1 / len(values)] * len(values)))


def test_by_name_then_by_looks() -> None:
    source = (numbers("age", 40, 10), texts("colour", "red", "blue"), numbers("height", 170, 8))
    table = (numbers("Age ", 41, 10), texts("farbe", "blue", "red"), numbers("weight", 70, 8))
    found = matched(source, table)
    assert [None if c is None else c.name for c in found.values()] == ["Age ", "farbe", None]


def test_what_differs_is_said_and_nothing_loses_its_place() -> None:
    source = TablePreprocessing(
        columns=(numbers("age", 40, 10), texts("sex", "Male", "Female", "Other"), numbers("gone", 0))
    )
    table = TablePreprocessing(columns=(numbers("new", 9), texts("sex", "female", "Male", "X"), numbers("age", 80, 10)))
    found = changes(source, table)
    assert [(c.name, c.absent) for c in found.columns.columns] == [
        ("age", False),
        ("sex", False),
        ("gone", True),
        ("new", False),
    ]
    sex = found.columns.columns[1]
    assert sex.values == ("Male", "Female", "Other", "X") and sex.spellings == (("female", 1),)
    assert found.columns.columns[0].mean == 40  # the source's scale
    said = "\n".join(found.lines)
    for line in (
        "~ age: distributed otherwise",
        "~ sex: 'female' is 'Female'",
        "+ sex = 'X'",
        "- sex = 'Other'",
        "- gone",
        "+ new",
    ):
        assert line in said


def test_equal_columns_change_nothing() -> None:
    source = TablePreprocessing(columns=(numbers("age", 40), texts("sex", "m", "f")))
    found = changes(source, source)
    assert found.columns == source and not found.lines


def test_overlaps() -> None:
    assert overlap(numbers("a", 0), numbers("b", 0)) > 0.99
    assert abs(overlap(numbers("a", 0), numbers("b", 1)) - (1 - 0.383)) < 0.03  # KS distance of unit normals one apart
    assert overlap(texts("a", "x", "y"), texts("b", "y", "z")) == 0.5


def test_respelt_categories_get_the_sources_codes() -> None:
    rows = [{"sex": ["MALE", "female"][k % 2], "n": k % 7, "label": "ab"[k % 3 > 0]} for k in range(60)]
    task = open_table(rows, target="label")
    source = TablePreprocessing(columns=(texts("sex", "Female", "Male"),))
    joined = changes(source, columns_of(task)).columns
    x = task.splits["train"].items.cells.encoded(replace(joined))
    assert x[:4, 0].tolist() == [1, 0, 1, 0]
