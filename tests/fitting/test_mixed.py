"""The main job on a table with pictures and texts, to the saved model that answers a CSV."""

from pathlib import Path

import pytest
from tests.conftest import write_mixed

import transfuse as tr
from transfuse.core.nouns import Model
from transfuse.tasks.tables.opening import open_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mixed")


@pytest.fixture(scope="module")
def fitted(folder: Path, tiny_networks: dict[str, Path]) -> Model:
    task = open_table(write_mixed(folder, 400), target="label")
    sources = ["random:timm:test_resnet", str(tiny_networks["bert"])]
    return tr.fit(task, sources=sources, budget="3m", finetune=False, refit=True)


def test_the_columns_join_by_evidence(fitted: Model) -> None:
    names = {row["model"] for row in fitted.report.rows}  # type: ignore[union-attr]
    assert {"linear model of columns", "trees of columns"} < names
    path = next(section for section in fitted.report.sections if section.kind == "decisions")  # type: ignore[union-attr]
    told = next(decision for decision in path.content if decision["question"] == "Which columns know what?")
    assert "photo by test_resnet" in told["decision"] and " to +" in told["evidence"]
    assert "fused_probe" in fitted.provenance.method and "refitted" in fitted.report.title  # type: ignore[union-attr]
    summary = fitted.report.summary  # type: ignore[union-attr]
    assert any("fused probe" in finding and "linear model" in finding for finding in summary)
    assert not any("earlier table" in decision["question"] for decision in path.content)


def test_it_is_saved_and_answers_files_and_rows(fitted: Model, folder: Path) -> None:
    model = tr.load(fitted.save(folder / "model"))
    new = write_mixed(folder, 100, seed=9)
    answers = model.predict(new)
    truth = [line.rpartition(",")[2] for line in new.read_text().splitlines()[1:]]
    right = [answer["class"] == label for answer, label in zip(answers, truth, strict=True) if not answer["rejected"]]
    assert sum(right) / len(right) > 0.75
    assert "gone.png" in answers[5]["reason"] and "Column 'photo'" in answers[5]["reason"]
    again = fitted.predict(new)
    assert all(a.get("confidence") == pytest.approx(b.get("confidence")) for a, b in zip(answers, again, strict=True))
    row = {"size": 0.5, "photo": str(folder / "pictures/9-0.png"), "note": "the song is loud"}
    found = model.predict([row, {**row, "photo": None}, {**row, "photo": None, "note": ""}])
    assert all("class" in answer for answer in found)
    assert "lacks 'note', 'photo'" in model.predict([{"size": 1.0}])[0]["reason"]
    assert tr.evaluate(model, new).rows[0]["value"]["n"] == 100


def test_a_table_of_pictures_alone_has_a_model(folder: Path) -> None:
    lines = write_mixed(folder, 150, seed=4, holes=False).read_text().splitlines()
    rows = [line.split(",") for line in lines]
    (folder / "alone.csv").write_text("\n".join(f"{row[1]},{row[3]}" for row in rows))
    model = tr.fit(open_table(folder / "alone.csv", target="label"), sources=["random:timm:test_resnet"], budget="2m")
    assert [row["model"] for row in model.report.rows] == ["fused probe of photo"]  # type: ignore[union-attr]


def test_sources_without_a_column_and_texts_without_a_source_are_said(folder: Path) -> None:
    lines = write_mixed(folder, 80, seed=5, holes=False).read_text().splitlines()
    rows = [line.split(",") for line in lines]
    (folder / "texts.csv").write_text("\n".join(f"{row[0]},{row[2]},{row[3]}" for row in rows))
    task = open_table(folder / "texts.csv", target="label")
    model = tr.fit(task, sources=["random:timm:test_resnet"], budget="2m", finetune=False)
    codes = {warning.code for warning in model.report.warnings}  # type: ignore[union-attr]
    assert {"source-left-out", "text-without-source"} <= codes
