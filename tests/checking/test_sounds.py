"""Sounds that are checked, cleaned and compared."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.conftest import write_sounds, write_tone

import transfuse as tr
from transfuse.checking.check import check
from transfuse.checking.cleaning import cleaned
from transfuse.checking.drift import drift
from transfuse.checking.report import FINDINGS
from transfuse.core.errors import DataError
from transfuse.core.nouns import Report


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """Tones; one lies among the higher ones, one is there twice, one is silent, one is no sound."""
    folder = write_sounds(tmp_path / "tones", 16)
    write_tone(folder / "high" / "wrong.wav", 190)
    shutil.copy(folder / "low" / "low3.wav", folder / "low" / "twice.wav")
    soundfile.write(folder / "middle" / "silent.wav", np.zeros(2400), 8000)
    (folder / "middle" / "letter.wav").write_text("this is no sound")
    return folder


def problems(report: Report) -> dict[str, set[str]]:
    """What is said of each file, by its name."""
    found: dict[str, set[str]] = {}
    for row in next(section for section in report.sections if section.title == FINDINGS).content["rows"]:
        found.setdefault(Path(row["path"]).name, set()).add(row["problem"])
    return found


def test_what_is_planted_among_sounds_is_found(sounds: Path, tmp_path: Path) -> None:
    report = check(sounds, out=tmp_path / "found")
    found = problems(report)
    assert "wrong-label" in found["wrong.wav"] and "silent" in found["silent.wav"]
    assert len({"low3.wav", "twice.wav"} & set(found)) == 1
    said = {warning.code: warning for warning in report.warnings}
    assert "letter.wav" in said["unreadable"].places[0]
    assert said["unreadable"].message == "1 of 52 sounds cannot be read and is left out."
    assert said["silent"].message == "1 sound is silent: nothing can be learnt from it."
    with (tmp_path / "found" / "findings.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["path"].endswith("silent.wav")]
    assert [row["keep"] for row in rows if row["problem"] == "silent"] == ["no"]


def test_sounds_are_cleaned_as_the_table_says(sounds: Path, tmp_path: Path) -> None:
    check(sounds, out=tmp_path / "found")
    table = tmp_path / "found" / "findings.csv"
    task = cleaned(tr.task(sounds), table)
    names = {Path(name).name for examples in task.splits.values() for name in examples.names}
    assert task.modality == "sound" and "silent.wav" not in names and len({"low3.wav", "twice.wav"} & names) == 1


def test_sounds_are_compared_with_sounds(tmp_path: Path) -> None:
    here, same = write_sounds(tmp_path / "here", 12), write_sounds(tmp_path / "same", 12, seed=1)
    assert drift(here, same).summary[0].startswith("No difference")
    other = tmp_path / "other"
    for name in ("low", "middle", "high"):
        (other / name).mkdir(parents=True)
        for number in range(12):
            write_tone(other / name / f"{number}.wav", 3000, seed=number)
    assert drift(here, other).rows[0]["auc"]["low"] > 0.8


def test_a_source_of_texts_does_not_hear(sounds: Path) -> None:
    with pytest.raises(DataError, match="takes texts, but the data are sounds"):
        check(sounds, source="builtin:words")
