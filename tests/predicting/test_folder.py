"""A Model as a folder: whole or not at all, the same answers after it, no code run from it."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import ModelError, SourceError, StorageError, TransfuseError, UsageError
from transfuse.core.nouns import Model, Report
from transfuse.core.sums import SUMS
from transfuse.predicting.folder import DOCUMENT, TENSORS, load, save
from transfuse.predicting.predict import probabilities


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_what_is_saved_comes_back(model_of, kind: str, tmp_path: Path, pictures):
    model = model_of(kind)
    assert save(model, tmp_path / "model") == tmp_path / "model"
    again = load(tmp_path / "model")
    np.testing.assert_allclose(probabilities(again, pictures), probabilities(model, pictures), rtol=0, atol=1e-12)
    for field in fields(model):
        if field.name != "network":
            assert getattr(again, field.name) == getattr(model, field.name), field.name
    assert not again.network.training and model.save(tmp_path / "more") and Model.load(tmp_path / "more") is not None


def test_the_folder_holds_plain_files_only(model_of, tmp_path: Path):
    report = Report(title="t", columns=("a",), rows=({"a": 1},))
    save(replace(model_of(), report=report), tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {DOCUMENT, TENSORS, SUMS, "README.md", "report.html", "report.json"}
    assert json.loads((tmp_path / "model" / DOCUMENT).read_text())["schema"] == 1


def test_a_later_save_replaces_the_earlier_one(model_of, tmp_path: Path):
    save(model_of(name="one"), tmp_path / "model")
    save(model_of(name="two"), tmp_path / "model")
    assert load(tmp_path / "model").name == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_old_model(model_of, tmp_path: Path):
    save(model_of(name="one"), tmp_path / "model")
    broken = replace(model_of(name="two"), metrics={"test": {"accuracy": 3}})  # the card cannot say it
    with pytest.raises(TypeError):
        save(broken, tmp_path / "model")
    assert load(tmp_path / "model").name == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_something_else_is_not_replaced(model_of, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("mine")
    with pytest.raises(ModelError, match="is not a saved Model, so it is not replaced"):
        save(model_of(), tmp_path / "photos")
    (tmp_path / "file").write_text("mine")
    with pytest.raises((ModelError, StorageError)):
        save(model_of(), tmp_path / "file")
    assert (tmp_path / "photos" / "cat.jpg").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_may_be_filled(model_of, tmp_path: Path):
    (tmp_path / "model").mkdir()
    save(model_of(), tmp_path / "model")
    assert load(tmp_path / "model").name == "colours"


def test_changed_tensors_are_noticed(model_of, tmp_path: Path):
    path = save(model_of(), tmp_path / "model") / TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="its digest differs"):
        load(tmp_path / "model")


@pytest.mark.parametrize("name", [DOCUMENT, TENSORS])
def test_a_missing_file_is_named(model_of, tmp_path: Path, name: str):
    (save(model_of(), tmp_path / "model") / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}"):
        load(tmp_path / "model")


def test_no_folder_is_said(tmp_path: Path):
    with pytest.raises(ModelError, match="must be a saved Model's folder"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 99}, "schema 99; this version"),
        ({"classes": ["one"]}, r"~ head\."),
        ({"builder": {"timm": "test_resnet", "arguments": {}}}, r"[+~-] body\."),
        ({"head": 3}, "does not describe a Model"),
        ({"target_scale": 5}, "does not describe a Model"),
        ({"preprocessing": {"size": 8, "colour": 1}}, r"preprocessing|does not describe"),
    ],
)
def test_a_changed_document_is_an_error_in_words(model_of, tmp_path: Path, change: dict, words: str):
    path = save(model_of(), tmp_path / "model") / DOCUMENT
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match="its digest differs"):
        load(tmp_path / "model")
    (tmp_path / "model" / SUMS).unlink()  # the user's own change
    with pytest.raises(TransfuseError, match=words):
        load(tmp_path / "model")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3"])
def test_a_broken_document_is_an_error_in_words(model_of, tmp_path: Path, text: str):
    (save(model_of(), tmp_path / "model") / DOCUMENT).write_text(text)
    (tmp_path / "model" / SUMS).unlink()
    with pytest.raises(ModelError, match="must be a saved Model's JSON"):
        load(tmp_path / "model")


def test_a_users_function_runs_only_when_trusted(colour_model: Model, tmp_path: Path, pictures):
    save(colour_model, tmp_path / "model")
    with pytest.raises(UsageError, match="must be trusted"):
        load(tmp_path / "model")
    again = load(tmp_path / "model", trust_code=True)
    np.testing.assert_array_equal(probabilities(again, pictures), probabilities(colour_model, pictures))


def test_changed_code_is_noticed(colour_model: Model, tmp_path: Path):
    save(colour_model, tmp_path / "model")
    (tmp_path / "nets.py").write_text((tmp_path / "nets.py").read_text() + "\n# changed\n")
    with pytest.raises(SourceError, match="has changed since"):
        load(tmp_path / "model", trust_code=True)


def test_shared_and_strided_tensors_are_saved(model_of, tmp_path: Path, pictures):
    """Channels-last weights, as training leaves them."""
    model = model_of()
    model.network.to(memory_format=torch.channels_last)
    save(model, tmp_path / "model")
    np.testing.assert_allclose(
        probabilities(load(tmp_path / "model"), pictures), probabilities(model, pictures), atol=1e-6
    )
