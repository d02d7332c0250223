"""Tables from every origin, and bad input: an error that names row and column, or the right answer."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from transfuse.core.errors import DataError, TransfuseError, UnknownName, UsageError
from transfuse.core.nouns import Task
from transfuse.tasks.tables.opening import columns_of, open_split, open_table
from transfuse.tasks.tables.reading import delimiter_of, read_file
from transfuse.tasks.tables.rows import encoded_rows

Write = Callable[..., Path]


def rows_of(count: int = 60, seed: int = 0) -> list[dict]:
    """Rows of every role; the target follows from `size`."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        size = float(np.round(generator.normal(), 3))
        rows.append(
            {
                "key": f"k{number:04d}",
                "size": size,
                "colour": str(generator.choice(["red", "blue", "green"])),
                "member": str(generator.choice(["yes", "no"])),
                "joined": f"2020-{1 + number % 12:02d}-{1 + number % 28:02d}",
                "label": "high" if size + 0.5 * generator.normal() > 0 else "low",
            }
        )
    return rows


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(rows: list[dict], name: str = "t.csv", delimiter: str = ",") -> Path:
        path = tmp_path / name
        names = list(rows[0])
        if path.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif path.suffix == ".jsonl":
            path.write_text("\n".join(json.dumps(row) for row in rows))
        elif path.suffix == ".json":
            path.write_text(json.dumps(rows))
        else:
            cells = [names, *([("" if row[n] is None else str(row[n])) for n in names] for row in rows)]
            path.write_text("\n".join(delimiter.join(line) for line in cells) + "\n")
        return path

    return write


def roles(task: Task) -> dict[str, str]:
    return dict(task.description["roles"])


def codes(task: Task) -> set[str]:
    return {warning.code for warning in task.warnings}


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_every_format_gives_the_same_task(written: Write, name: str) -> None:
    task = open_table(written(rows_of(), name), target="label")
    assert roles(task) == {
        "key": "id",
        "size": "numeric",
        "colour": "categorical",
        "member": "boolean",
        "joined": "date",
    }
    assert task.kind == "single-label" and task.classes == ("high", "low") and task.modality == "table"
    assert task.digest == open_table(written(rows_of(), "again.csv"), target="label").digest
    x_NK = encoded_rows(task.splits["train"].items, columns_of(task))
    assert x_NK.shape == (len(task.splits["train"]), 1 + 1 + 1 + 3) and np.isfinite(x_NK).all()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told(written: Write, delimiter: str) -> None:
    task = open_table(written(rows_of(), "t.csv", delimiter), target="label")
    assert "size" in roles(task)


def test_a_query_on_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table people (size real, colour text, label text)")
        connection.execute("create table other (a text)")
        people = [(r["size"], r["colour"], r["label"]) for r in rows_of()]
        connection.executemany("insert into people values (?, ?, ?)", people)
    query = "select size, colour, label from people where colour != 'red'"
    for data in (path, f"sqlite:///{path}"):
        task = open_table(data, target="label", query=query)
        assert sum(map(len, task.splits.values())) == sum(r["colour"] != "red" for r in rows_of())
    with pytest.raises(UsageError, match="people, other"):
        open_table(path, target="label")
    with pytest.raises(DataError, match="no such column"):
        open_table(path, target="label", query="select age from people")
    with pytest.raises(DataError, match=r"readonly|read-only|attempt to write|not authorized|gives none"):
        open_table(path, target="label", query="delete from people")


def test_duckdb_and_sqlalchemy(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table people as select range * range as size, range % 3 as kind from range(90)")
    task = open_table(path, target="kind")
    assert task.classes == ("0", "1", "2")
    task = open_table(f"duckdb:///{path}", target="kind", query="select * from people where size < 3600")
    assert sum(map(len, task.splits.values())) == 60
    lite = tmp_path / "other.db"
    with sqlite3.connect(lite) as connection:
        connection.execute("create table people (size real, label text)")
        connection.executemany("insert into people values (?, ?)", [(r["size"], r["label"]) for r in rows_of()])
    task = open_table(f"sqlite+pysqlite:///{lite}", target="label")
    assert sum(map(len, task.splits.values())) == 60


def test_passwords_are_never_repeated() -> None:
    with pytest.raises(TransfuseError) as caught:
        open_table("nosuchbase://me:secret@host/shop", target="label", query="select 1")
    assert "secret" not in str(caught.value) and "***" in str(caught.value)


def test_rows_in_memory_and_splits_of_their_own(written: Write) -> None:
    rows = [{**row, "split": "test" if place % 4 == 0 else "train"} for place, row in enumerate(rows_of())]
    assert len(open_table(rows, target="label").splits["test"]) == 15
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert open_table(columns, target="label").digest == open_table(rows, target="label").digest
    examples, _ = open_split(written(rows), classes=("low", "high"), kind="single-label", split="test", target="label")
    assert examples.targets.tolist() == [int(row["label"] == "high") for row in rows if row["split"] == "test"]


def test_a_folder_of_split_files(written: Write, tmp_path: Path) -> None:
    written(rows_of(60), "train.csv")
    written(rows_of(20, seed=1), "test.csv")
    task = open_table(tmp_path, target="label")
    assert {part: len(examples) for part, examples in task.splits.items()} == {"train": 48, "valid": 12, "test": 20}


def test_groups_stay_together_and_weights_are_kept(written: Write) -> None:
    rows = [{**row, "who": f"g{place // 5}", "w": 1 + place % 2} for place, row in enumerate(rows_of(100))]
    task = open_table(written(rows), target="label", group="who", weight="w")
    parts = {part: set(examples.groups or ()) for part, examples in task.splits.items()}
    assert not parts["train"] & parts["test"] and not parts["train"] & parts["valid"]
    assert set(task.splits["train"].weights.tolist()) == {1.0, 2.0} and "who" not in roles(task)


def test_kinds_of_targets(written: Write) -> None:
    generator = np.random.default_rng(0)
    rows = [
        {**row, "a": int(generator.integers(2)), "b": int(generator.integers(2)), "y": row["size"] ** 2}
        for row in rows_of()
    ]
    path = written(rows)
    assert open_table(path, target=["a", "b"]).kind == "multi-label"
    assert open_table(path, target="y").kind == "regression"
    assert open_table(path, target="a").classes == ("0", "1")
    assert open_table(path, target="a", kind="regression").kind == "regression"


def test_roles_as_the_user_says(written: Write) -> None:
    rows = [{**row, "zip": 10000 + place % 7} for place, row in enumerate(rows_of())]
    path = written(rows)
    assert roles(open_table(path, target="label"))["zip"] == "numeric"
    told = open_table(path, target="label", roles={"zip": "categorical", "size": "drop"})
    assert roles(told)["zip"] == "categorical" and [c.name for c in columns_of(told).columns][-1] == "zip"
    assert "size" not in [c.name for c in columns_of(told).columns]
    with pytest.raises(UnknownName, match="size"):
        open_table(path, target="label", roles={"sise": "drop"})
    with pytest.raises(UnknownName, match="categorical"):
        open_table(path, target="label", roles={"size": "categorial"})
    with pytest.raises(DataError, match=r"Row 1, column 'colour' must hold a number"):
        open_table(path, target="label", roles={"colour": "numeric"})


def test_cells_that_are_missing_or_strange(written: Write) -> None:
    rows = rows_of(200)
    rows[3]["size"], rows[7]["size"], rows[9]["colour"] = None, "unknown", None
    task = open_table(written(rows), target="label", test=0)
    stray = next(w for w in task.warnings if w.code == "stray-cells")
    assert stray.places == ("row 8",) and "'unknown'" in stray.message
    column = columns_of(task).columns[0]
    assert column.blanks == ("unknown",) and 0 < column.missing <= 2 / 160


def test_decimal_commas_and_codes_with_zeros(written: Write) -> None:
    rows = [{"price": f"{place},5", "plz": f"0{place % 9}123", "label": "ab"[place % 2]} for place in range(50)]
    task = open_table(written(rows, "t.csv", ";"), target="label", test=0)
    assert roles(task) == {"price": "numeric", "plz": "categorical"}
    assert columns_of(task).columns[0].mean == pytest.approx(25, abs=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"size,label\n", "only the header size, label"),
        (b"size\n1\n2\n", "has one column: 'size'"),
        (b"a b\n1 2\n", "has one column: 'a b'"),
        (b"size,size,label\n1,2,a\n", "columns 1 and 2 are both 'size'"),
        (b"size,label\n1,a\n2,\x00b\n", "row 2, column 'label' holds a NUL byte"),
        (b"size,label\n1,a\n2\n3\n4,b\n", "line 3: 1 cells instead of 2"),
        (b"size,label\n1,a\n\x81,b\n", "row 2, column 'size' is neither"),
    ],
)
def test_broken_files(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_table(path, target="label")


def test_other_encodings_give_the_right_cells(tmp_path: Path) -> None:
    text = "name,label\nZoë,a\nÅsa,b\n"
    for encoding, noted in (("utf-16", False), ("utf-8-sig", False), ("cp1252", True)):
        path = tmp_path / f"{encoding}.csv"
        path.write_bytes(text.encode(encoding))
        read = read_file(path)
        assert read.table.column("name").to_pylist() == ["Zoë", "Åsa"]
        assert [note.places for note in read.notes] == ([("row 1, column 'name'",)] if noted else [])


def test_a_row_that_is_torn_among_many_is_left_out_and_named(written: Write) -> None:
    path = written(rows_of(100))
    path.write_text(path.read_text() + "1,2,3\n")
    task = open_table(path, target="label")
    assert next(w for w in task.warnings if w.code == "torn-row").places == ("line 102: 3 cells instead of 6",)


def test_json_lines_name_the_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "label": "x"}\n{"a": 2,\n')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        open_table(path, target="label")


def test_targets_that_cannot_be_learnt(written: Write) -> None:
    same = [{**row, "label": "high"} for row in rows_of()]
    with pytest.raises(DataError, match="all examples are 'high'"):
        open_table(written(same), target="label")
    with pytest.raises(UnknownName, match="Did you mean 'label'"):
        open_table(written(same), target="labl")
    with pytest.raises(DataError, match="Name it with `target`"):
        open_table(written([{"a": "x", "b": "y"}] * 5))
    with pytest.raises(DataError, match="all are left out"):
        open_table(written([{"a": "x", "label": "ab"[k % 2]} for k in range(30)]), target="label")


def test_ten_thousand_columns(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    values = generator.integers(0, 100, (40, 10_000)).astype(str)
    lines = [",".join(["label", *(f"c{k}" for k in range(10_000))])]
    lines += [",".join([str(k % 2), *row]) for k, row in enumerate(values)]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(lines))
    task = open_table(path, target="label")
    x_NK = encoded_rows(task.splits["test"].items, columns_of(task))
    assert x_NK.shape[1] == 10_000 and x_NK.dtype == np.float32


def test_equal_rows_stay_together_and_conflicts_are_named() -> None:
    rows = [dict(row) for row in rows_of(80)]
    for row in rows:
        row.pop("key")
    rows.append({**rows[5], "label": "low" if rows[5]["label"] == "high" else "high"})
    task = open_table(rows, target="label")
    conflict = next(w for w in task.warnings if w.code == "contradictory-labels")
    assert "row 6" in conflict.places[0] and "row 81" in conflict.places[0]
    where = [part for part, examples in task.splits.items() if {"row 6", "row 81"} & set(examples.names)]
    assert len(where) == 1


def test_many_equal_rows_are_taken_for_chance() -> None:
    rows = [{"a": place % 3, "b": "xy"[place % 2], "label": "pq"[place % 5 > 2]} for place in range(100)]
    task = open_table(rows, target="label")
    assert "many-equal-rows" in codes(task) and len(task.splits["test"]) == 20


def test_unseen_categories_and_wrong_cells_at_prediction() -> None:
    task = open_table(rows_of(), target="label")
    columns = columns_of(task)
    row = {"size": 1.0, "colour": "violet", "member": None, "joined": "2021-05-06"}
    x_K = encoded_rows([row], columns)[0]
    assert x_K[1] == -1 and np.isnan(x_K[2]) and np.isfinite(x_K[3:]).all()
    with pytest.raises(DataError, match=r"Row 2, column 'size' must hold a number, but holds 'big'"):
        encoded_rows([row, {**row, "size": "big"}], columns)
    with pytest.raises(DataError, match="size"):
        encoded_rows([{"colour": "red"}], columns)


def test_the_first_line_decides_the_delimiter_with_the_others() -> None:
    assert delimiter_of("a;b\n1,5;2\n2,5;3\n") == ";"
    assert delimiter_of('a,b\n"x;y;z",2\n') == ","
