import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from transfuse.core.errors import DataError, TransfuseError, UnknownName, UsageError
from transfuse.tasks.images.path_tables import list_table

COLUMNS = {"id": [1, 2, 3], "file": ["p/a.jpg", "p/b.jpg", "p/c.jpg"], "label": ["cat", "dog", "cat"]}


def written(path: Path, columns: dict[str, list]) -> Path:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif path.suffix == ".csv":
        lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_every_format_with_guessed_columns(tmp_path: Path, name: str) -> None:
    listing = list_table(written(tmp_path / name, COLUMNS))
    assert listing.items == [tmp_path / "p" / f"{letter}.jpg" for letter in "abc"]
    assert listing.labels == ["cat", "dog", "cat"]
    assert listing.description["path_column"] == "file" and listing.description["target"] == "label"


def test_columns_can_be_named(tmp_path: Path) -> None:
    columns = {**COLUMNS, "mask": ["m/a.png"] * 3, "age": [1.5, 2.5, None], "who": ["x", "x", None], "w": [1, 2, 3]}
    path = written(tmp_path / "t.csv", columns)
    listing = list_table(path, target="age", path_column="mask", group="who", weight="w")
    assert listing.items[0] == tmp_path / "m/a.png" and listing.labels == [1.5, 2.5, None]
    assert listing.groups == ["x", "x", None] and listing.weights == [1.0, 2.0, 3.0]
    several = list_table(path, target="age,w", path_column="file")
    assert several.columns == ("age", "w") and several.labels == [(1.5, 1.0), (2.5, 2.0), (None, 3.0)]


def test_absolute_paths_stay(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", {"path": ["/data/a.png"], "label": ["x"]})
    assert list_table(path).items == [Path("/data/a.png")]


def test_a_split_column_is_kept(tmp_path: Path) -> None:
    listing = list_table(written(tmp_path / "t.csv", {**COLUMNS, "split": ["train", "val", "Test"]}))
    assert listing.splits == ["train", "valid", "test"]


def test_columns_of_zero_and_one_are_the_targets_when_nothing_else_is(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", {"path": ["a.png", "b.png"], "RBC": [1, 0], "WBC": [1, 1]})
    listing = list_table(path)
    assert listing.columns == ("RBC", "WBC") and listing.labels == [(1, 1), (0, 1)]


def test_semicolons_and_lists(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path;label\na.png;x\nb.png;y\n")
    assert list_table(tmp_path / "t.csv").labels == ["x", "y"]
    path = written(tmp_path / "t.parquet", {"path": ["a.png", "b.png"], "label": [["x", "y"], []]})
    assert list_table(path).labels == [["x", "y"], []]


def test_a_row_without_a_path_keeps_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", {"path": ["a.png", None, "c.png"], "label": ["x", "y", "x"]})
    listing = list_table(path)
    assert listing.items[1] == "" and listing.names[1] == f"row 2 of {path}"


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({"a": [1], "b": ["x"]}, {}, DataError, "paths of pictures"),
        ({"path": ["a.png"], "u": ["x"], "v": ["y"]}, {}, DataError, "Name it with `target`"),
        (COLUMNS, {"target": "lable"}, UnknownName, "Did you mean 'label'"),
        (COLUMNS, {"group": "patient"}, UnknownName, "column"),
        (COLUMNS, {"weight": "label"}, UsageError, "numbers"),
        (COLUMNS, {"target": ["label", "id"]}, DataError, "must hold numbers"),
    ],
)
def test_what_cannot_be_told_is_asked_for(
    tmp_path: Path, columns: dict[str, list], options: dict, error: type[TransfuseError], words: str
) -> None:
    with pytest.raises(error, match=words):
        list_table(written(tmp_path / "t.csv", columns), **options)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "a,b\n1\n"), ("a.jsonl", "{oops"), ("a.json", "[1]"), ("a.parquet", "x"), ("b.csv", "")],
)
def test_broken_tables_are_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=name):
        list_table(tmp_path / name)
