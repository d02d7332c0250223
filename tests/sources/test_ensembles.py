"""Several networks as one that asks them all: each sees an example as it would alone, and none needs code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Column, JointPreprocessing, Model, Preprocessing, Step, TablePreprocessing
from transfuse.predicting.folder import load
from transfuse.predicting.predict import predict, probabilities
from transfuse.sources.ensembles import ensemble
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.references import find

CLASSES = ("cat", "dog", "eel")


def made(reference="random:timm:test_resnet", seed=0, classes=CLASSES, kind="single-label", **options):
    """A Model with a random head."""
    opened = open_source(find(reference, **options), seed=seed)
    torch.manual_seed(seed)
    network = Network(opened.body, new_head(opened.feature_size, len(classes))).eval()
    return Model(
        name=f"m{seed}", modality=opened.source.modality, kind=kind, classes=tuple(classes), network=network,
        builder=opened.source.builder, head={"kind": "linear"}, preprocessing=opened.source.preprocessing,
        temperature=1.0 + seed, provenance=Step(verb="transfer", method=f"m{seed}"),
    )  # fmt: skip


def together(models, form="mean", kind="single-label", weight_M=None, classes=CLASSES):
    found = ensemble(models, classes=classes, kind=kind, form=form, weight_M=weight_M)
    head = new_head(found.features, len(classes))
    with torch.no_grad():
        head.weight.copy_(torch.eye(len(classes), found.features))
        head.bias.zero_()
    return Model(
        name="all", modality=models[0].modality, kind=kind, classes=classes, network=Network(found.body, head).eval(),
        builder=found.builder, head={"kind": "linear"}, preprocessing=found.preprocessing,
        provenance=Step(verb="fuse", method=form),
    )  # fmt: skip


def pictures(photos):
    return sorted(photos.rglob("*.png"))[::9]


def test_members_of_other_sizes_colours_and_class_orders_answer_as_they_do_alone(photos, tmp_path):
    one, other = made(size=32), made(seed=1, classes=("eel", "cat", "dog"), size=48, mean=[0.5], std=[0.25])
    third = replace(made(seed=2, size=32), preprocessing=one.preprocessing)
    both = together([one, other, third], weight_M=[0.5, 0.3, 0.2])
    assert isinstance(both.preprocessing, JointPreprocessing) and len(both.preprocessing.views) == 2
    assert [view.channels for view in both.preprocessing.views] == [3, 1]
    items = pictures(photos)
    expected = (
        0.5 * probabilities(one, items)
        + 0.3 * probabilities(other, items)[:, [1, 2, 0]]
        + 0.2 * probabilities(third, items)
    )
    np.testing.assert_allclose(probabilities(both, items), expected, atol=1e-6)
    again = load(both.save(tmp_path / "all"))
    np.testing.assert_allclose(probabilities(again, items), expected, atol=1e-6)
    told = predict(again, [items[0], np.asarray(torch.zeros(20, 30, 3, dtype=torch.uint8)), tmp_path / "none.png"])
    assert told[0]["probabilities"]["dog"] == pytest.approx(expected[0, 1], abs=1e-6)
    assert "class" in told[1] and told[2]["rejected"]


def test_a_saved_ensemble_is_a_source_and_a_member_again(photos, tmp_path):
    inner = together([made(size=32), made(seed=1, size=48)])
    opened = open_source(find(str(inner.save(tmp_path / "inner"))))
    assert opened.feature_size == 3 and opened.depths == ()
    outer = together([inner, made(seed=2, size=24)])
    items = pictures(photos)
    expected = (probabilities(inner, items) + probabilities(made(seed=2, size=24), items)) / 2
    np.testing.assert_allclose(probabilities(load(outer.save(tmp_path / "outer")), items), expected, atol=1e-6)


def test_one_way_of_preparing_stays_plain(photos):
    both = together([made(size=32), made(seed=1, size=32)])
    assert isinstance(both.preprocessing, Preprocessing)
    assert rebuild(both.builder)(torch.rand(2, 3, 32, 32)).shape == (2, 3)


def test_labels_that_do_not_exclude_each_other_and_scores(photos):
    models = [made(size=32, kind="multi-label"), made(seed=1, size=48, kind="multi-label")]
    items = pictures(photos)
    p_MNC = np.stack([probabilities(model, items) for model in models])
    both = together(models, kind="multi-label")
    np.testing.assert_allclose(probabilities(both, items), p_MNC.mean(0), atol=1e-6)
    side = together(models, kind="multi-label", form="scores")  # the head passes the first member on
    np.testing.assert_allclose(probabilities(side, items), p_MNC[0], atol=1e-6)


def test_numbers_are_averaged_in_the_users_units():
    columns = tuple(Column(name=name, role="numeric") for name in "ab")
    rows = [{"a": 1.0, "b": 2.0}, {"a": -1.0, "b": 0.5}]

    def model(weight, scale, names):
        body = torch.nn.Identity()
        network = Network(body, torch.nn.Linear(2, 2)).eval()
        with torch.no_grad():
            network.head.weight.copy_(torch.tensor(weight))
            network.head.bias.zero_()
        return Model(
            name="m", modality="table", kind="regression", classes=names, network=network, builder={"onehot": {}},
            head={"kind": "linear"}, preprocessing=TablePreprocessing(columns=columns), target_scale=scale,
            provenance=Step(verb="transfer"),
        )  # fmt: skip

    eye = [[1.0, 0.0], [0.0, 1.0]]
    one = model(eye, ((10.0, 20.0), (2.0, 3.0)), ("x", "y"))
    other = model(eye, ((0.0, 1.0), (1.0, 1.0)), ("y", "x"))
    both = ensemble([one, other], classes=("x", "y"), kind="regression", form="mean")
    x_BK = torch.tensor([[row["a"], row["b"]] for row in rows])
    expected = [[(10 + 2 * r["a"] + 1 + r["b"]) / 2, (20 + 3 * r["b"] + r["a"]) / 2] for r in rows]
    torch.testing.assert_close(both.body(x_BK), torch.tensor(expected))


def test_texts_of_other_lengths_and_tokenizers(tiny_networks, tmp_path):
    long = made(str(tiny_networks["bert"]))
    short = made(str(tiny_networks["llama"]), seed=1, max_length=5)
    texts = ["rain and storm", "we play a loud song with the band and the drum today", "soup"]
    both = load(together([long, short]).save(tmp_path / "both"))
    assert (tmp_path / "both" / "view1" / "tokenizer.json").exists()
    expected = (probabilities(long, texts) + probabilities(short, texts)) / 2
    np.testing.assert_allclose(probabilities(both, texts), expected, atol=1e-5)
    assert predict(both, texts)[2]["confidence"] == pytest.approx(expected[2].max(), abs=1e-5)


def test_other_classes_are_refused_by_name():
    with pytest.raises(UsageError, match=r"only it has \['fox'\], and it lacks \['eel'\]"):
        ensemble(
            [made(), made(seed=1, classes=("cat", "dog", "fox"))], classes=CLASSES, kind="single-label", form="mean"
        )


CODE = """
from pathlib import Path
from torch import nn

Path(__file__).with_name("ran").touch()

def net():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Identity())
"""


def test_a_function_inside_an_ensemble_runs_only_when_it_is_trusted(tmp_path):
    (tmp_path / "nets.py").write_text(CODE)
    source = find(f"{_weights(tmp_path)}@{tmp_path / 'nets.py'}:net", trust_code=True, size=8)
    opened = open_source(source)
    network = Network(opened.body, new_head(3, 3)).eval()
    inside = replace(made(size=32), network=network, builder=source.builder, preprocessing=source.preprocessing)
    folder = together([inside, made(seed=1, size=32)]).save(tmp_path / "both")
    (tmp_path / "ran").unlink()
    for open_it in (lambda: load(folder), lambda: find(str(folder))):
        with pytest.raises(UsageError, match="trusted"):
            open_it()
    assert not (tmp_path / "ran").exists()
    assert load(folder, trust_code=True).kind == "single-label"


def _weights(folder):
    from safetensors.torch import save_file

    network = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    save_file(network.state_dict(), str(folder / "w.safetensors"))
    return f"file:{folder / 'w.safetensors'}"
