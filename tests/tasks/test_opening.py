"""What data are is recognised, said, and can be overridden."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import sentences

from transfuse.core.errors import DataError, UnknownName, UsageError
from transfuse.tasks.opening import open_split, open_task, recognised, require_modality

TEXTS, LABELS = sentences(12)


def table(file: Path, /, **columns: list[object]) -> Path:
    rows = zip(*columns.values(), strict=True)
    file.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    return file


def test_a_folder_of_pictures(photos: Path) -> None:
    task = open_task(photos)
    assert task.modality == "image" and "36 pictures" in task.description["modality"]


def test_a_column_of_texts(tmp_path: Path) -> None:
    task = open_task(table(tmp_path / "t.csv", text=TEXTS, label=LABELS))
    assert task.modality == "text" and task.description["modality"] == "text: the column 'text' holds free text"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"path": [f"{n}.png" for n in range(36)], "label": LABELS}, "image"),
        ({"comment": TEXTS, "label": LABELS}, "text"),
        ({"age": list(range(36)), "town": ["Rome", "Oslo", "Bern"] * 12, "label": LABELS}, "table"),
        ({"age": list(range(36)), "price": list(range(36)), "note": TEXTS, "label": LABELS}, "table"),
        ({"word": [f"w{n}" for n in range(36)], "label": LABELS}, "table"),
    ],
)
def test_tables(tmp_path: Path, columns: dict[str, list[object]], expected: str) -> None:
    path = table(tmp_path / "t.csv", **columns)
    assert recognised(path)[0] == expected == recognised(str(path), "label")[0]


def test_class_folders_of_texts(tmp_path: Path) -> None:
    for place, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{place}.txt").write_text(text)
    assert open_task(tmp_path).modality == "text"


def test_memory() -> None:
    assert recognised((TEXTS, LABELS))[0] == "text"
    assert recognised((np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]))[0] == "image"
    assert recognised((np.zeros((4, 8)), [0, 1, 0, 1]))[0] == "table"
    assert recognised((["a.jpg", "b.jpg"], [0, 1]))[0] == "image"
    assert recognised("sqlite:///some.db")[0] == "table"


def test_coco_is_pictures(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    assert recognised(path)[0] == "image"


def test_a_modality_can_be_given(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", word=[f"w{n}" for n in range(36)], label=LABELS)
    task = open_task(path, modality="text", target="label")
    assert task.modality == "text" and task.description["modality"] == "text: as given"
    with pytest.raises(UnknownName, match="smell"):
        open_task(path, modality="smell")  # type: ignore[arg-type]


def test_an_option_of_another_modality_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", text=TEXTS, label=LABELS)
    with pytest.raises(UsageError, match=r"opened as text .* no option 'path_column'"):
        open_task(path, path_column="text")


def test_a_model_refuses_tasks_of_another_modality(photos: Path) -> None:
    task = open_task(photos)
    with pytest.raises(DataError, match="takes texts, but the data are pictures"):
        require_modality(task, "text")
    with pytest.raises(DataError, match="takes texts"):
        open_split(task, modality="text", classes=task.classes, kind=task.kind)
