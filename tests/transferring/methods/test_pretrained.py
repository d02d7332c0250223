"""The network for tables that learns without labels first."""

import csv
from pathlib import Path

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import TablePreprocessing, Task
from transfuse.predicting.predict import probabilities
from transfuse.tasks.tables.opening import open_table
from transfuse.tasks.tables.unlabelled import unlabelled_rows


def rows(count: int, seed: int, towns: tuple[str, ...] = ("x", "y")) -> list[dict[str, object]]:
    """`b` is told by `a`, and the target by both."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        a, town = generator.normal(), str(generator.choice(towns))
        found.append({"a": a, "b": a + 0.1 * generator.normal(), "town": town, "y": "up" if a > 0 else "down"})
    return found


def written(path: Path, lines: list[dict[str, object]]) -> str:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return str(path)


@pytest.fixture
def task() -> Task:
    return open_table(rows(150, 0), target="y", name="t")


SHORT = {"method": "pretrained", "steps": 30, "pretraining_steps": 60}


def test_it_learns_what_cells_say_of_each_other_and_knows_new_categories(task: Task, tmp_path: Path) -> None:
    more = written(tmp_path / "more.csv", rows(400, 1, towns=("x", "y", "z")))
    model = tr.transfer("table:network", task, unlabelled=more, **SHORT)
    found = model.provenance.options["found"]["pretraining"]
    assert found["rows"] == 400 + len(task.splits["train"]) and found["loss"] < 0.9 * found["loss_before"]
    assert isinstance(model.preprocessing, TablePreprocessing)
    assert set(model.preprocessing.columns[2].values) == {"x", "y", "z"}
    again = tr.load(model.save(tmp_path / "model"))
    items = task.splits["test"].items
    np.testing.assert_allclose(probabilities(again, items), probabilities(model, items), rtol=1e-6)
    assert not again.predict([{"a": 1.0, "b": 1.0, "town": "z"}])[0]["rejected"]


def test_labels_of_the_rows_are_never_read(task: Task, tmp_path: Path) -> None:
    lines = rows(200, 1)
    wrong = [{**line, "y": "nonsense"} for line in lines]
    bare = [{name: line[name] for name in ("town", "b", "a")} for line in lines]
    files = [written(tmp_path / f"{k}.csv", some) for k, some in enumerate((lines, wrong, bare))]
    models = [tr.transfer("table:network", task, unlabelled=file, **SHORT) for file in files]
    answers = [probabilities(model, task.splits["test"].items) for model in models]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_without_other_rows_the_training_rows_are_learnt_from(task: Task) -> None:
    model = tr.transfer("table:network", task, **SHORT)
    assert model.provenance.options["found"]["pretraining"]["rows"] == len(task.splits["train"])


def test_what_is_wrong_is_named(task: Task, tmp_path: Path) -> None:
    lacking = written(tmp_path / "lacking.csv", [{"a": 1.0, "town": "x"}] * 3)
    with pytest.raises(DataError, match=r"lacking.csv must have the columns of 't', but lacks 'b'"):
        unlabelled_rows(lacking, task)
    strange = written(tmp_path / "strange.csv", [*rows(30, 2), {"a": "old", "b": 1, "town": "x", "y": "up"}])
    with pytest.raises(DataError, match=r"strange.csv: Row 31, column 'a' must hold a number, but holds 'old'"):
        unlabelled_rows(strange, task)
    with pytest.raises(UsageError, match="`pretrained` is for the network for tables"):
        tr.transfer("table:columns", task, method="pretrained")
    with pytest.raises(UsageError, match="`corrupted` must lie between 0 and 1"):
        tr.transfer("table:network", task, corrupted=1.0, **SHORT)
