from collections.abc import Callable
from pathlib import Path

import pytest

from transfuse.core.errors import DataError, UsageError
from transfuse.tasks.folders import list_folder
from transfuse.tasks.listing import in_order

Folders = Callable[..., Path]


def warned(listing) -> dict[str, tuple[str, ...]]:
    return {warning.code: warning.places for warning in listing.warnings}


def test_folders_are_classes(foldered: Folders) -> None:
    listing = list_folder(foldered({"dog": 2, "cat": 3, "cat/more": 1}))
    assert listing.labels == ["cat"] * 4 + ["dog"] * 2
    assert listing.splits is None and listing.kind == "single-label" and not listing.warnings
    assert all(Path(name).is_file() for name in listing.names)


@pytest.mark.parametrize(
    "names", [("train", "valid", "test"), ("Training", "val", "testing"), ("train", "dev", "test")]
)
def test_splits_above_the_classes(foldered: Folders, names: tuple[str, ...]) -> None:
    root = foldered({f"{name}/{label}": 1 for name in names for label in ("a", "b")})
    listing = list_folder(root)
    assert sorted(set(zip(listing.splits, listing.labels, strict=True))) == [
        (split, label) for split in ("test", "train", "valid") for label in ("a", "b")
    ]


def test_a_class_may_be_called_train(foldered: Folders) -> None:
    listing = list_folder(foldered({"train": 2, "car": 1}))
    assert listing.splits is None and listing.labels == ["car", "train", "train"]


def test_everything_that_is_left_out_is_named(foldered: Folders) -> None:
    root = foldered({"cat": 1, "dog": 1})
    (root / "empty").mkdir()
    (root / "cat" / "notes.txt").write_text("x")
    (root / "cat" / "noending").write_text("x")
    (root / "README.md").write_text("x")
    (root / "dog" / "0.png").rename(root / "loose.png")
    (root / ".hidden").write_text("x")
    assert warned(list_folder(root)) == {
        "empty-class": (str(root / "dog"), str(root / "empty")),
        "not-a-picture": (str(root / "cat" / "noending"), str(root / "cat" / "notes.txt")),
        "outside-classes": (str(root / "loose.png"),),
        "other-files": (str(root / "README.md"),),
    }


def test_folders_beside_the_splits_are_named(foldered: Folders) -> None:
    root = foldered({"train/a": 1, "test/a": 1, "extra/a": 1})
    assert warned(list_folder(root))["outside-classes"] == (str(root / "extra"),)


def test_groups_from_a_regular_expression_or_a_mapping(foldered: Folders) -> None:
    root = foldered({"cat/p7": 2, "cat/p8": 1, "dog/x": 1})
    assert list_folder(root, group=r"/(p\d)/").groups == ["p7", "p7", "p8", None]
    assert list_folder(root, group=r"p\d").groups == ["p7", "p7", "p8", None]
    assert list_folder(root, group={"dog/x/0.png": "g"}).groups == [None, None, None, "g"]
    with pytest.raises(UsageError, match="matches none"):
        list_folder(root, group="patient")
    with pytest.raises(UsageError, match="regular expression"):
        list_folder(root, group="(")


def test_a_folder_without_classes_says_what_to_do(tmp_path: Path, painted) -> None:
    with pytest.raises(DataError, match="no pictures"):
        list_folder(tmp_path)
    painted(0).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="1 pictures without class folders"):
        list_folder(tmp_path)
    (tmp_path / "labels.csv").write_text("")
    with pytest.raises(DataError, match=r"Did you mean .*labels\.csv"):
        list_folder(tmp_path)


def test_natural_order() -> None:
    assert in_order(["10", "9", "b2", "b10", "a"]) == ("9", "10", "a", "b2", "b10")
