"""Folders with a table for each split, of every modality."""

import random

import pytest
from PIL import Image

from transfuse.core.errors import DataError
from transfuse.tasks.opening import open_task
from transfuse.tasks.split_tables import split_tables

WORDS = [
    "river",
    "stone",
    "apple",
    "cloud",
    "winter",
    "train",
    "paper",
    "glass",
    "horse",
    "candle",
    "garden",
    "mirror",
    "silver",
    "button",
    "forest",
]


def write_texts(path, count, seed):
    """Two classes that share no first word; no two texts are alike."""
    draw = random.Random(seed)
    rows = [
        f"{first} {' '.join(draw.choice(WORDS) for _ in range(9))},{label}"
        for _ in range(count)
        for first, label in (("invoice", "bill"), ("parcel", "post"))
    ]
    path.write_text("text,label\n" + "\n".join(rows))


def test_texts_keep_the_splits_that_the_files_are(tmp_path):
    write_texts(tmp_path / "train.csv", 20, seed=1)
    write_texts(tmp_path / "test.csv", 10, seed=2)
    task = open_task(tmp_path)
    assert task.modality == "text" and "train.csv" in task.description["modality"]
    assert len(task.splits["test"]) == 20 and len(task.splits["train"]) + len(task.splits["valid"]) == 40
    assert all("test.csv" in name for name in task.splits["test"].names)


def test_tables_of_picture_paths_are_pictures(tmp_path):
    for split, count in (("train", 20), ("val", 6)):
        lines = []
        for place in range(count):
            shade = (place * 11, 200 - place * 7, 50 if split == "val" else 90)
            Image.new("RGB", (16, 16), shade).save(tmp_path / f"{split}{place}.png")
            lines.append(f"{split}{place}.png,{'ab'[place % 2]}")
        (tmp_path / f"{split}.csv").write_text("image,label\n" + "\n".join(lines))
    task = open_task(tmp_path, test=0.0)
    assert task.modality == "image" and len(task.splits["valid"]) == 6 and len(task.splits["train"]) == 20


def test_other_targets_and_two_tables_of_one_split_are_refused(tmp_path):
    write_texts(tmp_path / "train.csv", 8, seed=1)
    (tmp_path / "test.csv").write_text("text,kind\nwhere is my parcel now,post\nsend the bill to me,bill\n")
    with pytest.raises(DataError, match=r"test.csv' must have the targets of"):
        open_task(tmp_path)
    write_texts(tmp_path / "training.csv", 8, seed=3)
    with pytest.raises(DataError, match="one table for each split"):
        split_tables(tmp_path)


def test_a_folder_without_a_training_table_is_something_else(tmp_path):
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    (tmp_path / "test.csv").write_text("a,b\n1,2\n")
    assert split_tables(tmp_path) == {}
