"""transfuse distill, from a folder of pictures to a saved student."""

import json
from pathlib import Path

import pytest

import transfuse as tr
from transfuse.cli.main import main


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of the built-in source."""
    return tr.transfer("builtin", photos, method="probe").save(tmp_path_factory.mktemp("teacher") / "model")


STUDENT = "random:timm:test_efficientnet"


def test_a_student_is_saved_with_its_report(teacher: Path, photos: Path, tmp_path: Path, capsys):
    out = tmp_path / "student"
    shape = ["--size", "24", "--steps", "4", "--rate", "0.001", "--method", "kd(temperature=2)"]
    main(["distill", str(teacher), STUDENT, str(photos), *shape, "--out", str(out), "--format", "json", "--quiet"])
    told = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in told["rows"]] == ["teacher", "student distilled", "student alone"]
    assert tr.load(out).provenance.verb == "distill"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--method", "kdd"], "Did you mean 'kd'"),
        (["--tap", "blocks.1"], "STUDENT_MODULE=TEACHER_MODULE"),
        (["--method", "at", "--tap", "block.1=s1"], "Did you mean 'blocks.1'"),
        (["--set", "epochs=3"], "No option of 'distill' is called 'epochs'"),
    ],
)
def test_mistakes_are_one_message(more, words, teacher: Path, photos: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as ending:
        main(
            [
                "distill",
                str(teacher),
                STUDENT,
                str(photos),
                "--steps",
                "4",
                "--out",
                str(tmp_path / "out"),
                "--quiet",
                *more,
            ]
        )
    assert ending.value.code == 2
    assert words in capsys.readouterr().err


def test_a_teacher_is_not_overwritten(teacher: Path, photos: Path, capsys):
    before = (teacher / "model.json").read_bytes()
    with pytest.raises(SystemExit):
        main(["distill", str(teacher), STUDENT, str(photos), "--out", str(teacher), "--quiet"])
    assert "`out` must be another folder than its parents" in capsys.readouterr().err
    assert (teacher / "model.json").read_bytes() == before


@pytest.mark.parametrize("command", [["transfer", "MODEL", "DATA"], ["fit", "DATA", "--source", "MODEL"]])
def test_a_source_is_not_overwritten(command, teacher: Path, photos: Path, capsys):
    given = {"MODEL": str(teacher), "DATA": str(photos)}
    with pytest.raises(SystemExit):
        main([*(given.get(word, word) for word in command), "--out", str(teacher), "--quiet"])
    assert "`out` must be another folder than its parents" in capsys.readouterr().err


def test_a_misspelt_teacher_is_told_before_the_data_are_read(photos: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit):
        main(["distill", "techer", STUDENT, str(tmp_path / "no data"), "--out", str(tmp_path / "out"), "--quiet"])
    assert "There is no source 'techer'" in capsys.readouterr().err
