"""The teacher hears, the student sees: examples that belong together."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_photos
from tests.distilling.conftest import QUICK

import transfuse as tr
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Model, Source
from transfuse.predicting.predict import probabilities


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pictures of three classes, and a tone for each, whose pitch says the class."""
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path_factory.mktemp("pairs")
    write_photos(folder / "photos", each=12)
    (folder / "sounds").mkdir()
    random, rows = np.random.default_rng(0), []
    for number, place in enumerate(sorted((folder / "photos").rglob("*.png"))):
        pitch = {"cat": 300, "dog": 800, "eel": 2000}[place.parent.name] * random.uniform(0.9, 1.1)
        wave = np.sin(2 * np.pi * pitch * np.arange(2000) / 8000) + random.normal(0, 0.1, 2000)
        soundfile.write(folder / "sounds" / f"{number}.wav", wave / 2, 8000)
        rows.append(f"{place.relative_to(folder)},sounds/{number}.wav,{place.parent.name}")
    (folder / "pairs.csv").write_text("picture,sound,label\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def listener(pairs: Path) -> Model:
    """A teacher of the sounds."""
    task = tr.task(pairs / "pairs.csv", modality="sound", target="label")
    return tr.transfer(tr.source("random:timm:test_resnet", size=32), task, method="scratch", **QUICK)


def pictures(pairs: Path):
    return tr.task(pairs / "pairs.csv", modality="image", path_column="picture", target="label")


@pytest.mark.parametrize("method", ["kd", "kd + at"])
def test_a_student_of_pictures_learns_from_a_teacher_of_sounds(method, pairs: Path, listener: Model, student: Source):
    task = pictures(pairs)
    model = tr.distill(
        listener, student, task, teacher_data=pairs / "pairs.csv", method=method, compare=False, **QUICK
    )  # fmt: skip
    assert model.modality == "image"
    test = task.splits["test"]
    partners = dict(line.split(",")[:2] for line in (pairs / "pairs.csv").read_text().splitlines()[1:])
    sounds = [pairs / partners[str(Path(item).relative_to(pairs))] for item in test.items]
    right = (probabilities(listener, sounds).argmax(1) == test.targets).mean()
    assert model.report.rows[0]["accuracy"]["value"] == pytest.approx(right)


def test_files_of_one_name_are_partners(pairs: Path, listener: Model, student: Source, tmp_path: Path):
    task = pictures(pairs)
    (tmp_path / "other").mkdir()
    for item in task.splits["train"].items[:3]:
        (tmp_path / "other" / f"{Path(item).stem}.wav").write_bytes((pairs / "sounds" / "0.wav").read_bytes())
    with pytest.raises(DataError, match=r"Every example must have its partner.*none, such as"):
        tr.distill(listener, student, task, teacher_data=tmp_path / "other", **QUICK)


def test_an_example_has_one_partner(pairs: Path, listener: Model, student: Source):
    first, *rest = (pairs / "pairs.csv").read_text().splitlines()
    twice = rest[0].replace("sounds/0.wav", "sounds/1.wav")
    (pairs / "twice.csv").write_text("\n".join([first, *rest, twice]))
    with pytest.raises(DataError, match="one partner"):
        tr.distill(listener, student, pictures(pairs), teacher_data=pairs / "twice.csv", **QUICK)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"teacher_data": "nowhere"}, "there is no 'nowhere'"),
        ({}, "single-label image, but '.*' is single-label sound"),
    ],
)
def test_mistakes_are_told(options, words, pairs: Path, listener: Model, student: Source):
    with pytest.raises((DataError, UsageError), match=words):
        tr.distill(listener, student, pictures(pairs), **{**QUICK, **options})
