"""Blocks that say least go first."""

import pytest
import torch
from tests.reshaping.parts import answers, batch_of, changed, model_of, there_and_back

from transfuse.core.errors import UsageError
from transfuse.reshaping.cutting import cut
from transfuse.reshaping.deepening import deepen


@pytest.mark.parametrize("name", ["resnet", "convnext", "vit", "efficientnet"])
def test_blocks_that_were_silent_go_first(name):
    """What deepening put in changes nothing, so the network of before comes back."""
    model = model_of(name)
    x = batch_of(model)
    deeper, _, facts = deepen(model.network, x, 2)
    if not facts["blocks"]["copy"]:
        with pytest.raises(UsageError, match="blocks that keep the shape"):
            cut(model.network, [x])
        return
    shorter, change, facts = cut(deeper, [x], 0.99)
    assert list(facts["changed_by"].values()) == [0.0]
    assert change["blocks"][0].rpartition(".")[2] == "1"
    assert torch.equal(answers(shorter, x), answers(model.network, x))


@pytest.mark.parametrize("name", ["convnext", "vit"])
def test_a_shallower_model_is_saved_and_opened_again(name, tmp_path):
    model = model_of(name)
    x = batch_of(model)
    network, change, facts = cut(model.network, [x[:2], x[2:]], 0.4)
    before, after = facts["blocks"]
    assert len(change["blocks"]) == before - after
    assert facts["parameters"][1] < facts["parameters"][0]
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_layers_of_transformers_go(name, tiny_networks, tmp_path):
    model = model_of(name, tiny_networks)
    x = batch_of(model)
    network, change, facts = cut(model.network, [x], 0.5)
    assert facts["blocks"] == [2, 1]
    mine, again = there_and_back(changed(model, network, change), tmp_path / "m", x)
    assert torch.equal(mine, again)


def test_the_first_to_go_changes_least():
    model = model_of("convnext")
    x = batch_of(model)
    _, change, facts = cut(model.network, [x], 0.99)
    [(path, told)] = facts["changed_by"].items()
    assert change["blocks"] == [path]
    whole = answers(model.network, x).double()
    alone = {}
    for other in [name for name, m in model.network.body.named_modules() if type(m).__name__ == "ConvNeXtBlock"]:
        handle = model.network.body.get_submodule(other).register_forward_hook(lambda m, given, out: given[0])
        if isinstance(model.network.body.get_submodule(other).shortcut, torch.nn.Identity):
            gone = answers(model.network, x).double()
            alone[other] = float((gone - whole).square().sum() / (whole - whole.mean(0)).square().sum())
        handle.remove()
    assert min(alone, key=alone.get) == path
    assert told == pytest.approx(alone[path], abs=1e-5)


@pytest.mark.parametrize("keep", [1.0, -0.1, float("nan")])
def test_other_shares_are_refused(keep):
    model = model_of("vit")
    with pytest.raises(UsageError, match="`keep` must be"):
        cut(model.network, [batch_of(model)], keep)
