"""The contract of every method on every family: trains, answers, is saved and reloaded, repeats itself, is recorded."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import DataError, UnknownName, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.folder import load, save
from transfuse.predicting.predict import probabilities
from transfuse.sources.references import find
from transfuse.training.options import Fit
from transfuse.transferring.methods.table import METHODS
from transfuse.transferring.options import own_options
from transfuse.transferring.transfer import carried_out, transfer

PICTURES = [method for method in METHODS if method not in ("trees", "unchanged", "pretrained", "shared")]
"""Trees are for tables (`test_trees.py`), nothing is unchanged without a Model of the same classes, and several tasks
share (`methods/test_shared.py`)."""
QUICK = {"steps": 2, "rate": 1e-3, "batch_size": 8}


def made(source: Source, task: Task, method: str, **options):
    model, _ = carried_out(source, task, method=method, name=None, run=Run(), options={**QUICK, **options})
    return model


@pytest.mark.parametrize("method", PICTURES)
def test_contract(family: Source, task: Task, method: str, tmp_path: Path):
    model = made(family, task, method)
    items = task.splits["test"].items
    p_NC = probabilities(model, items)
    assert p_NC.shape == (9, 3) and np.isfinite(p_NC).all() and (p_NC >= 0).all()
    np.testing.assert_allclose(p_NC.sum(1), 1, atol=1e-9)

    reloaded = load(save(model, tmp_path / "model"), trust_code="function" in str(model.builder))
    np.testing.assert_allclose(probabilities(reloaded, items), p_NC, rtol=0, atol=1e-6)
    assert reloaded.provenance == model.provenance

    step = model.provenance
    recorded = step.options
    assert (step.verb, step.method) == ("transfer", method)
    assert set(own_options(method)) <= recorded.keys()
    assert recorded["fit"].keys() == {field.name for field in fields(Fit)}
    assert recorded["fit"]["steps"] == 2 and recorded["fit"]["batch_size"] == 8 and recorded["fit"]["patience"] == 5
    assert [child.verb for child in step.inputs] == ["source", "task"]
    assert step.digests == {"source": family.digest, "task": task.digest} and step.seconds > 0


@pytest.mark.parametrize("method", PICTURES)
@pytest.mark.parametrize("source", ["small", "vit"])
def test_repeats_itself(source: str, task: Task, method: str, request: pytest.FixtureRequest):
    one, again = (made(request.getfixturevalue(source), task, method).network.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, again[name]) for name, tensor in one.items())


@pytest.mark.parametrize("method", sorted({*PICTURES} - {"probe"}))
def test_another_seed_gives_other_weights(small: Source, task: Task, method: str):
    one, other = (made(small, task, method, seed=seed).network.state_dict() for seed in (0, 1))
    assert one.keys() != other.keys() or any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_door_measures_on_the_test_split_and_reports(small: Source, task: Task):
    model = transfer(small, task, method="finetune", command="transfuse transfer ...", steps=40, rate=1e-2)
    accuracy = model.metrics["test"]["accuracy"]
    assert accuracy["n"] == 9 and accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert model.report is not None and model.report.command == "transfuse transfer ..."
    assert model.report.sections[0].kind == "curves"
    text = " ".join(model.report.summary)
    assert "40 steps" in text and "0.01" in text and "Augmentation:" in text and "Kept" in text


def test_without_a_test_split_the_report_says_so(small: Source, task: Task):
    splits = {split: task.splits[split] for split in ("train", "valid")}
    model = transfer(small, replace(task, splits=splits), method="probe")
    assert set(model.metrics) == {"valid"}
    assert "no-test" in [warning.code for warning in model.report.warnings]


def test_a_reference_and_a_folder_of_pictures_are_enough(photos: Path):
    model = transfer("random:timm:test_vit", photos, method="probe", seed=3)
    assert model.classes == ("cat", "dog", "eel") and model.provenance.inputs[1].options["seed"] == 3


def test_the_plain_values_are_what_json_holds(small: Source, task: Task, tmp_path: Path):
    found = made(small, task, "finetune").provenance.options["found"]
    assert found["rate"] == 1e-3 and found["steps"] == 2 and found["stopped_by"] == "steps"
    assert len(found["interpolation"]["curve"]) == 11


def test_unknown_names_are_refused_with_the_nearest(small: Source, task: Task):
    with pytest.raises(UnknownName, match="Did you mean 'finetune'"):
        transfer(small, task, method="finetun")
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        transfer(small, task, method="finetune", step=3)
    with pytest.raises(UnknownName, match="option of 'probe'"):
        transfer(small, task, method="probe", layer_decay=0.5)


def test_a_task_without_validation_is_refused(small: Source, task: Task):
    with pytest.raises(DataError, match="'valid' split"):
        transfer(small, replace(task, splits={"train": task.splits["train"]}), method="finetune", **QUICK)


def test_co_tuning_needs_the_head_of_the_source_and_single_labels(tasks, small: Source):
    with pytest.raises(UsageError, match="needs the head that"):
        transfer(find("random:timm:test_vit", size=32), tasks["single-label"], method="co_tuning", **QUICK)
    with pytest.raises(UsageError, match="needs a single-label task"):
        transfer(small, tasks["multi-label"], method="co_tuning", **QUICK)
