"""Folders, tables and memory with sounds become Tasks."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_sounds, write_tone

from transfuse.core.errors import UsageError
from transfuse.tasks.opening import open_task, recognised
from transfuse.tasks.sounds.opening import open_sounds, open_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sounds(tmp_path_factory.mktemp("sounds") / "tones", 12)


def test_class_folders(folder: Path) -> None:
    assert recognised(folder) == ("sound", "a folder with 36 sounds")
    task = open_task(folder)
    assert task.modality == "sound" and set(task.classes) == {"low", "middle", "high"}
    assert sum(len(split) for split in task.splits.values()) == 36
    assert open_sounds(folder).digest == task.digest


def test_a_table_of_paths(folder: Path) -> None:
    lines = [f"tones/{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(folder.rglob("*.wav"))]
    table = folder.parent / "t.csv"
    table.write_text("\n".join(["audio,label", *lines]))
    assert recognised(table) == ("sound", "the column 'audio' holds paths of sounds")
    assert set(open_task(table).splits["train"].digests) == set(open_task(folder).splits["train"].digests)
    examples, _ = open_split(table, classes=("low", "middle", "high"), kind="single-label")
    assert len(examples) == 36


def test_sounds_in_memory() -> None:
    random = np.random.default_rng(0)
    sounds = [(random.normal(0, 0.1, 800).astype(np.float32), 8000) for _ in range(20)]
    assert recognised((sounds, [0, 1] * 10))[0] == "sound"
    assert len(open_task((sounds, ["a", "b"] * 10)).splits["train"]) == 12
    with pytest.raises(UsageError, match="paths, encoded files or pairs"):
        open_sounds(([3.5], [0]))


def test_copies_stay_together_and_across_splits_are_said(tmp_path: Path, folder: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / split)
    codes = {warning.code: warning.places for warning in open_task(tmp_path).warnings}
    assert len(codes["duplicate-across-splits"]) == 36


def test_groups_in_names_are_said(tmp_path: Path) -> None:
    for split, voices in {"train": ("ann", "bob"), "test": ("cid",)}.items():
        for voice in voices:
            for number in range(20):
                for label in ("a", "b"):
                    (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
                    path = tmp_path / split / label / f"{label}_{voice}_{number}.wav"
                    write_tone(path, 300, 0.05, seed=len(list(tmp_path.rglob("*.wav"))))
    codes = {warning.code: warning.message for warning in open_task(tmp_path).warnings}
    assert "'ann', 'bob' in the training split, 'cid' in the test split" in codes["groups-in-names"]
    assert "groups-in-names" not in {w.code for w in open_task(tmp_path, group=r"_(\w+)_").warnings}
