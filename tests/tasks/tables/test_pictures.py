"""Columns of picture paths: recognised by endings and files, unreadable cells named, known by what they hold."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.conftest import write_mixed, write_tone

from transfuse.core.errors import DataError
from transfuse.core.nouns import Task
from transfuse.tasks.opening import open_task, recognised
from transfuse.tasks.tables.encoding import slots_of
from transfuse.tasks.tables.opening import columns_of, open_table


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed(tmp_path_factory.mktemp("mixed"), 80)


def warnings_of(task: Task) -> dict[str, tuple[str, ...]]:
    return {warning.code: warning.places for warning in task.warnings}


def test_roles_and_holes_are_said(path: Path) -> None:
    task = open_table(path, target="label")
    assert {c.name: c.role for c in columns_of(task).columns} == {"size": "numeric", "photo": "picture", "note": "text"}
    assert not any(slot.column == "photo" for slot in slots_of(columns_of(task)))
    told = warnings_of(task)
    assert len(told["unreadable"]) == 1 and "row 6:" in told["unreadable"][0] and "gone.png" in told["unreadable"][0]
    assert told["missing-pictures"] == ("row 4", "row 6", "row 21", "row 38", "row 55", "row 72")
    assert told["missing-texts"] == ("row 5", "row 28", "row 51", "row 74")


def test_pictures_and_free_text_are_a_table_and_pictures_beside_numbers_are_pictures(path: Path) -> None:
    assert open_task(path, target="label").modality == "table"
    other = path.with_name("other.csv")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    other.write_text("\n".join(",".join([row[0], row[1], row[3]]) for row in rows))
    found, why = recognised(other, "label")
    assert found == "image" and "--modality table learns from 'size' as well" in why


def test_paths_without_files_are_no_pictures(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "alone.csv")
    task = open_table(tmp_path / "alone.csv", target="label")
    assert task.description["roles"]["photo"] != "picture"
    with pytest.raises(DataError, match="Column 'photo' must hold paths of pictures, but none can be read"):
        open_table(tmp_path / "alone.csv", target="label", roles={"photo": "picture"})


def test_sounds_are_read_and_broken_ones_are_missing(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 440)
    lines = ["size,sound,label", *(f"{row % 7},a.wav,{'xy'[row % 2]}" for row in range(30))]
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    lines[5] = "3,b.wav,x"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    task = open_table(tmp_path / "t.csv", target="label")
    assert task.description["roles"]["sound"] == "sound"
    assert [place[:5] for place in warnings_of(task)["unreadable"]] == ["row 5"]
    assert warnings_of(task)["missing-sounds"] == ("row 5",)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="Column 'sound' must hold paths of sounds, but none can be read"):
        open_table(tmp_path / "t.csv", target="label")


def test_rows_are_known_by_what_pictures_hold(path: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(path.parent, moved)
    before, after = (open_table(folder / path.name, target="label") for folder in (path.parent, moved))
    assert before.digest == after.digest
    Image.new("RGB", (24, 24)).save(moved / "pictures/0-0.png")
    assert open_table(moved / path.name, target="label").digest != before.digest
