"""Tables on the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_mixed

from transfuse.cli.main import main


def written(path: Path, count: int = 150) -> Path:
    generator = np.random.default_rng(0)
    lines = ["zip,size,label"]
    for _ in range(count):
        size = generator.normal()
        lines.append(f"{generator.integers(100, 105)},{size:.3f},{'up' if size > 0 else 'down'}")
    path.write_text("\n".join(lines))
    return path


def test_fit_then_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "t.csv")
    main(
        [
            "fit",
            "t.csv",
            "--target",
            "label",
            "--role",
            "zip=categorical",
            "--no-finetune",
            "--quiet",
            "--format",
            "json",
        ]
    )
    report = json.loads(capsys.readouterr().out)
    told = next(w for w in report["warnings"] if w["code"] == "roles")
    assert "zip: categorical (as given)" in told["places"]
    main(["predict", "model", "t.csv", "--quiet", "--format", "json"])
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 150 and {answer["class"] for answer in answers} == {"up", "down"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--role", "zip"], "must be given as COLUMN=ROLE"),
        (["--role", "zip=number"], "No role is called 'number'"),
        (["--query", "select 1"], "goes with databases"),
        (["--target", "lable"], "Did you mean 'label'"),
    ],
)
def test_mistakes_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    path = written(tmp_path / "t.csv")
    with pytest.raises(SystemExit):
        main(["fit", str(path), "--out", str(tmp_path / "m"), "--quiet", "--target", "label", *arguments])
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_a_mixed_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    data = write_mixed(tmp_path / "data", 150)
    monkeypatch.chdir(tmp_path)  # the pictures' paths begin where the table lies, not here
    source = ["--source", "random:timm:test_resnet"]
    main(["fit", str(data), "--target", "label", *source, "--no-finetune", "--quiet", "--format", "json"])
    report = json.loads(capsys.readouterr().out)
    told = {warning["code"]: warning["places"] for warning in report["warnings"]}
    assert any(place.startswith("photo: picture") for place in told["roles"])
    assert "unreadable" in told and "missing-pictures" in told and "text-without-source" in told
    main(["predict", "model", str(data), "--quiet", "--format", "json"])
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 150 and sum("class" in answer for answer in answers) >= 149
