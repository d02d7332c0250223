"""Pictures and texts of two populations: what is matched, what is tried, and what the report says of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import sentences
from tests.fitting.conftest import examples

import transfuse as tr
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.populations import opened_population
from transfuse.fitting.progress import Progress
from transfuse.fitting.resembling import cropped
from transfuse.tasks.joining import concatenated

QUICK = {"steps": 12, "rate": 1e-3, "precision": "float32"}


def population(task: Task, classes: tuple[str, ...], count: int = 90) -> Task:
    """More pictures of the same colours, under the names given in the target's order."""
    splits = {"train": examples(count, 7), "valid": examples(18, 8)}
    return replace(task, name="elsewhere", classes=classes, splits=splits, digest=f"elsewhere {classes}")


def fitted(task: Task, other: Task, source: Source, **options: object) -> Model:
    return tr.fit(task, sources=[source], source_data=other, budget="3m", **options)  # type: ignore[arg-type]


def rows_of(model: Model) -> dict[str, float]:
    assert model.report is not None
    return {row["model"]: row["accuracy"]["value"] for row in model.report.rows}


def test_every_way_stands_beside_the_target_alone_and_is_compared(good: Source, task: Task) -> None:
    model = fitted(task, population(task, task.classes), good, options=QUICK, baseline=False)
    rows = rows_of(model)
    name = good.name
    ways = {f"{way} probe of {name}" for way in ("pooled", "importance-weighted", "CORAL", "source-only")}
    trained = f"{name} trained on the source's examples"
    assert ways | {f"probe of {name}", f"unchanged of {trained}", f"finetune of {trained}"} <= set(rows)
    said = [s for s in model.report.summary if s.startswith(("The source's examples", "NEGATIVE"))]
    assert len(said) == 6 and all("n = 45" in sentence for sentence in said)
    drift = next(w for w in model.report.warnings if w.code == "drift")
    assert "AUC" in drift.places[0] and "count like" in drift.places[1]
    decisions = next(s for s in model.report.sections if s.kind == "decisions").content
    assert any(d["question"] == "Do the source's examples help?" for d in decisions)
    recorded = model.provenance.options
    assert recorded["source_data"] == population(task, task.classes).name and recorded["unlabelled"] is None


def test_wrong_labels_elsewhere_are_called_negative_transfer(good: Source, task: Task) -> None:
    many = {**task.splits, "train": examples(60, 0), "test": examples(150, 2)}
    task = replace(task, splits=many, digest="more colours")
    turned = replace(population(task, task.classes, 240), digest="turned")
    train = turned.splits["train"]
    turned = replace(turned, splits={**turned.splits, "train": replace(train, targets=(train.targets + 1) % 3)})
    model = fitted(task, turned, good, finetune=False)
    rows = rows_of(model)
    assert rows[f"source-only probe of {good.name}"] < 0.1
    said = [s for s in model.report.summary if s.startswith("NEGATIVE TRANSFER from the source's examples.")]
    assert any("source-only probe" in s for s in said) and any(" pooled probe" in s for s in said)
    assert model.provenance.method == "probe" and "pooled" not in model.name


def test_classes_are_matched_by_name(good: Source, task: Task) -> None:
    """In another order, under another spelling, the same examples say the same."""
    other = population(task, task.classes)
    order = [2, 0, 1]
    names = tuple(task.classes[place].upper() for place in order)
    to = np.argsort(order)
    splits = {name: replace(part, targets=to[part.targets]) for name, part in other.splits.items()}
    model = fitted(task, replace(other, classes=names, splits=splits), good, finetune=False)
    assert rows_of(model) == rows_of(fitted(task, other, good, finetune=False))
    noted = next(w for w in model.report.warnings if w.code == "classes-differ")
    assert "~ RED: called red here" in noted.places


def test_what_judges_the_model_is_not_learnt_from(task: Task) -> None:
    progress = Progress()
    other = population(task, task.classes)
    with_test = concatenated(other.splits["train"], task.splits["test"])
    found = opened_population(replace(other, splits={**other.splits, "train": with_test}), task, Run(), progress)
    assert found.splits["train"].digests == other.splits["train"].digests
    assert [w.code for w in progress.warnings] == ["source-in-test"] and len(progress.warnings[0].places) == 45


def digits(count: int, seed: int, side: int) -> Task:
    """Bars across or down, that fill a share of a picture of 24 pixels."""
    generator = np.random.default_rng(seed)
    pictures, labels = [], []
    for number in range(count):
        pixels = generator.integers(0, 20, (24, 24, 3)).astype(np.uint8)
        at = int(generator.integers(1, 23 - side)) if side < 21 else 1
        long, thin = slice(at, at + side), slice(at + side // 3, at + 2 * side // 3)
        pixels[(long, thin) if number % 2 else (thin, long)] = generator.integers(180, 255)
        pixels[at : at + side : side - 1, at : at + side : side - 1] = 200
        pictures.append(pixels)
        labels.append("down" if number % 2 else "across")
    return tr.task((pictures, labels), name=f"bars {side}")


def test_cropping_is_tried_where_the_object_fills_another_share(good: Source) -> None:
    task, other = digits(90, 0, 20), digits(90, 1, 9)
    variant = cropped(good, other, task)
    assert variant is not None and variant.preprocessing.crop == "ink" and variant.digest != good.digest
    assert cropped(variant, other, task) is None and cropped(good, digits(90, 2, 20), task) is None
    model = fitted(task, other, good, finetune=False)
    assert f"source-only probe of {good.name}, cropped to the ink" in rows_of(model)
    decisions = next(s for s in model.report.sections if s.kind == "decisions").content
    assert any(d["question"] == "Does cropping to the ink help?" for d in decisions)


def test_a_chosen_model_keeps_its_cropping(good: Source, tmp_path: Path) -> None:
    task, other = digits(60, 0, 20), digits(60, 1, 9)
    variant = cropped(good, other, task)
    assert variant is not None
    model = tr.fit(task, sources=[variant], budget="2m", finetune=False)
    model.save(tmp_path / "m")
    again = tr.load(tmp_path / "m", trust_code=True)
    assert again.preprocessing.crop == "ink"
    picture = task.splits["test"].items[0]
    assert again.predict([picture])[0]["class"] == model.predict([picture])[0]["class"]


def test_texts(tiny_networks: dict[str, Path]) -> None:
    task, other = tr.task(sentences(20)), tr.task(sentences(40, seed=5))
    model = tr.fit(task, sources=[str(tiny_networks["bert"])], source_data=other, budget="2m", finetune=False)
    assert {"pooled probe of bert", "CORAL probe of bert", "source-only probe of bert"} <= set(rows_of(model))


def test_a_model_of_two_populations_is_not_refitted_on_one(good: Source, task: Task) -> None:
    few = {**task.splits, "train": examples(3, 0)}
    task = replace(task, splits=few, digest="few colours")
    model = fitted(task, population(task, task.classes, 240), good, finetune=False, refit=True)
    codes = {warning.code for warning in model.report.warnings}
    assert ("not-refitted" in codes) == ("refitted" not in model.name)


@pytest.mark.parametrize("option", ["--crop"])
def test_the_option_reaches_the_source(option: str) -> None:
    from transfuse.cli.shared import SOURCE_OPTIONS, found_source

    options = dict.fromkeys(SOURCE_OPTIONS) | {"trust_code": False, option[2:]: "ink"}
    assert found_source("builtin", options).preprocessing.crop == "ink"
