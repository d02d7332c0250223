import json
from pathlib import Path

import pytest

from transfuse.core.errors import DataError
from transfuse.tasks.images.coco import is_coco, list_coco, list_coco_folder


def document(names: list[str], boxes: list[tuple[int, int]]) -> dict:
    return {
        "images": [{"id": place, "file_name": name} for place, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [0, 0, 1, 1]} for n, (i, c) in enumerate(boxes)
        ],
        "categories": [{"id": 7, "name": "WBC"}, {"id": 3, "name": "RBC"}],
    }


def test_which_classes_are_in_the_picture(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").touch()
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(document(["a.jpg", "b.jpg", "c.jpg"], [(0, 3), (0, 7), (0, 3), (1, 3)])))
    assert is_coco(path)
    listing = list_coco({None: path})
    assert listing.labels == [["WBC", "RBC"], ["RBC"], []]
    assert listing.classes == ("WBC", "RBC") and listing.kind == "multi-label" and listing.splits is None
    assert listing.items[0] == tmp_path / "images" / "a.jpg"
    assert [(note.code, note.places) for note in listing.warnings] == [("no-boxes", (str(tmp_path / "c.jpg"),))]


@pytest.mark.parametrize("pattern", ["{}.json", "instances_{}2017.json", "annotations/{}.json"])
def test_files_of_splits(tmp_path: Path, pattern: str) -> None:
    for name in ("train", "val", "test"):
        path = tmp_path / pattern.format(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document([f"{name}.jpg"], [(0, 3)])))
    listing = list_coco_folder(tmp_path)
    assert listing is not None
    assert sorted(zip(listing.splits, [Path(n).stem for n in listing.names], strict=True)) == [
        ("test", "test"),
        ("train", "train"),
        ("valid", "val"),
    ]


def test_other_json_is_not_coco(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text("[]")
    (tmp_path / "broken.json").write_text("{")
    assert not is_coco(tmp_path / "train.json") and not is_coco(tmp_path / "broken.json")
    assert list_coco_folder(tmp_path) is None


def test_a_box_of_no_category_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(document(["a.jpg"], [(0, 99)])))
    with pytest.raises(DataError, match="99"):
        list_coco({None: tmp_path / "t.json"})
