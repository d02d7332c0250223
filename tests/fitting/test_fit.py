"""The main job from end to end: several sources, a budget, a choice, its proof in words."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transfuse.core.errors import BudgetError, NotCached, UsageError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.provenance import walk
from transfuse.core.runs import Run
from transfuse.fitting.fit import fit
from transfuse.predicting.folder import load, save
from transfuse.predicting.predict import probabilities

QUICK = {"steps": 40, "rate": 1e-2, "batch_size": 12}


def fitted(task: Task, *sources: Source | str, options: Mapping[str, Any] = QUICK, **others: Any) -> Model:
    return fit(task, sources=sources, options=options, budget=others.pop("budget", "10m"), **others)


def text_of(model: Model) -> str:
    return " ".join(model.report.summary)


def codes_of(model: Model) -> list[str]:
    return [warning.code for warning in model.report.warnings]


def test_two_sources_end_to_end(good: Source, dead: Source, task: Task, tmp_path: Path):
    model = fitted(task, dead, good, command="transfuse fit photos/", name="colours of light")
    rows = {row["model"]: row for row in model.report.rows}
    assert set(rows) == {"probe of dead", "probe of good", "finetune of good", "scratch of good"}
    assert rows["probe of dead"]["accuracy"]["value"] < 0.5 < 0.9 < rows["probe of good"]["accuracy"]["value"]
    assert all(row["accuracy"]["n"] == 45 for row in rows.values())
    assert [row["validation"] for row in model.report.rows] == sorted(
        (r["validation"] for r in rows.values()), reverse=True
    )
    assert model.metrics["test"]["accuracy"] == rows[text_of(model).split("split: ")[1].split(". ")[0]]["accuracy"]
    assert model.name == "colours of light" and model.report.command == "transfuse fit photos/"
    step = model.provenance
    assert step.verb == "fit" and step.options["budget"] == 600 and step.options["seed"] == 0
    assert [s.verb for _, s in walk(step)] == ["fit", "transfer", "source", "task", "source"]
    items = task.splits["test"].items
    reloaded = load(save(model, tmp_path / "model"), trust_code=True)
    np.testing.assert_allclose(probabilities(reloaded, items), probabilities(model, items), atol=1e-6)
    assert (tmp_path / "model" / "report.html").exists()


def test_the_same_seed_gives_the_same_model(good: Source, task: Task):
    items = task.splits["test"].items
    one, again = (probabilities(fitted(task, good), items) for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_transfer_that_helps_is_said(good: Source, task: Task):
    """Five small steps are enough from the probe, and nothing from random weights."""
    text = text_of(fitted(task, good, options={"steps": 5, "rate": 1e-5}))
    assert "Transfer helped." in text and "is better than scratch of good" in text and "n = 45" in text


def test_transfer_that_is_not_proven_is_said(good: Source, task: Task):
    """Both answer everything right: the interval of the difference is 0 to 0."""
    text = text_of(fitted(task, good, options={**QUICK, "steps": 100}))
    assert "Transfer is not proven to help. No difference between" in text


def test_negative_transfer_is_said_loudly(dead: Source, task: Task):
    """A source that has no features and cannot grow any, where the same network learns from random weights."""
    model = fitted(task, dead, options={**QUICK, "steps": 100})
    text = text_of(model)
    assert "NEGATIVE TRANSFER." in text and "The source hurts here." in text
    assert "Chosen on the validation split: scratch of dead." in text
    assert model.metrics["test"]["accuracy"]["value"] > 0.9


def test_sources_of_one_name_keep_their_own_figures(good: Source, dead: Source, task: Task):
    model = fitted(task, replace(dead, name="net"), replace(good, name="net"), finetune=False)
    values = sorted(row["accuracy"]["value"] for row in model.report.rows)
    assert len(values) == 2 and values[0] < 0.5 < 0.9 < values[1]
    assert len({row["model"] for row in model.report.rows}) == 2
    assert model.metrics["test"]["accuracy"]["value"] == values[1]


def test_probes_only(good: Source, task: Task):
    model = fitted(task, good, finetune=False)
    assert [row["model"] for row in model.report.rows] == ["probe of good"]
    assert "What transfer bought was not measured" in text_of(model)


def test_without_a_baseline(good: Source, task: Task):
    model = fitted(task, good, baseline=False)
    assert {row["model"] for row in model.report.rows} == {"probe of good", "finetune of good"}


def test_refit_uses_the_validation_examples_too(good: Source, task: Task):
    model = fitted(task, good, refit=True, options={"steps": 20, "rate": 1e-3})
    assert "refitted" in text_of(model) and any("refitted" in row["model"] for row in model.report.rows)
    inner = model.provenance.inputs[0]
    sizes = next(child for child in inner.inputs if child.verb == "task").options["examples"]
    assert sizes["train"] == 48 and model.provenance.options["refit"] is True
    assert model.metrics["test"]["accuracy"]["value"] > 0.9


def test_no_test_split_is_said(good: Source, task: Task):
    splits = {split: task.splits[split] for split in ("train", "valid")}
    model = fitted(replace(task, splits=splits), good, finetune=False)
    assert "no-test" in codes_of(model) and set(model.metrics) == {"valid"}


def test_a_source_that_cannot_be_had_is_left_out_and_named(good: Source, task: Task):
    model = fitted(task, "timm:resnet18", good, finetune=False)
    left = next(warning for warning in model.report.warnings if warning.code == "source-left-out")
    assert "timm:resnet18" in left.message
    assert [row["model"] for row in model.report.rows] == ["probe of good"]


def test_no_source_at_all_is_an_error(task: Task):
    with pytest.raises(NotCached):
        fitted(task, "timm:resnet18", "timm:resnet34", finetune=False)


def test_without_sources_the_defaults_are_taken_and_said(task: Task):
    """Offline the one of the hub is left out and the built-in one does the work."""
    model = fit(task, budget="10m", finetune=False)
    assert "No source was given" in text_of(model) and codes_of(model).count("source-left-out") == 1
    assert len(model.report.rows) == 1


def test_an_interruption_keeps_the_best_so_far(good: Source, task: Task):
    def interrupt(event: Mapping) -> None:
        if event["stage"] == "training" and event["done"] >= 25:
            raise KeyboardInterrupt

    model = fitted(task, good, run=Run(watch=interrupt), options={**QUICK, "validate_every": 10})
    assert {row["model"] for row in model.report.rows} == {"probe of good", "finetune of good"}
    assert "Stopped by the user." in text_of(model)


def test_an_interruption_of_the_second_probe_keeps_the_first(good: Source, dead: Source, task: Task):
    def interrupt(event: Mapping) -> None:
        if event["stage"] == "probing" and event["done"] == 1:
            raise KeyboardInterrupt

    model = fitted(task, good, dead, run=Run(watch=interrupt))
    assert [row["model"] for row in model.report.rows] == ["probe of good"]
    assert "Stopped by the user." in text_of(model)


def test_an_interruption_before_anything_is_made_is_passed_on(good: Source, task: Task):
    def interrupt(event: Mapping) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(task, good, run=Run(watch=interrupt))


class Counted(Sequence):
    """Items that note when they are read."""

    def __init__(self, items: Sequence, log: list) -> None:
        self.items, self.log = items, log

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: Any) -> Any:
        rows = range(len(self))[place]
        self.log += [("test item", row) for row in ([rows] if isinstance(rows, int) else rows)]
        return self.items[place]

    def __iter__(self) -> Iterator:
        for place in range(len(self)):
            yield self[place]


def test_the_test_split_is_read_once_after_all_choices(good: Source, dead: Source, task: Task):
    log: list[tuple[str, Any]] = []
    test = replace(task.splits["test"], items=Counted(task.splits["test"].items, log))
    watched = replace(task, splits={**task.splits, "test": test})
    model = fitted(watched, good, dead, refit=True, run=Run(watch=lambda event: log.append(("event", event["stage"]))))
    events = [place for place, (what, _) in enumerate(log) if what == "event" and log[place][1] != "predicting"]
    reads = [place for place, (what, _) in enumerate(log) if what == "test item"]
    assert min(reads) > max(events)
    asked = sum(log[place][1] == 7 for place in reads)
    assert len(model.report.rows) <= asked <= len(model.report.rows) + 2  # once a candidate; pictures of mistakes


def test_the_budget_is_kept_by_cutting_the_steps(good: Source, task: Task):
    """Half a budget over is a broken promise on any machine; benchmarks measure the tenth that is promised."""
    began = time.monotonic()
    model = fitted(task, good, budget=6, options={"steps": 10**7, "patience": 0, "batch_size": 12})
    assert time.monotonic() - began < 9
    assert {row["model"] for row in model.report.rows} >= {"probe of good", "finetune of good"}
    assert "of a budget of 6" in text_of(model)


def test_a_budget_for_probes_only_says_what_was_not_tried(good: Source, task: Task):
    model = fitted(task, good, budget=2)
    assert [row["model"] for row in model.report.rows] == ["probe of good"]
    assert "budget" in codes_of(model)


def test_no_budget_is_an_error(task: Task, good: Source):
    with pytest.raises((BudgetError, UsageError)):
        fitted(task, good, budget=0)


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_other_kinds_end_to_end(good: Source, task: Task, kind: str):
    """Targets are the three colours as labels, or as strengths in a unit of their own."""

    def turned(split: str) -> Any:
        one_hot = np.eye(3, dtype=np.float32)[task.splits[split].targets]
        return replace(task.splits[split], targets=one_hot if kind == "multi-label" else 100 + 40 * one_hot)

    other = replace(task, kind=kind, splits={split: turned(split) for split in task.splits}, digest=kind)
    model = fitted(other, good, refit=True, options={"steps": 30, "rate": 1e-3})
    outputs = probabilities(model, task.splits["test"].items)
    error = np.abs(outputs - turned("test").targets).mean()
    assert error < (0.2 if kind == "multi-label" else 8)
    name = {"multi-label": "average_precision", "regression": "rmse"}[kind]
    assert next(iter(model.metrics["test"])) == name and name in text_of(model)
    values = [row[name]["value"] for row in model.report.rows if "probe" in row["model"] or "finetune" in row["model"]]
    assert all(value < 10 if kind == "regression" else value > 0.9 for value in values)
