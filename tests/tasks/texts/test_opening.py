"""Labelled texts of every layout, and what is odd about them, become a Task or an error that says where."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from tests.conftest import sentences

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Task
from transfuse.tasks.texts.opening import open_split, open_texts, texts_in

TEXTS, LABELS = sentences(20)


def codes(task: Task) -> dict[str, tuple[str, ...]]:
    """Places of every warning."""
    return {warning.code: warning.places for warning in task.warnings}


def written(folder: Path, form: str) -> Path:
    """The sentences as a table of one format."""
    path = folder / f"texts.{form}"
    if form == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS, "label": LABELS}), path)
    elif form == "jsonl":
        rows = ({"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True))
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        mark = "\t" if form == "tsv" else ","
        path.write_text("\n".join([f"text{mark}label", *(f"{t}{mark}{c}" for t, c in zip(TEXTS, LABELS, strict=True))]))
    return path


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_hold_the_same_task(tmp_path: Path, form: str) -> None:
    task = open_texts(written(tmp_path, form))
    assert (task.modality, task.kind, task.classes) == ("text", "single-label", ("food", "music", "weather"))
    assert {split: len(examples) for split, examples in task.splits.items()} == {"train": 36, "valid": 12, "test": 12}
    assert task.digest == open_texts((TEXTS, LABELS)).digest
    of_text = dict(zip(TEXTS, LABELS, strict=True))
    for examples in task.splits.values():
        said = [task.classes[target] for target in examples.targets]
        assert said == [of_text[text] for text in examples.items]


def test_class_folders_with_splits_of_their_own(tmp_path: Path) -> None:
    for place, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True)):
        folder = tmp_path / ("train" if place < 40 else "test") / label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{place}.txt").write_text(text)
    task = open_texts(tmp_path)
    assert len(task.splits["test"]) == 20 and len(task.splits["train"]) + len(task.splits["valid"]) == 40
    examples, _ = open_split(tmp_path, classes=task.classes, kind=task.kind, split="train")
    assert len(examples) == 40


def test_kinds() -> None:
    assert open_texts((TEXTS, np.linspace(0, 1.5, len(TEXTS)))).kind == "regression"
    several = open_texts(
        (TEXTS, [["a", "b"] if place % 2 else ["b"] for place in range(len(TEXTS))]), kind="multi-label"
    )
    assert several.splits["train"].targets.sum(0).tolist()[1] == 36


def test_what_cannot_be_read_is_left_out_by_name(tmp_path: Path) -> None:
    for label in ("ham", "spam"):
        (tmp_path / label).mkdir()
        for place, text in enumerate(TEXTS[:20]):
            (tmp_path / label / f"{place}.txt").write_text(f"{label} {text}")
    (tmp_path / "ham" / "latin.txt").write_bytes("caf\xe9 au lait".encode("latin-1"))
    (tmp_path / "ham" / "empty.txt").write_text(" \n")
    (tmp_path / "spam" / "wide.txt").write_text("good \u4f60\u597d", encoding="utf-16")
    task = open_texts(tmp_path)
    assert "byte 3 (line 1) is 0xe9" in codes(task)["unreadable"][0] and "latin.txt" in codes(task)["unreadable"][0]
    assert codes(task)["empty-text"] == (str(tmp_path / "ham" / "empty.txt"),)
    assert sum(len(examples) for examples in task.splits.values()) == 41


def test_odd_texts_are_named() -> None:
    texts = [*TEXTS, "a\x00b is here", "caf\u00c3\u00a9 is closed", "long " * 60_000]
    task = open_texts((texts, [*LABELS, "food", "food", "food"]))
    found = codes(task)
    assert found["nul-characters"] == ("row 60",)
    assert found["wrong-encoding"] == ("row 61",)
    assert found["very-long-text"] == ("row 62",)


def test_copies_stay_together_and_contradictions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    near = "We will play a very loud song on the guitar today, please come along with the band!"
    rows = [
        *zip(TEXTS, LABELS, strict=True),
        (near, "music"),
        (near.lower().replace(",", ""), "music"),
        (TEXTS[0], "food"),
    ]
    path.write_text("text,label\n" + "\n".join(f'"{text}",{label}' for text, label in rows))
    for seed in range(5):
        task = open_texts(path, seed=seed)
        assert len(codes(task)["contradictory-labels"]) == 1
        where = {name: split for split, examples in task.splits.items() for name in examples.names}
        assert where[f"row 61 of {path}"] == where[f"row 62 of {path}"]
        assert where[f"row 1 of {path}"] == where[f"row 63 of {path}"]


def test_given_splits_with_the_same_text_in_both_are_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [
        f"{text},{label},{'test' if place >= 45 else 'train'}"
        for place, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    path.write_text("\n".join(["text,label,split", *rows, f"{TEXTS[3]},{LABELS[3]},test"]))
    assert f"row 61 of {path}" in codes(open_texts(path))["duplicate-across-splits"][0]


def test_groups_stay_together(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{text},{label},g{place // 4}" for place, (text, label) in enumerate(zip(TEXTS, LABELS, strict=True))]
    path.write_text("\n".join(["text,label,author", *rows]))
    task = open_texts(path, group="author", target="label")
    seen = [set(examples.groups or ()) for examples in task.splits.values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as a table"),
        (b"text,label\n", "only a header"),
        (b"label\na\nb\n", "must have a column of texts"),
        (b"text,label\na b c,x\nd e f,x\ng h i,x\nj k l,x\nm n o,x\n", "at least two classes"),
        (b"text,label\na b\xe9 c,x\nd e f,y\n", "row 1, column 'text' .* UTF-8"),
    ],
)
def test_tables_from_which_nothing_can_be_learnt(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        open_texts(path)


def test_targets_in_memory_must_be_as_many() -> None:
    with pytest.raises(UsageError, match="one value for each of the 60 texts"):
        open_texts((TEXTS, LABELS[:-1]))


def test_texts_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one\n\ntwo words\n")
    assert texts_in(path) == ["one", "two words"]
    assert texts_in(written(tmp_path, "csv")) == TEXTS
