"""The door for predictions: learnt on validation examples, judged out of fold, saved as one Model."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from transfuse.core.errors import ModelError, UnknownName, UsageError
from transfuse.evaluating.evaluate import evaluate
from transfuse.fusing.fuse import fuse
from transfuse.fusing.verify import verify
from transfuse.predicting.folder import load
from transfuse.predicting.predict import probabilities
from transfuse.sources.tables.trees import Forest, builder_of
from transfuse.tasks.opening import open_task

RIGHT = torch.eye(3) * 4
WRONG = torch.tensor([[0.0, 9, -9], [-9, 0, 9], [9, -9, 0]])
CATS = [[6.0, 0, 0], [0, 6, 6], [0, 5.9, 5.9]]
"""Tells red from the rest, of which it says dog."""
EELS = [[5.9, 5.9, 0], [6, 6, 0], [0, 0, 6.0]]
"""Tells blue from the rest, of which it says dog."""


@pytest.fixture
def task(photos):
    return open_task(photos, valid=0.6, test=0.3)


def test_members_whose_mistakes_cancel_are_kept_as_one_model(colours, task, tmp_path):
    paths = [colours("one", CATS), colours("two", EELS, size=16)]
    report = fuse(*paths, method="average", out=tmp_path / "out", on=task, trust_code=True)
    assert report.summary[0] == "The fusion is kept." and "test split" in report.summary[2]
    model = load(tmp_path / "out", trust_code=True)
    test = task.splits["test"]
    one, two = (probabilities(load(path, trust_code=True), test.items) for path in paths)
    found = probabilities(model, test.items)
    np.testing.assert_array_equal(found.argmax(1), ((one + two) / 2).argmax(1))
    assert [step.method for step in model.provenance.inputs] == ["one", "two"] and model.confidences
    told = evaluate(model, task).rows[0]["value"]
    assert told["value"] == model.metrics["test"]["accuracy"]["value"] == 1.0
    assert "Everything" in verify(tmp_path / "out").summary[0]
    rows = [(row["split"], row["model"]) for row in report.rows]
    assert rows[0] == ("valid", "fusion") and ("test", "fusion") in rows and len(rows) == 5


@pytest.mark.parametrize("method", ["average", "caruana", "stacking"])
def test_a_fusion_that_is_no_better_gives_way_to_its_best_member(colours, task, tmp_path, method):
    paths = [colours("bad", -RIGHT), colours("good", RIGHT, classes=("eel", "dog", "cat"))]
    paths[1] = colours("good", RIGHT.flip(0), classes=("eel", "dog", "cat"))
    report = fuse(*paths, method=method, out=tmp_path / "out", on=task, trust_code=True)
    assert "refused" in report.summary[0] and "good" in report.summary[0]
    kept = load(tmp_path / "out", trust_code=True)
    assert kept.name == "good" and kept.classes == ("eel", "dog", "cat")
    assert kept.metrics["test"]["accuracy"]["value"] == 1.0
    assert not (tmp_path / "out" / "fusion.json").exists()


def test_selection_leaves_out_who_does_not_help(colours, task, tmp_path):
    weights = (CATS, EELS, -RIGHT)
    paths = [colours(name, weight) for name, weight in zip(("one", "two", "bad"), weights, strict=True)]
    report = fuse(*paths, method="caruana", out=tmp_path / "out", on=task, trust_code=True, rounds=20)
    assert report.summary[0] == "The fusion is kept."
    shares = load(tmp_path / "out", trust_code=True).provenance.options["found"]["shares"]
    assert sorted(path.rpartition("/")[2] for path in shares) == ["one", "two"]
    assert report.sections[0].content["rows"][2]["share"] == 0


def test_without_examples_the_mean_is_made_and_nothing_claimed(colours, photos, tmp_path):
    paths = [colours("one", RIGHT), colours("two", WRONG, classes=("dog", "cat", "eel"))]
    report = fuse(*paths, method="average", weight=[3, 1], out=tmp_path / "out", trust_code=True)
    assert "Nothing was measured" in report.summary[0]
    items = sorted(photos.rglob("*.png"))[::7]
    one, two = (probabilities(load(path, trust_code=True), items) for path in paths)
    expected = 0.75 * one + 0.25 * two[:, [1, 0, 2]]
    np.testing.assert_allclose(probabilities(load(tmp_path / "out", trust_code=True), items), expected, atol=1e-6)


def test_trees_and_other_columns_of_one_table(tmp_path):
    random = np.random.default_rng(0)
    x_NK = random.normal(size=(200, 2))
    rows = [{"a": a, "b": b, "y": "yes" if a > 0 and b > 0 else "no"} for a, b in x_NK.tolist()]
    task = open_task(rows, target="y", modality="table", valid=0.4, test=0.2)
    paths = [_stump(tmp_path / name, column, name) for column, name in enumerate("ab")]
    for method in ("average", "stacking"):
        report = fuse(*paths, method=method, out=tmp_path / method, on=task)
        model = load(tmp_path / method)
        assert report.summary[0] == "The fusion is kept." and model.metrics["test"]["accuracy"]["value"] > 0.95


def _stump(folder, column, name):
    """One split of one column at 0 as a saved forest, written by hand."""
    from transfuse.core.nouns import Column, Model, Step, TablePreprocessing
    from transfuse.sources.network import Network, new_head

    forest = Forest(outputs=2, trees=1, nodes=1, leaves=2, words=0)
    forest.feature[0, 0], forest.left[0, 0], forest.right[0, 0] = column, -1, -2
    forest.value[0] = torch.tensor([-2.0, 1.0])
    forest.output[0] = 1
    network = Network(forest, new_head(2, 2)).eval()
    with torch.no_grad():
        network.head.weight.copy_(torch.eye(2))
        network.head.bias.zero_()
    columns = tuple(Column(name=c, role="numeric") for c in "ab")
    model = Model(
        name=name, modality="table", kind="single-label", classes=("no", "yes"), builder=builder_of(forest),
        head={"kind": "linear"}, preprocessing=TablePreprocessing(columns=columns), network=network,
        provenance=Step(verb="transfer", method=name),
    )  # fmt: skip
    return model.save(folder)


def test_mistakes_are_told_before_anything_is_written(colours, photos, tmp_path):
    one, two = colours("one", RIGHT), colours("two", WRONG)
    other = colours("other", torch.zeros(2, 3), classes=("cat", "fox"))
    labels = colours("labels", RIGHT, kind="multi-label")
    out = tmp_path / "out"
    cases = [
        ((one,), {"method": "average"}, UsageError, "at least two"),
        ((one, one), {"method": "average"}, UsageError, "given twice"),
        ((one, two), {"method": "caruana"}, UsageError, "must be given `on`"),
        ((one, two), {"method": "avrage"}, UnknownName, "Did you mean 'average'"),
        ((one, two), {"method": "average", "wieght": 1}, UnknownName, "Did you mean 'weight'"),
        ((one, two), {"method": "caruana", "on": photos, "rounds": 0}, UsageError, "`rounds` must be at least 1"),
        ((one, two), {"method": "caruana", "on": photos, "rounds": "many"}, UsageError, "`rounds` must be"),
        ((one, two), {"method": "average", "base": one}, UsageError, "`base` is for methods that merge weights"),
        ((one, other), {"method": "average"}, UsageError, "it lacks"),
        ((one, labels), {"method": "average"}, UsageError, "one kind"),
        ((one, tmp_path), {"method": "average"}, ModelError, "must be a saved Model's folder"),
    ]
    for parents, options, error, words in cases:
        with pytest.raises(error, match=words):
            fuse(*parents, out=out, trust_code=True, **options)
    with pytest.raises(UsageError, match="another folder"):
        fuse(one, two, method="average", out=one, trust_code=True)
    with pytest.raises(UsageError, match="trusted"):
        fuse(one, two, method="average", out=out)
    few = tmp_path / "few"
    shutil.copytree(photos, few, ignore=shutil.ignore_patterns("eel*"))
    with pytest.raises(UsageError, match="must have the members' classes"):
        fuse(one, two, method="average", out=out, on=few, trust_code=True)
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_a_member_that_was_changed_later_is_named(colours, tmp_path):
    one, two = colours("one", RIGHT), colours("two", WRONG)
    fuse(one, two, method="average", out=tmp_path / "out", trust_code=True)
    tensors = load_file(two / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file({**tensors, name: tensors[name] + 1}, two / "model.safetensors")
    assert any(f"{name} differs" in line for line in verify(tmp_path / "out").summary)
