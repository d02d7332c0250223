from pathlib import Path

import datasets
import numpy as np
import pytest

from transfuse.core.errors import DataError, UnknownName
from transfuse.tasks.images.decoding import decode
from transfuse.tasks.saved_datasets import is_saved, list_saved


@pytest.fixture(autouse=True)
def _quiet() -> None:
    datasets.disable_progress_bars()


def table(painted, labels: list, feature: object, first: int = 0) -> datasets.Dataset:
    features = datasets.Features({"picture": datasets.Image(), "label": feature, "who": datasets.Value("string")})
    rows = {
        "picture": [painted(first + n) for n in range(len(labels))],
        "label": labels,
        "who": list("xyxyxy")[: len(labels)],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_dataset_with_class_names(tmp_path: Path, painted) -> None:
    table(painted, [1, 0, -1], datasets.ClassLabel(names=["cat", "ant"])).save_to_disk(tmp_path / "d")
    assert is_saved(tmp_path / "d") and not is_saved(tmp_path)
    listing = list_saved(tmp_path / "d", group="who")
    assert (
        listing.labels == ["ant", "cat", None] and listing.classes == ("cat", "ant") and listing.kind == "single-label"
    )
    assert listing.groups == ["x", "y", "x"] and listing.splits is None
    np.testing.assert_array_equal(decode(listing.items[1]), np.asarray(painted(1)))


def test_a_dict_keeps_its_splits(tmp_path: Path, painted) -> None:
    parts = {
        "train": table(painted, [0.5, 1.5], datasets.Value("float32")),
        "validation": table(painted, [2.5], datasets.Value("float32"), 5),
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    listing = list_saved(tmp_path / "d")
    assert listing.labels == [0.5, 1.5, 2.5] and listing.splits == ["train", "train", "valid"]
    assert listing.names == ["row 0 of train", "row 1 of train", "row 0 of validation"]
    np.testing.assert_array_equal(decode(listing.items[2]), np.asarray(painted(5)))


def test_sequences_of_class_names_are_multi_label(tmp_path: Path, painted) -> None:
    feature = datasets.List(datasets.ClassLabel(names=["a", "b"]))
    table(painted, [[0, 1], []], feature).save_to_disk(tmp_path / "d")
    listing = list_saved(tmp_path / "d")
    assert listing.labels == [["a", "b"], []] and listing.kind == "multi-label"


def test_what_cannot_be_opened_is_explained(tmp_path: Path, painted) -> None:
    datasets.Dataset.from_dict({"a": [1]}).save_to_disk(tmp_path / "none")
    with pytest.raises(DataError, match="type Image"):
        list_saved(tmp_path / "none")
    whole = table(painted, [1, 0], datasets.Value("int64"))
    whole.save_to_disk(tmp_path / "d")
    with pytest.raises(UnknownName, match="Did you mean 'label'"):
        list_saved(tmp_path / "d", target="labl")
    datasets.DatasetDict({"train": whole, "holdout": whole}).save_to_disk(tmp_path / "odd")
    with pytest.raises(DataError, match="holdout"):
        list_saved(tmp_path / "odd")
