import csv
import json
from pathlib import Path

import numpy as np
import pytest

import transfuse as tr
from transfuse.checking.check import TABLE
from transfuse.checking.cleaning import cleaned
from transfuse.checking.writing import RECORD, cleaning_report, require_empty, write_data
from transfuse.core.errors import DataError, UnknownName, UsageError


@pytest.fixture(scope="module")
def table(task, source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("found")
    tr.check(task, source=source, out=folder)
    return folder / TABLE


def decided(table: Path, place: Path, decide, delimiter=",", encoding="utf-8") -> Path:
    """The table with other words in `keep`, as a spreadsheet might save it."""
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.update(decide(row) or {})
    with place.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return place


def mend(planted):
    """Relabel what was planted, remove the doubted copy, and leave the rest."""

    def decide(row):
        if Path(row["path"]).name == "doubted.png":
            return {"keep": "No"}
        planted_here = row["problem"] == "wrong-label" and Path(row["path"]).name in planted.wrong
        return {"keep": "relabel" if planted_here else "yes"}

    return decide


def test_a_cleaned_task_is_a_new_one_that_says_what_was_done(task, table, planted, tmp_path):
    before = {name: examples.targets.copy() for name, examples in task.splits.items()}
    result = cleaned(task, decided(table, tmp_path / "d.csv", mend(planted)))
    assert result.digest != task.digest
    assert all((task.splits[name].targets == targets).all() for name, targets in before.items())
    record = result.description["cleaned"]
    assert [Path(name).name for name in record["removed"]] == ["doubted.png"]
    told = {Path(row["example"]).name: row["to"] for row in record["relabelled"]}
    assert told == dict(planted.wrong) and record["from"] == task.digest
    labels = {
        Path(name).name: result.classes[target]
        for examples in result.splits.values()
        for name, target in zip(examples.names, examples.targets, strict=True)
    }
    assert {name: labels[name] for name in planted.wrong} == dict(planted.wrong) and "doubted.png" not in labels
    codes = {warning.code: warning for warning in result.warnings}
    assert "contradictory-labels" not in codes and "duplicate-across-splits" in codes and "cleaned" in codes


def test_a_model_s_provenance_takes_it_along(task, table, planted, tmp_path, source):
    result = cleaned(task, decided(table, tmp_path / "d.csv", mend(planted)))
    model = tr.transfer(source, result, method="probe")
    leaf = next(step for step in model.provenance.inputs if step.verb == "task")
    assert leaf.options["cleaned"]["from"] == task.digest and leaf.digests["task"] == result.digest


def test_what_is_proposed_takes_out_only_the_learnt_copy(task, table):
    result = cleaned(task, table)
    assert [Path(name).name for name in result.description["cleaned"]["removed"]] == ["cat0.png"]
    assert not result.description["cleaned"]["relabelled"]
    assert "duplicate-across-splits" not in {warning.code for warning in result.warnings}


def test_a_table_in_which_all_stays_changes_nothing_but_says_so(task, table, tmp_path):
    result = cleaned(task, decided(table, tmp_path / "d.csv", lambda row: {"keep": ""}))
    assert result.digest == task.digest and result.description["cleaned"]["removed"] == []


def test_semicolons_and_a_byte_order_mark_of_a_spreadsheet_are_understood(task, table, planted, tmp_path):
    plain = cleaned(task, decided(table, tmp_path / "a.csv", mend(planted)))
    other = cleaned(task, decided(table, tmp_path / "b.csv", mend(planted), ";", "utf-8-sig"))
    assert other.digest == plain.digest


def test_the_new_data_open_to_the_same_task(task, table, planted, tmp_path):
    result = cleaned(task, decided(table, tmp_path / "d.csv", mend(planted)))
    path = write_data(result, tmp_path / "new")
    again = tr.task(path, kind="single-label")
    assert again.digest == result.digest
    record = json.loads((tmp_path / "new" / RECORD).read_text())
    assert record["digest"] == result.digest and record["from"] == task.digest and len(record["relabelled"]) == 4
    report = cleaning_report(task, result, path, command="")
    assert f"transfuse fit {path}" in " ".join(report.summary)


def test_arrays_and_texts_come_back_as_well(texts, tmp_path):
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    memory = tr.task((pictures, ["a", "b"] * 20), test=0.0)
    for name, task in {"arrays": memory, "texts": texts}.items():
        train = task.splits["train"]
        rows = [{"path": train.names[0], "given": task.classes[train.targets[0]], "suggested": "", "keep": "no"}]
        place = tmp_path / f"{name}.csv"
        with place.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        result = cleaned(task, place)
        again = tr.task(write_data(result, tmp_path / name), kind="single-label", test=0.0)
        assert again.digest == result.digest and len(again.splits["train"]) == len(train) - 1


def write(place: Path, *rows: str) -> Path:
    place.write_text("\n".join(["path,problem,given,suggested,score,keep", *rows]) + "\n")
    return place


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("nobody.png,wrong-label,cat,dog,0.9,no", "line 2 names 'nobody.png'"),
        ("{cat1},wrong-label,dog,cat,0.9,no", "must still be labelled 'dog'"),
        ("{cat1},wrong-label,cat,,0.9,relabel", "`suggested` must hold the new label"),
        ("{cat1},wrong-label,cat,dog,0.9,perhaps", "must be yes, no or relabel, but is 'perhaps' in line 2"),
        ("{cat1},wrong-label,cat,dog,0.9,relabel\n{cat1},x,cat,eel,0.9,relabel", "two"),
    ],
)
def test_decisions_that_make_no_sense_are_refused(task, tmp_path, row, said):
    names = {Path(name).stem: name for examples in task.splits.values() for name in examples.names}
    with pytest.raises(DataError, match=said):
        cleaned(task, write(tmp_path / "d.csv", row.format(**names)))


def test_a_label_that_does_not_exist_names_the_nearest(task, tmp_path):
    name = task.splits["train"].names[0]
    given = task.classes[task.splits["train"].targets[0]]
    with pytest.raises(UnknownName, match="Did you mean 'dog'"):
        cleaned(task, write(tmp_path / "d.csv", f"{name},wrong-label,{given},dgo,0.9,relabel"))


def test_a_split_must_not_be_emptied(task, tmp_path):
    test = task.splits["test"]
    rows = [f"{name},x,{task.classes[y]},,,no" for name, y in zip(test.names, test.targets, strict=True)]
    with pytest.raises(DataError, match="'test' must keep some examples"):
        cleaned(task, write(tmp_path / "d.csv", *rows))


def test_a_table_of_another_kind_is_refused(task, tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has no 'path'"):
        cleaned(task, tmp_path / "d.csv")
    with pytest.raises(DataError, match="cannot be read"):
        cleaned(task, tmp_path / "none.csv")


def test_data_of_an_earlier_cleaning_are_not_replaced(tmp_path):
    (tmp_path / "data.csv").write_text("")
    with pytest.raises(UsageError, match="new or empty folder"):
        require_empty(tmp_path)
    require_empty(tmp_path / "new")
