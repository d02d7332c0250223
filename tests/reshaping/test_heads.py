"""Classes come and go; what remains answers as before."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.reshaping.parts import CLASSES, answers, batch_of, model_of

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Model
from transfuse.reshaping.heads import join, split, swap

HEADS = [
    {"kind": "linear"},
    {"kind": "mlp", "hidden": 7, "activation": "gelu"},
    {"kind": "cosine"},
    {"kind": "linear", "dropout": 0.2},
]


def both(model, folder, x):
    """Answers, which are the same after saving."""
    model.save(folder)
    mine = answers(model.network, x)
    assert torch.equal(mine, answers(Model.load(folder).network, x))
    return mine


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_rows_of_classes_that_remain_are_kept(head, tmp_path):
    model = model_of("vit", head=head)
    x = batch_of(model)
    other, facts = swap(model, ["eel", "fox", "cat", "gnu"])
    assert facts == {"kept": 2, "new": ["fox", "gnu"], "gone": ["dog"]}
    mine, before = both(other, tmp_path / "m", x), answers(model.network, x)
    assert torch.allclose(mine[:, [2, 0]], before[:, [0, 2]], atol=1e-6)  # products of other widths round otherwise
    assert other.classes == ("eel", "fox", "cat", "gnu")
    assert model.classes == CLASSES


@pytest.mark.parametrize("head", [HEADS[0], HEADS[1]], ids=str)
def test_new_classes_take_no_example_from_the_old_ones(head):
    model = model_of("table", head=head)
    x = batch_of(model, 200)
    more, _ = swap(model, 37)
    assert len(more.classes) == 37
    assert more.classes[:4] == (*CLASSES, "new 1")
    assert torch.equal(answers(more.network, x).argmax(1), answers(model.network, x).argmax(1))
    assert torch.allclose(answers(more.network, x)[:, 3], answers(model.network, x).mean(1), atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_parts_answer_conditionally_and_join_to_the_whole(head, tmp_path):
    model = replace(model_of("table", head=head), temperature=1.7)
    x = batch_of(model)
    parts = split(model, {"fish": ["eel"], "pets": ["dog", "cat"]})
    p_BC = (answers(model.network, x) / 1.7).softmax(1)
    pets_BC = (both(parts["pets"], tmp_path / "p", x) / parts["pets"].temperature).softmax(1)
    wanted = p_BC[:, [1, 0]] / p_BC[:, [1, 0]].sum(1, keepdim=True)
    assert torch.allclose(pets_BC, wanted, atol=1e-6)
    whole, facts = join(list(parts.values()), CLASSES)
    assert facts["one_trunk"]
    assert torch.equal(both(whole, tmp_path / "w", x), answers(model.network, x))
    assert whole.builder == model.builder


def test_parts_are_joined_after_saving_too(tmp_path):
    model = model_of("vit")
    parts = split(model, {"a": ["eel"], "b": ["dog", "cat"]})
    opened = [Model.load(part.save(tmp_path / name)) for name, part in parts.items()]
    x = batch_of(model)
    assert torch.equal(answers(join(opened, CLASSES)[0].network, x), answers(model.network, x))


def test_other_trunks_are_joined_within_groups(tmp_path):
    one, other = model_of("resnet"), model_of("vit", size=32)
    other = replace(other, classes=("fox", "gnu", "hen"), preprocessing=one.preprocessing, temperature=2.0)
    x = batch_of(one)[:, :, :32, :32]
    x = torch.nn.functional.interpolate(x, size=one.preprocessing.size)
    joined, facts = join([one, other])
    assert not facts["one_trunk"]
    z_BC = both(joined, tmp_path / "j", x)
    assert torch.allclose(z_BC[:, :3], answers(one.network, x), atol=1e-5)
    assert torch.allclose(z_BC[:, 3:], answers(other.network, x) / 2, atol=1e-5)


def test_a_regression_loses_targets_but_gets_no_new_ones():
    model = replace(model_of("table"), kind="regression", target_scale=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    fewer, _ = swap(model, ["eel", "cat"])
    assert fewer.target_scale == ((3.0, 1.0), (6.0, 4.0))
    with pytest.raises(UsageError, match="not get new ones"):
        swap(model, 4)


@pytest.mark.parametrize("classes", [[], ["cat", "cat"], 2])
def test_other_classes_are_refused(classes):
    with pytest.raises(UsageError, match="`classes` must be"):
        swap(model_of("table"), classes)


def test_groups_are_checked():
    model = model_of("table")
    with pytest.raises(UnknownName, match="dog"):
        split(model, {"a": ["dogg"]})
    with pytest.raises(UsageError, match="must have classes"):
        split(model, {"a": []})
    with pytest.raises(UsageError, match="different classes"):
        join([model, model])
    other = replace(model, kind="multi-label", classes=("x", "y", "z"))
    with pytest.raises(UsageError, match="one kind"):
        join([model, other])
    assert np.isfinite(answers(model.network, batch_of(model))).all()
