"""Several Models on one trunk: the trunk runs once, the answers are each Model's own, the folder is checked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import ModelError, UsageError
from transfuse.core.nouns import Model, Preprocessing
from transfuse.predicting import folder
from transfuse.predicting.predict import predict, probabilities, probabilities_of_all, sharing_a_trunk
from transfuse.predicting.several import load, save
from transfuse.sources.network import Network, new_head
from transfuse.sources.references import find

Make = Callable[..., Model]
KINDS = ("single-label", "regression", "multi-label")
PICTURES = list(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8))


@pytest.fixture
def shared(model_of: Make) -> dict[str, Model]:
    """A model of each kind, on one body."""
    body = model_of().network.get_submodule("body")
    found = {}
    for seed, kind in enumerate(KINDS):
        torch.manual_seed(seed)
        network = Network(body, new_head(64, 3, "mlp", 8, "gelu", 0.1)).eval()
        found[f"task/{kind}"] = replace(model_of(kind, kind), network=network)
    return found


def calls_of(module: torch.nn.Module) -> list[int]:
    """Grows by the size of every batch that passes the module."""
    sizes: list[int] = []
    module.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    return sizes


def test_the_trunk_sees_every_input_once_for_all_tasks(shared):
    sizes = calls_of(next(iter(shared.values())).network.get_submodule("body"))
    answers = predict(shared, PICTURES)
    assert sizes == [len(PICTURES)]
    for row, answer in enumerate(answers):
        assert answer["input"] == f"input {row}" and answer["tasks"].keys() == shared.keys()
    assert answers[0]["tasks"]["task/single-label"].keys() == {"rejected", "class", "confidence", "probabilities"}
    assert answers[0]["tasks"]["task/regression"].keys() == {"rejected", "values"}


def test_the_answers_are_those_of_each_model_alone(shared):
    together = probabilities_of_all(shared, PICTURES)
    for name, model in shared.items():
        np.testing.assert_allclose(together[name], probabilities(model, PICTURES), rtol=1e-5, atol=1e-6)


def test_a_saved_folder_shares_its_trunk_again_and_every_task_is_a_model_and_a_source(shared, tmp_path: Path):
    where = save(shared, tmp_path / "both")
    loaded = load(where)
    assert list(loaded) == list(shared) and len(sharing_a_trunk(loaded)) == 1
    sizes = calls_of(next(iter(loaded.values())).network.get_submodule("body"))
    for name, found in probabilities_of_all(loaded, PICTURES).items():
        np.testing.assert_array_equal(found, probabilities_of_all(shared, PICTURES)[name])
    assert sizes[0] == len(PICTURES)
    names = sorted(path.name for path in where.iterdir() if path.is_dir())
    assert names == ["task_multi-label", "task_regression", "task_single-label"]
    alone = folder.load(where / "task_regression")
    np.testing.assert_array_equal(probabilities(alone, PICTURES), probabilities(shared["task/regression"], PICTURES))
    assert find(str(where / "task_regression")).origin == "model"


def test_trunks_that_were_split_stay_two(shared, model_of: Make, tmp_path: Path):
    shared = {**shared, "apart": model_of()}
    loaded = load(save(shared, tmp_path / "both"))
    assert [len(names) for names in sharing_a_trunk(loaded)] == [3, 1]
    assert predict(loaded, PICTURES)[2]["tasks"].keys() == shared.keys()


def test_an_input_that_cannot_be_read_is_named_once(shared, tmp_path: Path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    first, second = predict(shared, [tmp_path / "broken.png", PICTURES[0]])
    assert "broken.png" in first["reason"] and "tasks" not in first and "tasks" in second


def test_one_model_is_saved_and_opened_as_ever(model_of: Make, tmp_path: Path):
    assert isinstance(load(save(model_of(), tmp_path / "one")), Model)


def test_changes_are_noticed(shared, model_of: Make, tmp_path: Path):
    where = save(shared, tmp_path / "both")
    torch.manual_seed(9)
    body = model_of().network.get_submodule("body")
    torch.nn.init.normal_(next(body.parameters()))
    other = replace(model_of("regression"), network=Network(body, model_of().network.get_submodule("head")))
    folder.save(other, where / "task_regression")
    with pytest.raises(ModelError, match=r"task_regression' is not the Model that was saved there"):
        load(where)
    entry = (where / "tasks.json").read_text()
    (where / "SHA256SUMS").unlink()
    digest = folder.digests.of_file(where / "task_regression" / "model.json")
    old = next(line for line in entry.split('"digest": "')[2].split('"'))
    (where / "tasks.json").write_text(entry.replace(old, digest))
    with pytest.raises(ModelError, match="does not share the trunk"):
        load(where)
    (where / "tasks.json").write_text('{"schema": 1, "tasks": [{"task": "a", "trunk": 0, "folder": "../x"}]}')
    with pytest.raises(ModelError, match=r"tasks\.json"):
        load(where)
    (where / "tasks.json").write_text('{"schema": 2, "tasks": []}')
    with pytest.raises(ModelError, match="schema 2"):
        load(where)


def test_who_wants_one_model_is_told_the_names(shared, tmp_path: Path):
    where = save(shared, tmp_path / "both")
    with pytest.raises(ModelError, match="Name one: task_multi-label, task_regression, task_single-label"):
        folder.load(where)
    with pytest.raises(ModelError, match="Name one: task_multi-label, task_regression, task_single-label"):
        find(str(where))


def test_a_folder_is_replaced_whole_and_others_are_left_alone(shared, tmp_path: Path):
    where = save(shared, tmp_path / "both")
    first = dict(list(shared.items())[:2])
    assert list(load(save(first, where))) == list(first)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ModelError, match="is not a saved Model"):
        save(shared, tmp_path / "mine")


def test_models_that_see_inputs_unlike_are_asked_one_by_one(shared, model_of: Make):
    other = replace(model_of(), preprocessing=Preprocessing(size=(16, 16)))
    with pytest.raises(UsageError, match="prepare inputs in different ways"):
        predict({**shared, "other": other}, PICTURES)
    with pytest.raises(UsageError, match="none is given"):
        predict({}, PICTURES)
