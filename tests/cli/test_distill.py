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


def test_classes_are_mapped_and_seeds_counted_on_the_command_line(teacher: Path, photos: Path, tmp_path: Path, capsys):
    (tmp_path / "map.csv").write_text("teacher,task\neel,eel\n")
    shape = ["--size", "24", "--steps", "3", "--rate", "0.001", "--no-compare", "--seeds", "2"]
    more = ["--label-map", str(tmp_path / "map.csv"), "--label-map", "dog=", "--teacher-weights", "confidence"]
    out = str(tmp_path / "student")
    main(["distill", str(teacher), STUDENT, str(photos), *shape, *more, "--out", out, "--format", "json", "--quiet"])
    told = " ".join(json.loads(capsys.readouterr().out)["summary"])
    assert "2 of 3 classes; it does not know dog" in told
    assert "over 2 seeds" in told


def test_without_labels_and_without_a_teacher(teacher: Path, photos: Path, tmp_path: Path, capsys):
    shape = ["--size", "24", "--steps", "3", "--rate", "0.001", "--no-compare", "--format", "json", "--quiet"]
    free = tmp_path / "free"
    main(["distill", str(teacher), STUDENT, "--unlabelled", str(photos), *shape, "--out", str(free)])
    told = json.loads(capsys.readouterr().out)
    assert "agreement with the teacher" in str(told["warnings"])
    peers = ["--mutual", "2", "--together"]
    main(["distill", "self", STUDENT, str(photos), *shape, *peers, "--out", str(tmp_path / "peers")])
    assert "learnt together" in " ".join(json.loads(capsys.readouterr().out)["summary"])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--label-map", "eel"], "TEACHER=TASK"),
        (["--label-map", "ele=cat"], "Did you mean 'eel'"),
        (["--label-map", "eel=cta"], "Did you mean 'cat'"),
        (["--unlabelled", "nowhere"], "there is no 'nowhere'"),
        (["--teacher-data", "nowhere"], "there is no 'nowhere'"),
        (["--generations", "2"], "with the teacher 'self'"),
        (["--top", "2"], "losses at temperature 1"),
        (["--teacher-weights", "right"], "No kind of teacher weights is called 'right'"),
        (["--teacher", "http://127.0.0.1:9/models/net"], "http://HOST:8000/v2/models/NAME"),
    ],
)
def test_mistakes_of_teaching_are_one_message(more, words, teacher: Path, photos: Path, tmp_path: Path, capsys):
    shape = ["--size", "24", "--steps", "3", "--out", str(tmp_path / "out"), "--quiet"]
    with pytest.raises(SystemExit) as ending:
        main(["distill", str(teacher), STUDENT, str(photos), *shape, *more])
    assert ending.value.code in (1, 2)
    assert words in capsys.readouterr().err
