"""Which columns of a table a model is measured on."""

from pathlib import Path

import numpy as np
import pytest
from tests.conftest import sentences

import transfuse as tr
from transfuse.cli.main import main
from transfuse.core.errors import UnknownName, UsageError


def write(path: Path, header: str, rows: list[tuple[object, ...]]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, a model of it, and the same rows under other names."""
    folder = tmp_path_factory.mktemp("tables")
    sizes = np.random.default_rng(0).normal(size=120).round(3)
    rows = [(size, "up" if size > 0 else "down", "up" if size > 0.7 else "down") for size in sizes.tolist()]
    write(folder / "t.csv", "size,label,forecast", rows)
    write(folder / "renamed.csv", "size,outcome,forecast", rows)
    task = tr.task(folder / "t.csv", target="label", roles={"forecast": "drop"})
    tr.transfer("table:columns", task, method="probe").save(folder / "model")
    return folder


def accuracy(report: tr.Report) -> float:
    return next(row["value"]["value"] for row in report.rows if row["metric"] == "accuracy")


def test_the_model_s_own_columns_need_not_be_told(folder: Path) -> None:
    own = tr.evaluate(folder / "model", folder / "t.csv")  # two columns hold its classes
    assert accuracy(own) > 0.95 and own.title.endswith("120 examples")
    assert accuracy(tr.evaluate(folder / "model", folder / "t.csv", target="forecast")) < 0.9
    same = tr.compare(folder / "model", folder / "model", folder / "t.csv")
    assert same.rows[0]["accuracy"]["value"] == accuracy(own)


def test_other_names_are_told_and_asked_for(folder: Path, capsys: pytest.CaptureFixture) -> None:
    said = tr.evaluate(folder / "model", folder / "renamed.csv", target="outcome")
    assert accuracy(said) == accuracy(tr.evaluate(folder / "model", folder / "t.csv"))
    main(["evaluate", str(folder / "model"), str(folder / "renamed.csv"), "--target", "outcome", "--quiet"])
    assert "accuracy" in capsys.readouterr().out
    with pytest.raises(UnknownName, match="Known: "):
        tr.evaluate(folder / "model", folder / "renamed.csv", target="label")
    with pytest.raises(UsageError, match="no option 'column'"):
        tr.evaluate(folder / "model", folder / "t.csv", column="label")
    with pytest.raises(UsageError, match="no option 'text_column'"):
        tr.evaluate(folder / "model", folder / "t.csv", text_column="size")


def test_the_column_of_texts_is_remembered_too(tmp_path: Path) -> None:
    texts, labels = sentences(20)
    rows = list(zip(texts, texts[::-1], labels, strict=True))
    path = write(tmp_path / "t.csv", "body,title,label", rows)
    task = tr.task(path, modality="text", text_column="body")
    model = tr.transfer("builtin:words", task, method="probe")
    assert accuracy(tr.evaluate(model, path)) > 0.9
    assert accuracy(tr.evaluate(model, path, text_column="title")) < 0.9
