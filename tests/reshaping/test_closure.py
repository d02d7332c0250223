"""A reshaped Model is a source like any other: features, probes, fine-tuning, and being reshaped again."""

import pytest
import torch
from tests.conftest import sentences
from tests.reshaping.parts import answers, batch_of, changed, model_of

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model
from transfuse.reshaping.activations import exchange
from transfuse.reshaping.cutting import cut
from transfuse.reshaping.deepening import deepen
from transfuse.reshaping.exits import at_exit, early_exits
from transfuse.reshaping.factoring import factor
from transfuse.sources import staging
from transfuse.sources.opening import open_source


def reshaped(model, x):
    """Deeper, of lower rank, with fewer blocks and another activation."""
    changes = []
    network = model.network
    for step in (
        lambda n: deepen(n, x),
        lambda n: factor(n, [x], 0.8),
        lambda n: cut(n, [x], 0.7),
        lambda n: exchange(n, x, "silu"),
    ):
        network, change, _ = step(network)
        changes.append(change)
    return changed(model, network, *changes)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_all_changes_in_a_row_give_a_source(name, tmp_path, photos):
    model = model_of(name)
    x = batch_of(model)
    model = reshaped(model, x)
    model.save(tmp_path / "m")
    assert torch.equal(answers(Model.load(tmp_path / "m").network, x), answers(model.network, x))
    opened = open_source(tr.source(str(tmp_path / "m")))
    assert torch.equal(answers(opened.body, x), answers(model.network.body, x))
    for depth in opened.depths:
        prefix, suffix = staging.split_at(opened.body, depth)
        assert torch.allclose(answers(suffix, answers(prefix, x)), answers(opened.body, x), atol=1e-4)
    task = tr.task(photos)
    for method in ("probe", "finetune") if name == "resnet" else ("probe",):
        options = {} if method == "probe" else {"steps": 2, "rate": 1e-3}
        again = tr.transfer(tr.source(str(tmp_path / "m")), task, method=method, **options)
        assert again.network is not None


def test_a_text_network_too(tiny_networks, tmp_path):
    model = model_of("llama", tiny_networks)
    x = batch_of(model)
    model = reshaped(model, x)
    model.save(tmp_path / "m")
    texts, labels = sentences(12)
    lines = ["text,label", *(f"{text},{label}" for text, label in zip(texts, labels, strict=True))]
    (tmp_path / "texts.csv").write_text("\n".join(lines))
    task = tr.task(tmp_path / "texts.csv")
    again = tr.transfer(tr.source(str(tmp_path / "m")), task, method="probe")
    assert again.classes == ("food", "music", "weather")
    assert open_source(tr.source(str(tmp_path / "m"))).depths == ()


def test_what_is_read_at_several_depths_is_refused(photos):
    task = tr.task(photos)
    model = model_of("resnet")
    early, _ = early_exits(model, task, 2, most=50.0)
    x = batch_of(early)
    for step in (
        lambda n: deepen(n, x),
        lambda n: factor(n, [x]),
        lambda n: cut(n, [x]),
        lambda n: exchange(n, x, "elu"),
    ):
        with pytest.raises(UsageError, match="read at its end"):
            step(early.network)
    plain = at_exit(early, early.network.body.depths[-1])
    deeper, _, _ = deepen(plain.network, x)
    assert torch.equal(answers(deeper, x), answers(plain.network, x))
