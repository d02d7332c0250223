"""shared: one body, a head for every task, what each gained, and the mistakes that users make."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import transfuse as tr
from transfuse.core.errors import BudgetError, DataError, UnknownName, UsageError
from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.compare import compare
from transfuse.predicting.predict import probabilities, sharing_a_trunk
from transfuse.predicting.several import load, save
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.sharing.groups import Recipe, learn
from transfuse.transferring.transfer import carried_out, transfer
from transfuse.tuning.outcome import HeadShape

QUICK = {"method": "shared", "steps": 4, "rate": 1e-3, "batch_size": 8, "augmentation": "none", "patience": 0}
KINDS = ("single-label", "multi-label", "regression")


def relabelled(task: Task, name: str, classes: tuple[str, ...], kind: str, target) -> Task:
    """The same pictures with another target, a function of the class."""

    def changed(examples: Examples) -> Examples:
        dtype = np.int64 if kind == "single-label" else np.float32
        return replace(examples, targets=np.array([target(y) for y in examples.targets], dtype))

    splits = {split: changed(examples) for split, examples in task.splits.items()}
    return replace(task, name=name, classes=classes, kind=kind, splits=splits, digest=f"{task.digest} {name}")


@pytest.fixture(scope="session")
def pair(task: Task) -> list[Task]:
    """Two tasks on the same pictures: the colour, and whether it is red."""
    return [task, relabelled(task, "red?", ("no", "yes"), "single-label", lambda y: int(y == 0))]


def test_every_kind_of_task_has_its_head_on_one_body(small: Source, tasks: Mapping[str, Task], tmp_path: Path):
    given = [tasks[kind] for kind in KINDS]
    models = transfer(small, given, compare=False, **QUICK)
    assert list(models) == [task.name for task in given] and len(sharing_a_trunk(models)) == 1
    for task in given:
        model = models[task.name]
        assert (model.kind, model.classes) == (task.kind, task.classes)
        assert np.isfinite(probabilities(model, task.splits["test"].items)).all()
        assert model.metrics["test"] and model.provenance.method == "shared"
        assert [step.method for step in model.provenance.inputs][:2] == [small.name, task.name]
        assert model.provenance.options["balancing"] == "equal"
    found = load(save(models, tmp_path / "out"), trust_code=True)
    assert len(sharing_a_trunk(found)) == 1 and "not known" in " ".join(models[given[0].name].report.summary)


@pytest.mark.parametrize(
    ("source", "balancing"), [("small", "uncertainty"), ("small", "equal"), ("small", "gradnorm"), ("vit", "gradnorm")]
)
def test_repeats_itself_and_moves_the_trunk(source: str, balancing: str, tasks, request: pytest.FixtureRequest):
    opened, given = request.getfixturevalue(source), [tasks["single-label"], tasks["regression"]]
    one, again = (transfer(opened, given, compare=False, balancing=balancing, **QUICK) for _ in range(2))
    states = [models[given[1].name].network.state_dict() for models in (one, again)]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    weights = [one[task.name].provenance.options["found"].get("loss_weight") for task in given]
    assert weights == [None, None] if balancing == "equal" else all(weight > 0 for weight in weights)


def test_what_each_gained_is_told_against_its_own_model_on_the_test_split(small: Source, pair: list[Task]):
    models = transfer(small, pair, **QUICK)
    report = next(iter(models.values())).report
    assert all(model.report is report for model in models.values())
    shared = [row for row in report.rows if row["model"] != "own model"]
    own = [row for row in report.rows if row["model"] == "own model"]
    assert [row["task"] for row in own] == [task.name for task in pair] and len(shared) == 2
    for row, alone in zip(shared, own, strict=True):
        gap = row["over its own model"]
        assert gap["value"] == pytest.approx(row["value"]["value"] - alone["value"]["value"])
        assert gap["low"] <= gap["value"] <= gap["high"] and gap["n"] == row["value"]["n"] == 9
    assert report.sections[0].kind == "decisions" and "they share" in report.sections[0].content[-1]["decision"]
    assert "stay on one trunk" in " ".join(report.summary)


def test_the_own_model_is_learnt_as_by_fine_tuning(small: Source, task: Task):
    """A group of one and `finetune` are two pieces of code for one recipe."""
    fit = Fit(steps=30, rate=3e-3, batch_size=8, augmentation="none", patience=0)
    recipe = Recipe(source=small, fit=fit, head=HeadShape(), balancing="equal", layer_decay=0.8, batch_norm="frozen")
    alone = learn([task], recipe, Run()).outcomes[task.name]
    options = {"fit": fit}
    tuned, outcome = carried_out(small, task, method="finetune", name=None, run=Run(), options=options)
    for name, tensor in tuned.network.state_dict().items():
        torch.testing.assert_close(alone.network.state_dict()[name], tensor, rtol=1e-5, atol=1e-6)
    assert alone.temperature == pytest.approx(outcome.temperature, rel=1e-3)
    assert [p["accuracy"] for p in alone.curves] == [p["accuracy"] for p in outcome.curves]


def test_a_frozen_trunk_has_the_heads_that_probes_have(small: Source, pair: list[Task]):
    models = transfer(small, pair, method="shared", trunk="frozen")
    assert len(sharing_a_trunk(models)) == 1
    body = open_source(small).body.state_dict()
    for task in pair:
        network = models[task.name].network
        assert all(torch.equal(tensor, body[name]) for name, tensor in network.body.state_dict().items())
        probe = transfer(small, task, method="probe", depths="final").network
        torch.testing.assert_close(network.head.weight, probe.head.weight)
    assert "frozen" in " ".join(models[pair[0].name].report.summary)


def test_features_for_tasks_on_the_same_pictures_are_extracted_once(
    small: Source, pair: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path))
    transfer(small, pair, method="shared", trunk="frozen")
    assert len(list((tmp_path / "features").rglob("*.npy"))) == 1


class Killed(BaseException):
    """As abrupt as a kill inside a process can be."""


def killer(after: int):
    seen = []

    def watch(event):
        if event["stage"] == "training":
            seen.append(event["done"])
            if len(seen) == after:
                raise Killed

    return watch, seen


@pytest.mark.parametrize("after", [3, 10])
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    small: Source, pair: list[Task], after: int, tmp_path: Path
):
    options = {**QUICK, "validate_every": 2, "balancing": "gradnorm"}
    whole = transfer(small, pair, **options)
    watch, _ = killer(after)
    with pytest.raises(Killed):
        transfer(small, pair, run=Run(checkpoints=tmp_path, watch=watch), **options)
    watch, seen = killer(100)
    resumed = transfer(small, pair, run=Run(checkpoints=tmp_path, watch=watch), **options)
    assert len(seen) < 12  # three trainings of four steps each: what was finished is not trained again
    for name, model in whole.items():
        again = resumed[name].network.state_dict()
        assert all(torch.equal(tensor, again[key]) for key, tensor in model.network.state_dict().items())
        assert resumed[name].metrics == model.metrics


def test_an_interrupt_takes_the_best_so_far_and_says_what_is_not_known(small: Source, pair: list[Task]):
    seen = []

    def interrupt(event):
        seen.append(event["done"])
        if event["stage"] == "training" and event["done"] == 3:
            raise KeyboardInterrupt

    models = transfer(small, pair, run=Run(watch=interrupt), **{**QUICK, "validate_every": 2})
    assert "work was stopped" in " ".join(models[pair[0].name].report.summary)
    assert {model.provenance.options["found"]["stopped_by"] for model in models.values()} == {"interrupt"}


def test_no_time_at_all_is_an_error(small: Source, pair: list[Task]):
    with pytest.raises(BudgetError):
        transfer(small, pair, run=Run(deadline=time.monotonic() + 1e-3), **QUICK)


def test_a_task_of_the_result_is_a_source_and_a_model_like_any(small: Source, pair: list[Task], tmp_path: Path):
    where = save(transfer(small, pair, compare=False, **QUICK), tmp_path / "out")
    folders = sorted(str(path) for path in where.iterdir() if path.is_dir())
    report = tr.evaluate(folders[0], pair[0], trust_code=True)
    assert report.rows[0]["value"]["n"] == 9
    again = transfer(tr.source(folders[1], trust_code=True), pair[0], method="probe")
    assert again.classes == pair[0].classes
    assert compare(folders[0], again, pair[0], trust_code=True).rows


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda a, b: a, UsageError, "must be a list of several tasks"),
        (lambda a, b: [a], UsageError, "at least two tasks"),
        (lambda a, b: [a, replace(b, name=a.name)], UsageError, "two are called 'colours, single-label'"),
        (lambda a, b: [a, replace(b, modality="text")], DataError, "of one modality"),
        (lambda a, b: [a, replace(b, splits={"valid": b.splits["valid"]})], DataError, "'train' split"),
        (lambda a, b: [a, replace(b, splits={"train": b.splits["train"]})], DataError, "'valid' split"),
    ],
)
def test_mistakes_with_tasks_are_told(small: Source, pair: list[Task], change, error, words: str):
    with pytest.raises(error, match=words):
        transfer(small, change(*pair), **QUICK)


def test_a_target_that_is_no_number_is_named(small: Source, tasks: Mapping[str, Task]):
    task = tasks["regression"]
    targets = task.splits["valid"].targets.copy()
    targets[2, 1] = np.nan
    broken = replace(task, splits={**task.splits, "valid": replace(task.splits["valid"], targets=targets)})
    with pytest.raises(DataError, match=r"1 of 'colours, regression' in its 'valid' split .* row 2"):
        transfer(small, [tasks["single-label"], broken], **QUICK)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balancing": "uncertain"}, "Did you mean 'uncertainty'"),
        ({"balance": "equal"}, "Did you mean 'balancing'"),
        ({"trunk": "frozn"}, "Did you mean 'frozen'"),
    ],
)
def test_mistyped_options_are_told_before_data_are_read(small: Source, options: dict, words: str):
    with pytest.raises(UnknownName, match=words):
        transfer(small, ["no such data", "none here"], method="shared", **options)


def test_a_frozen_trunk_has_linear_heads(small: Source, pair: list[Task]):
    with pytest.raises(UsageError, match="must be 'linear' on a frozen trunk"):
        transfer(small, pair, method="shared", trunk="frozen", head="mlp")


def test_an_own_model_that_was_stopped_is_not_compared_with(small: Source, pair: list[Task]):
    trained = []

    def interrupt(event):
        if event["stage"] == "training" and event["done"] == 4:
            trained.append(event)
        if event["stage"] == "training" and event["done"] == 3 and len(trained) == 2:
            raise KeyboardInterrupt  # in the second task's own model

    models = transfer(small, pair, run=Run(watch=interrupt), **{**QUICK, "validate_every": 2})
    rows = models[pair[0].name].report.rows
    assert [(row["task"], row["model"]) for row in rows if row["model"] == "own model"] == [(pair[0].name, "own model")]
    assert {model.provenance.options["found"]["stopped_by"] for model in models.values()} == {"steps"}
