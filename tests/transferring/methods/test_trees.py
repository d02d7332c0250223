"""Trees of the whole method: what users ask of them, and what a source is worth under them."""

import numpy as np
import pytest

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Model, Task
from transfuse.predicting.predict import probabilities
from transfuse.tasks.tables.opening import open_table


def table(count: int = 400, seed: int = 0, kind: str = "binary", shift: float = 0.0) -> Task:
    """A target that rises with `a`, depends on `town` and not on `noise`."""
    generator = np.random.default_rng(seed)
    a, noise = generator.normal(shift, 1, count), generator.normal(size=count)
    town = generator.choice(["x", "y", "z"], count)
    value = np.sin(2 * a) + a + np.where(town == "x", 2.0, 0.0) + 0.3 * generator.normal(size=count)
    columns: dict = {"a": np.where(generator.random(count) < 0.1, np.nan, a), "noise": noise, "town": town}
    target: str | list[str] = "y"
    if kind == "numbers":
        columns |= {"y": value, "z": value**2}
        target = ["y", "z"]
    elif kind == "labels":
        columns |= {"y": (value > 1).astype(int), "z": (value < 0).astype(int)}
        target = ["y", "z"]
    else:
        cuts = [1.0] if kind == "binary" else [0.0, 2.0]
        columns["y"] = np.array(["low", "mid", "top"])[np.digitize(value, cuts)]
    return open_table(columns, target=target, seed=seed, name="t")


def right(model: Model, task: Task) -> float:
    return float(np.mean(probabilities(model, task.splits["test"].items).argmax(1) == task.splits["test"].targets))


@pytest.mark.parametrize("kind", ["binary", "several", "labels", "numbers"])
def test_every_kind_learns_and_is_saved_without_lightgbm(kind: str, tmp_path, monkeypatch) -> None:
    task = table(kind=kind)
    model = tr.transfer("table:columns", task, method="trees", leaves=8)
    primary = {"labels": ("average_precision", 0.9), "numbers": ("r2", 0.7)}.get(kind, ("accuracy", 0.75))
    assert model.metrics["test"][primary[0]]["value"] > primary[1]
    folder = model.save(tmp_path / "model")
    assert not list(folder.glob("*.pkl")) and not list(folder.glob("*.txt"))
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    again = tr.load(folder)
    rows = task.splits["test"].items
    np.testing.assert_allclose(probabilities(again, rows), probabilities(model, rows), rtol=1e-6)


def test_monotone_answers_never_fall() -> None:
    task = table()
    model = tr.transfer("table:columns", task, method="trees", monotone={"a": 1}, leaves=8)
    top = model.classes.index("mid")
    rows = [{"a": float(a), "noise": 0.3, "town": "y"} for a in np.linspace(-3, 3, 60)]
    rising = np.array([answer["probabilities"][model.classes[top]] for answer in model.predict(rows)])
    assert (np.diff(rising) >= -1e-7).all() and rising[-1] > rising[0]
    free = tr.transfer("table:columns", task, method="trees", leaves=8)
    loose = np.array([answer["probabilities"][model.classes[top]] for answer in free.predict(rows)])
    assert (np.diff(loose) < -1e-7).any()  # the sine falls


def test_feature_weights_and_class_weights() -> None:
    task = table()
    without = tr.transfer("table:columns", task, method="trees", feature_weights={"a": 0.0}, leaves=8)
    assert "a" not in {k for k, v in without.provenance.options["found"]["gains"].items() if v > 0}
    plain = tr.transfer("table:columns", task, method="trees", leaves=8)
    tilted = tr.transfer("table:columns", task, method="trees", leaves=8, class_weights={"low": 20.0})
    low = task.classes.index("low")
    answers = [probabilities(m, task.splits["test"].items).argmax(1) == low for m in (tilted, plain)]
    assert answers[0].sum() > answers[1].sum()


def test_trees_repeat_themselves() -> None:
    task = table()
    one, again = (tr.transfer("table:columns", task, method="trees").network.state_dict() for _ in range(2))
    assert all(np.array_equal(tensor, again[name]) for name, tensor in one.items())


def test_pictures_have_no_trees(photos) -> None:
    with pytest.raises(UsageError, match="`trees` are for tables"):
        tr.transfer("builtin", tr.task(photos), method="trees")


def test_wrong_options_are_explained() -> None:
    task = table(100)
    with pytest.raises(UnknownName, match="noise"):
        tr.transfer("table:columns", task, method="trees", monotone={"nois": 1})
    with pytest.raises(UsageError, match="'town' is categorical"):
        tr.transfer("table:columns", task, method="trees", monotone={"town": 1})
    with pytest.raises(UsageError, match="must not be negative"):
        tr.transfer("table:columns", task, method="trees", feature_weights={"a": -1.0})


def test_a_source_under_the_trees_helps_when_rows_are_few(tmp_path) -> None:
    before = tr.transfer("table:columns", table(3000, seed=1), method="trees", leaves=16)
    folder = str(before.save(tmp_path / "before"))
    few = table(60, seed=2)
    test = table(3000, seed=3)
    scores = {}
    for use in ("alone", "column", "start"):
        model = tr.transfer(folder, few, method="trees", use=use)
        scores[use] = np.mean(
            probabilities(model, test.splits["train"].items).argmax(1) == test.splits["train"].targets
        )
    assert scores["start"] > scores["alone"] + 0.03
    kept = tr.transfer(folder, few, method="trees", use="start")
    again = tr.load(kept.save(tmp_path / "kept"))
    rows = few.splits["test"].items
    np.testing.assert_allclose(probabilities(again, rows), probabilities(kept, rows), rtol=1e-5)
    third = tr.transfer(str(tmp_path / "kept"), few, method="unchanged")
    assert right(third, few) == right(kept, few)


def test_the_network_carries_over_to_other_columns(tmp_path) -> None:
    before = tr.transfer("table:network", table(1500, seed=1), method="scratch", steps=400, rate=3e-3, patience=0)
    folder = str(before.save(tmp_path / "before"))
    few = table(80, seed=2)
    rows = [{**row.values(), "extra": 1.5 * place} for place, row in enumerate(few.splits["train"].items)]
    for row, target in zip(rows, few.splits["train"].targets.tolist(), strict=True):
        row["y"], row["town"] = few.classes[target], row["town"].upper()
    wider = open_table(rows, target="y")
    model = tr.transfer(folder, wider, method="unchanged")
    said = next(w for w in model.report.warnings if w.code == "columns-differ")
    assert any(line.startswith("+ extra") for line in said.places) and any("'X' is 'x'" in line for line in said.places)
    assert right(model, wider) >= 0.7
    tuned = tr.transfer(folder, wider, method="finetune", steps=30, rate=1e-3)
    assert right(tuned, wider) >= 0.6
