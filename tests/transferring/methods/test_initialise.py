"""initialise: strict by name and shape, unless patterns allow; what was loaded is where training starts."""

import pytest
import torch

from transfuse.core.errors import WeightsError
from transfuse.core.nouns import Source, Task
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.methods.initialise import initialise

STILL = Fit(steps=1, rate=1e-12, batch_size=8, average=0.0)


def test_all_weights_are_taken_and_all_layers_move(vit: Source, task: Task):
    before = open_source(vit).body.state_dict()
    kept = initialise(vit, task, fit=STILL)
    assert kept.facts["loaded"].startswith(f"{len(before)} of {len(before)} tensors loaded")
    for name, tensor in kept.network.body.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=1e-8)
    moved = initialise(vit, task, fit=Fit(steps=2, rate=1e-2, batch_size=8)).network.body.state_dict()
    assert not torch.equal(moved["patch_embed.proj.weight"], before["patch_embed.proj.weight"])


def test_another_network_is_refused_with_the_differences_of_both_directions(vit: Source, task: Task):
    with pytest.raises(WeightsError) as caught:
        initialise(vit, task, fit=STILL, into="random:timm:test_vit2")
    assert "- cls_token (1" in str(caught.value) and "+ reg_token (1" in str(caught.value)
    with pytest.raises(WeightsError, match=r"~ patch_embed\.proj\.weight \(64.3.16.16\) → \(96.3.16.16\)"):
        initialise(vit, task, fit=STILL, into="random:timm:test_vit3")


def test_patterns_allow_what_is_new(vit: Source, task: Task):
    outcome = initialise(vit, task, fit=STILL, into="random:timm:test_vit2", new=[r".*"])
    assert "tensors loaded" in outcome.facts["loaded"]
    mine, theirs = outcome.network.body.state_dict(), open_source(vit).body.state_dict()
    shared = [name for name in mine if name in theirs and mine[name].shape == theirs[name].shape]
    assert len(shared) > len(mine) / 3
    torch.testing.assert_close(mine["blocks.0.attn.qkv.weight"], theirs["blocks.0.attn.qkv.weight"], rtol=0, atol=1e-8)


def test_a_pattern_that_covers_too_little_is_refused(vit: Source, task: Task):
    with pytest.raises(WeightsError):
        initialise(vit, task, fit=STILL, into="random:timm:test_vit2", new=[r"norm\..*"])
