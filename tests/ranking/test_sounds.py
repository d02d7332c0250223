"""Sources ranked by how they hear."""

from pathlib import Path

import pytest
from tests.conftest import write_sounds

import transfuse as tr
from transfuse.core.errors import DataError
from transfuse.ranking.rank import rank

SOURCES = ("random:timm:test_resnet", "builtin")


def test_sources_of_pictures_are_ranked_by_what_they_hear(tmp_path: Path) -> None:
    report = rank(write_sounds(tmp_path / "tones", 12), SOURCES, depths="several")
    assert len({row["source"].partition(" ")[0] for row in report.rows}) == 2
    assert report.rows[0]["accuracy"]["value"] > 0.8 and report.rows[0]["neighbours"]["value"] > 0.6
    assert all(row["ms_an_example"] > 0 and isinstance(row["logme"], float) for row in report.rows[:1])


def test_a_source_of_texts_is_not_ranked_by_sounds(tmp_path: Path) -> None:
    task = tr.task(write_sounds(tmp_path / "tones", 4))
    with pytest.raises(DataError, match="takes texts, but the data are sounds"):
        rank(task, ["builtin:words"])


def test_one_source_is_called_the_only_one(tmp_path: Path) -> None:
    report = rank(write_sounds(tmp_path / "tones", 6), ["random:timm:test_resnet"])
    assert report.title == "tones: test_resnet is the only source"
    assert not any("is first of" in said for said in report.summary)
