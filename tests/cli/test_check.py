"""The command `check`: what it finds, how the user's decisions become new data, and what it refuses."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from transfuse.cli.main import main


@pytest.fixture
def data(photos, here):
    """The photographs, one of them a second time under another name."""
    folder = here / "photos"
    shutil.copytree(photos, folder)
    shutil.copy(folder / "cat" / "cat0.png", folder / "dog" / "dog99.png")
    return folder


def test_findings_become_new_data_only_when_the_user_says_so(transfuse, data, here):
    ended = transfuse("check", "photos", "--out", "found", "--format", "json", "--quiet")
    assert ended.code == 0
    told = json.loads(ended.out)
    assert {"contradiction"} <= {row["problem"] for row in told["rows"]}
    with Path(told["findings"]).open() as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["keep"] = "no" if row["path"].endswith("dog99.png") else "yes"
    with (here / "decided.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    ended = transfuse("check", "photos", "--fix", "decided.csv", "--out", "clean", "--quiet")
    assert ended.code == 0 and "1 removed, 0 relabelled" in ended.out
    assert "dog99" not in (here / "clean" / "data.csv").read_text() and (data / "dog" / "dog99.png").exists()
    assert transfuse("check", "clean/data.csv", "--kind", "single-label", "--quiet").code == 0
    ended = transfuse("check", "photos", "--fix", "decided.csv", "--out", "clean", "--quiet")
    assert ended.code == 2 and "new or empty folder" in ended.err


def test_two_sets_are_compared(transfuse, photos, here):
    ended = transfuse("check", photos, "--against", photos, "--out", "drift", "--quiet")
    assert ended.code == 0 and "No difference" in ended.out and (here / "drift" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--fix", "d.csv"), 2, "must come with --out FOLDER"),
        (("--fix", "d.csv", "--against", "photos", "--out", "q"), 2, "two different things"),
        (("--fix", "d.csv", "--out", "q"), 1, "cannot be read"),
        (("--sourse", "builtin"), 2, "Did you mean"),
        (("--source", "bultin"), 1, "There is no source 'bultin'"),
    ],
)
def test_mistakes_are_one_message(transfuse, data, arguments, code, said):
    ended = transfuse("check", "photos", *arguments, "--quiet")
    assert ended.code == code and said in ended.err and "Traceback" not in ended.err


def test_an_empty_folder_says_what_belongs_there(transfuse, here):
    (here / "empty").mkdir()
    ended = transfuse("check", "empty", "--quiet")
    assert ended.code == 1 and "one folder of pictures for each class" in ended.err


def test_stopping_leaves_no_half_written_report(data, here, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("transfuse.checking.check.examined", interrupted)
    with pytest.raises(SystemExit) as ending:
        main(["check", "photos", "--out", "found", "--quiet"])
    assert ending.value.code == 130 and "Nothing was left half-written" in capsys.readouterr().err
    assert list((here / "found").iterdir()) == []
