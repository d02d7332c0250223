"""Methods on texts, from the source to the saved model: probe, training, adapters, pairs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import sentences

import transfuse as tr
from transfuse.core.errors import DataError, ModelError, UsageError
from transfuse.core.nouns import Task
from transfuse.sources.inputs import tensor_of
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.training.batches import Batches, Plain
from transfuse.transferring.methods.contrastive import Triples, pair_loss
from transfuse.transferring.methods.lora import fold

QUICK = {"steps": 8, "rate": 3e-3, "precision": "float32"}


@pytest.fixture(scope="module")
def task() -> Task:
    """Sentences about three topics."""
    return tr.task(sentences(40))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("probe", {}), ("finetune", QUICK), ("scratch", QUICK), ("lora", QUICK), ("contrastive", QUICK),
        ("l2sp", QUICK),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_saved_model_answers_as_before(
    tiny_networks: dict[str, Path], task: Task, tmp_path: Path, method: str, options: dict, kind: str
) -> None:
    model = tr.transfer(tiny_networks[kind], task, method=method, **options)
    assert model.modality == "text" and model.report is not None
    assert [row["model"] for row in model.report.rows] == [method, "tf-idf + linear"]
    model.save(tmp_path / "m")
    assert sorted(path.suffix for path in (tmp_path / "m").iterdir()) == [
        "",
        ".html",
        ".json",
        ".json",
        ".json",
        ".md",
        ".safetensors",
    ]
    again = tr.load(tmp_path / "m")
    texts = [*task.splits["test"].items, "unknown words only here"]
    for a, b in zip(model.predict(texts), again.predict(texts), strict=True):
        assert a["class"] == b["class"] and abs(a["confidence"] - b["confidence"]) < 1e-6
    assert tr.source(tmp_path / "m").modality == "text"


def test_a_probe_learns(tiny_networks: dict[str, Path], task: Task) -> None:
    accuracy = tr.transfer(tiny_networks["bert"], task, method="probe").metrics["test"]["accuracy"]
    assert accuracy["low"] > 0.5  # three classes


@pytest.mark.parametrize("targets", ["regression", "multi-label"])
def test_other_kinds(tiny_networks: dict[str, Path], task: Task, targets: str) -> None:
    texts, labels = sentences(40)
    y = np.array([float(len(text.split())) + 0.5 for text in texts])
    data = (
        (texts, y)
        if targets == "regression"
        else (texts, [[label, "short" if v < 6 else "long"] for label, v in zip(labels, y, strict=True)])
    )
    model = tr.transfer(tiny_networks["bert"], tr.task(data), method="probe")
    assert model.kind == targets and model.report is not None
    assert model.metrics["test"]["r2" if targets == "regression" else "average_precision"]["value"] > 0.5
    assert model.report.rows[1]["model"] == "tf-idf + linear"


def test_the_tokenizer_belongs_to_the_model(tiny_networks: dict[str, Path], task: Task, tmp_path: Path) -> None:
    network = tmp_path / "network"
    shutil.copytree(tiny_networks["bert"], network)
    model = tr.transfer(network, task, method="probe")
    model.save(tmp_path / "m")
    shutil.rmtree(network)
    assert tr.load(tmp_path / "m").predict("rain and sun")[0]["class"] in task.classes
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="digest differs"):
        tr.load(tmp_path / "m")


def test_lora_moves_little_and_folds_exactly(tiny_networks: dict[str, Path], task: Task) -> None:
    source = find(tiny_networks["llama"])
    model = tr.transfer(source, task, method="lora", rank=2, targets="q_proj,v_proj", **QUICK)
    found = model.provenance.options["found"]
    assert found["adapted"] == 4  # two layers, two projections
    names = dict(open_source(source).body.named_parameters())
    moved = {
        n.removeprefix("body.")
        for n, p in model.network.named_parameters()
        if n.startswith("body.") and not p.equal(names[n.removeprefix("body.")])
    }
    assert moved == {f"net.layers.{layer}.self_attn.{part}_proj.weight" for layer in (0, 1) for part in "qv"}
    for name in moved:
        change = dict(model.network.named_parameters())[f"body.{name}"] - names[name]
        assert torch.linalg.matrix_rank(change, atol=1e-6) <= 2
    with pytest.raises(UsageError, match="q_proj"):
        tr.transfer(source, task, method="lora", targets="nonesuch", **QUICK)


def test_folding_keeps_the_function() -> None:
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    plain = set(body.state_dict())
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["0", "2"], init_lora_weights=False), body)
    x = torch.randn(6, 4)
    before = body(x)
    assert fold(body) == 2 and set(body.state_dict()) == plain
    torch.testing.assert_close(body(x), before)


def test_pairs_are_linear_in_number_and_of_the_right_classes(tiny_networks: dict[str, Path], task: Task) -> None:
    train = task.splits["train"]
    triples = Triples(Plain(train, find(tiny_networks["bert"]).preprocessing), train, seed=0)
    for view in (0, 1):
        drawn = [triples.partners(place, view) for place in range(len(train))]
        assert all(train.targets[a] == train.targets[place] and a != place for place, (a, _) in enumerate(drawn))
        assert all(train.targets[b] != train.targets[place] for place, (_, b) in enumerate(drawn))
    assert drawn != [triples.partners(place, 0) for place in range(len(train))]
    assert triples.take(np.array([3, 5]), 0).shape[:2] == (2, 3)


def test_pair_loss_is_setfits() -> None:
    z = torch.randn(3, 5, 7)
    cosine = torch.nn.CosineSimilarity(dim=1)
    expected = (cosine(z[0], z[1]) - 1) ** 2 + cosine(z[0], z[2]) ** 2
    torch.testing.assert_close(pair_loss(z), expected)


def test_contrastive_that_helps_nothing_gives_the_probe_at_its_own_depths(
    tiny_networks: dict[str, Path], task: Task
) -> None:
    spoilt = {**QUICK, "rate": 1.0}
    pairs = tr.transfer(tiny_networks["llama"], task, method="contrastive", depths="final", **spoilt)
    probe = tr.transfer(tiny_networks["llama"], task, method="probe", precision="float32")
    assert not pairs.provenance.options["found"]["validation"]["kept"]
    assert pairs.builder == probe.builder and "depths" in pairs.builder
    for a, b in zip(pairs.network.parameters(), probe.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_contrastive_wants_classes(tiny_networks: dict[str, Path]) -> None:
    texts, _ = sentences(20)
    with pytest.raises(UsageError, match="one class an example"):
        tr.transfer(tiny_networks["bert"], tr.task((texts, np.linspace(0, 1.5, 60))), method="contrastive", **QUICK)


def test_training_batches_hold_texts_of_nearly_one_length(tiny_networks: dict[str, Path], task: Task) -> None:
    train = task.splits["train"]
    plain = Plain(train, find(tiny_networks["bert"]).preprocessing)
    assert plain.lengths_N is not None
    targets, weights = torch.from_numpy(train.targets), np.ones(len(train), np.float32)
    batches = Batches(inputs=plain, targets=targets, weights_N=weights, batch_size=8, seed=0)
    seen = [batches.at(step) for step in range(len(train) // 8)]
    places = np.concatenate([batch.index_B.numpy() for batch in seen])
    assert len(set(places.tolist())) == len(places)
    spread = np.mean([np.ptp(plain.lengths_N[batch.index_B.numpy()]) for batch in seen])
    assert spread < 0.5 * np.ptp(plain.lengths_N)
    for batch in seen:
        expected = tensor_of(
            [train.items[place] for place in batch.index_B.tolist()], find(tiny_networks["bert"]).preprocessing
        )
        assert batch.x.equal(expected)


@pytest.mark.parametrize("method", ["side", "delta"])
def test_methods_for_pictures_say_so(tiny_networks: dict[str, Path], task: Task, method: str) -> None:
    with pytest.raises(UsageError, match="is for pictures"):
        tr.transfer(tiny_networks["bert"], task, method=method, **QUICK)


def test_a_source_of_pictures_refuses_texts(task: Task) -> None:
    with pytest.raises(DataError, match="takes pictures, but the data are texts"):
        tr.transfer("random:timm:test_resnet", task, method="probe")


def test_update_and_forget(tiny_networks: dict[str, Path], task: Task, tmp_path: Path) -> None:
    model = tr.transfer(tiny_networks["bert"], task, method="probe", remember=True, solver="ridge", depths="final")
    texts = list(task.splits["train"].items[:5])
    lesser = tr.forget(model, texts)
    assert model.learnt is not None and lesser.learnt is not None
    assert len(lesser.learnt.digests) == len(model.learnt.digests) - 5
    labels = [task.classes[target] for target in task.splits["train"].targets[:5]]
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(json.dumps({"text": t, "label": c}) for t, c in zip(texts, labels, strict=True)))
    again = tr.update(lesser, path)
    head, first = (m.network.get_submodule("head").state_dict()["weight"] for m in (again, model))
    torch.testing.assert_close(head, first, atol=1e-4, rtol=1e-3)
