import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Examples, Task
from transfuse.core.runs import Run
from transfuse.tasks.images.layouts import listed
from transfuse.tasks.images.opening import open_images, open_split

Folders = Callable[..., Path]


def warned(warnings) -> dict[str, tuple[str, ...]]:
    return {warning.code: warning.places for warning in warnings}


def sizes(task: Task) -> dict[str, int]:
    return {part: len(examples) for part, examples in task.splits.items()}


def contents(task: Task) -> dict[str, list[str]]:
    return {part: sorted(examples.digests) for part, examples in task.splits.items()}


def arrays(count: int = 60, classes: int = 3, size: int = 12) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8), np.arange(count) % classes


def test_folders_are_split_and_stratified(foldered: Folders) -> None:
    task = open_images(foldered({"cat": 20, "dog": 10}))
    assert sizes(task) == {"train": 18, "valid": 6, "test": 6}
    assert task.classes == ("cat", "dog") and task.kind == "single-label" and not task.warnings
    assert [np.bincount(e.targets).tolist() for e in task.splits.values()] == [[12, 6], [4, 2], [4, 2]]
    assert task.name == "photos" and task.description["layout"] == "class folders"


def test_the_same_data_and_seed_give_the_same_task_wherever_it_lies(foldered: Folders, tmp_path: Path) -> None:
    first = open_images(foldered({"cat": 12, "dog": 12}))
    moved = shutil.copytree(tmp_path / "photos", tmp_path / "elsewhere")
    assert open_images(moved).digest == first.digest
    assert open_images(tmp_path / "photos", seed=1).digest != first.digest
    (moved / "cat" / "0.png").rename(moved / "cat" / "zz.png")
    assert contents(open_images(moved)) == contents(first)


def test_test_zero_leaves_it_away_and_shares_are_checked(foldered: Folders) -> None:
    root = foldered({"cat": 10, "dog": 10})
    assert sizes(open_images(root, test=0)) == {"train": 16, "valid": 4}
    for valid, test in ((0, 0.2), (0.5, 0.5), (0.2, -0.1)):
        with pytest.raises(UsageError, match="`valid` must be above 0"):
            open_images(root, valid=valid, test=test)


def test_given_splits_are_kept_and_missing_ones_carved_from_train(foldered: Folders) -> None:
    root = foldered({"train/a": 10, "train/b": 10, "test/a": 3, "test/b": 4})
    task = open_images(root)
    assert sizes(task) == {"train": 16, "valid": 4, "test": 7}
    assert all("/test/" in name for name in task.splits["test"].names)
    both = foldered({"train/a": 10, "train/b": 10, "val/a": 2, "val/b": 2}, root="other")
    assert sizes(open_images(both)) == {"train": 16, "valid": 4, "test": 4}


def test_groups_never_straddle_a_split(foldered: Folders) -> None:
    root = foldered({f"{label}/p{patient}": 3 for patient in range(12) for label in ("a", "b")})
    task = open_images(root, group=r"/(p\d+)/")
    where = {part: set(examples.groups) for part, examples in task.splits.items()}
    assert not (where["train"] & where["valid"] or where["train"] & where["test"] or where["valid"] & where["test"])
    assert sum(map(len, where.values())) == 12


def test_groups_torn_by_the_users_splits_are_named(foldered: Folders) -> None:
    root = foldered({"train/a/p1": 3, "train/b/p2": 6, "test/a/p1": 1, "test/b/p3": 1, "train/a/none": 4})
    warnings = warned(open_images(root, group=r"p\d").warnings)
    (torn,) = warnings["group-across-splits"]
    assert torn.startswith("p1 (test, ")
    assert len(warnings["missing-group"]) == 4


def test_our_splits_keep_copies_together(foldered: Folders) -> None:
    root = foldered({"a": 20, "b": 20})
    for number in range(8):
        shutil.copy(root / "a" / f"{number}.png", root / "a" / f"copy{number}.png")
        Image.open(root / "b" / f"{number}.png").save(root / "b" / f"again{number}.jpg", quality=90)
    for seed in range(3):
        task = open_images(root, seed=seed)
        part_of = {Path(name).stem: part for part, e in task.splits.items() for name in e.names if "/a/" in name}
        assert all(part_of[str(n)] == part_of[f"copy{n}"] for n in range(8))
        part_of = {Path(name).stem: part for part, e in task.splits.items() for name in e.names if "/b/" in name}
        assert all(part_of[str(n)] == part_of[f"again{n}"] for n in range(8))
        assert len(warned(task.warnings)["copies-kept-together"]) == 16


def test_copies_across_the_users_splits_are_named_with_paths(foldered: Folders) -> None:
    root = foldered({"train/a": 9, "train/b": 9, "test/a": 3, "test/b": 3})
    shutil.copy(root / "train/a/0.png", root / "test/b/same.png")
    Image.open(root / "train/b/1.png").save(root / "test/b/near.jpg", quality=85)
    task = open_images(root)
    warnings = warned(task.warnings)
    (exact,) = warnings["duplicate-across-splits"]
    assert "train/a/0.png" in exact and "test/b/same.png (test)" in exact
    (near,) = warnings["near-duplicate-across-splits"]
    assert "train/b/1.png" in near and "test/b/near.jpg (test)" in near
    (contradiction,) = warnings["contradictory-labels"]
    assert "same.png (b)" in contradiction and "0.png (a)" in contradiction
    assert sizes(task)["test"] == 8


def test_every_bad_example_is_named_and_none_is_lost(foldered: Folders) -> None:
    root = foldered({"a": 10, "b": 10})
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "b" / "notes.txt").write_text("x")
    (root / "empty").mkdir()
    task = open_images(root)
    warnings = warned(task.warnings)
    assert sum(sizes(task).values()) == 20 and task.classes == ("a", "b")
    assert "broken.jpg" in warnings["unreadable"][0] and "notes.txt" in warnings["not-a-picture"][0]
    assert warnings["empty-class"] == (str(root / "empty"),)


def test_a_table_with_everything(foldered: Folders, tmp_path: Path) -> None:
    foldered({"x": 30})
    rows = ["path,label,patient,w"] + [f"photos/x/{n}.png,{'ab'[n % 2]},p{n // 3},{n + 1}" for n in range(30)]
    rows[4], rows[8] = "photos/x/3.png,,p1,1", "photos/x/missing.png,a,p2,1"
    (tmp_path / "t.csv").write_text("\n".join(rows))
    task = open_images(tmp_path / "t.csv", group="patient", weight="w")
    warnings = warned(task.warnings)
    assert "3.png" in warnings["missing-target"][0] and "missing.png" in warnings["unreadable"][0]
    assert "kind-guessed" in warnings
    assert sum(sizes(task).values()) == 28
    for examples in task.splits.values():
        expected = [int(Path(name).stem) + 1 for name in examples.names]
        assert examples.weights.tolist() == expected and examples.weights.dtype == np.float32
        assert list(examples.groups) == [f"p{(value - 1) // 3}" for value in expected]


@pytest.mark.parametrize(
    ("targets", "kind", "shape"),
    [
        ((np.arange(60) % 2).tolist(), "single-label", ()),
        (np.linspace(0, 1, 60).tolist(), "regression", (1,)),
        (["a|b", "a", "b"] * 20, "multi-label", (2,)),
    ],
)
def test_every_kind_from_memory(targets: list, kind: str, shape: tuple[int, ...]) -> None:
    task = open_images((arrays()[0], targets))
    assert task.kind == kind and sizes(task) == {"train": 36, "valid": 12, "test": 12}
    for examples in task.splits.values():
        assert examples.targets.shape == (len(examples), *shape)
        assert examples.targets.dtype == (np.int64 if kind == "single-label" else np.float32)


def test_npz_coco_and_saved_datasets_through_the_door(tmp_path: Path, foldered: Folders, painted) -> None:
    x, y = arrays()
    np.savez(tmp_path / "d.npz", X=x, y=y)
    assert open_images(tmp_path / "d.npz").digest == open_images((x, y)).digest
    foldered({"images": 20}, root="coco")
    document = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(20)],
        "annotations": [{"image_id": n, "category_id": c} for n in range(20) for c in range(2) if n % (c + 2)],
        "categories": [{"id": 0, "name": "odd"}, {"id": 1, "name": "not3"}],
    }
    (tmp_path / "coco" / "train.json").write_text(json.dumps(document))
    task = open_images(tmp_path / "coco")
    assert task.kind == "multi-label" and task.classes == ("odd", "not3") and sum(sizes(task).values()) == 20
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["u", "v"])})
    rows = {"image": [painted(n) for n in range(20)], "label": [n % 2 for n in range(20)]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    assert open_images(tmp_path / "saved").classes == ("u", "v")


def test_a_task_is_returned_as_it_is() -> None:
    task = open_images(arrays())
    assert open_images(task) is task


@pytest.mark.parametrize(
    ("targets", "words"),
    [([1] * 60, "at least two classes"), ([0.5] * 60, "must vary"), ([["a", "b"]] * 60, "in some training examples")],
)
def test_targets_from_which_nothing_can_be_learnt(targets: list, words: str) -> None:
    with pytest.raises(DataError, match=words):
        open_images((arrays()[0], targets))


def test_too_few_examples_are_explained() -> None:
    x, _ = arrays(2)
    with pytest.raises(DataError, match="too few"):
        open_images((x, ["a", "b"]))


def test_small_and_lopsided_classes_are_named() -> None:
    x, _ = arrays(120)
    warnings = warned(open_images((x, ["many"] * 116 + ["few"] * 3 + ["one"])).warnings)
    assert {place.split(":")[0] for place in warnings["small-class"]} == {"few", "one"}
    assert warnings["imbalance"][0] == "many"
    assert "one" in warnings["class-missing-in-split"]


def test_classes_only_in_test_are_named(foldered: Folders) -> None:
    root = foldered({"train/a": 10, "train/b": 10, "test/a": 2, "test/new": 2})
    task = open_images(root)
    assert warned(task.warnings)["class-not-in-train"] == ("new",) and task.classes == ("a", "b", "new")
    assert warned(task.warnings)["class-missing-in-split"] == ("b",)


def test_opening_a_class_folder_alone_in_a_models_order(foldered: Folders) -> None:
    root = foldered({"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 3})
    for where in (root / "test", root):
        examples, warnings = open_split(where, classes=("b", "unused", "a"), kind="single-label")
        assert sorted(examples.targets.tolist()) == [0, 0, 0, 2, 2] and not warnings
    assert len(open_split(root, classes=("a", "b"), kind="single-label", split="train")[0]) == 20
    with pytest.raises(DataError, match=r"knows the classes 'a'.*labelled 'b'"):
        open_split(root / "test", classes=("a",), kind="single-label")
    with pytest.raises(DataError, match="must have a split 'valid'"):
        open_split(root, classes=("a", "b"), kind="single-label", split="valid")


def test_opening_a_split_of_a_task_in_a_models_order() -> None:
    x, y = arrays()
    task = open_images((x, y))
    examples, _ = open_split(task, classes=("2", "1", "0"), kind="single-label")
    assert (examples.targets == 2 - task.splits["test"].targets).all()
    labels = open_images((x, ["a|b", "a", "b"] * 20))
    swapped, _ = open_split(labels, classes=("b", "a"), kind="multi-label")
    assert (swapped.targets == labels.splits["test"].targets[:, ::-1]).all()
    with pytest.raises(DataError, match="has also 2"):
        open_split(task, classes=("0", "1"), kind="single-label")
    without = replace(task, splits={"train": task.splits["train"]})
    with pytest.raises(DataError, match="must have a split 'test'"):
        open_split(without, classes=task.classes, kind="single-label")


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (3, {}, UsageError, "path or a pair"),
        ((1, 2, 3), {}, UsageError, "pair"),
        (arrays(), {"group": "column"}, UsageError, "one value for each"),
        (arrays(), {"kind": "clasification"}, UsageError, "No kind of task"),
    ],
)
def test_wrong_arguments_are_explained(data: object, options: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        open_images(data, **options)


def test_wrong_paths_are_explained(tmp_path: Path, foldered: Folders) -> None:
    foldered({"a": 1})
    with pytest.raises(DataError, match=r"Did you mean '.*photos'"):
        open_images(tmp_path / "photo")
    (tmp_path / "a.xyz").touch()
    with pytest.raises(DataError, match=r"ends in '\.xyz'"):
        open_images(tmp_path / "a.xyz")
    with pytest.raises(UsageError, match="names a column"):
        listed(tmp_path / "photos", target="label")


def test_progress_reaches_the_watcher() -> None:
    events: list = []
    open_images(arrays(), run=Run(watch=events.append))
    assert events[-1]["done"] == events[-1]["total"] == 60


def test_examples_have_what_later_rooms_need() -> None:
    x, y = arrays()
    task = open_images((x, y))
    for examples in task.splits.values():
        assert isinstance(examples, Examples)
        assert len(set(examples.digests)) == len(examples) and examples.weights is None and examples.groups is None
        for item, name in zip(examples.items, examples.names, strict=True):
            np.testing.assert_array_equal(item, x[int(name.removeprefix("row "))])


def test_pictures_given_as_pillow_and_bytes(painted) -> None:
    stream = io.BytesIO()
    painted(99).save(stream, "PNG")
    pictures = [*(painted(n) for n in range(19)), stream.getvalue()]
    task = open_images((pictures, ["a", "b"] * 10))
    assert sum(sizes(task).values()) == 20
