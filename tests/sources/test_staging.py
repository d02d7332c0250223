"""Cutting bodies: exactly the same function, still trainable, in every family."""

from pathlib import Path

import pytest
import torch
from torch import nn

from transfuse.core.errors import SourceError, UnknownName
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.references import find
from transfuse.sources.staging import at_depths, depths, split_at, stage_of_parameter

SWIN = {"img_size": [64, 64], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
FAMILIES = {
    "mobilenetv3_small_050": ({}, "blocks.2", 13),
    "vgg11": ({"mlp_ratio": 0.0039}, "features.10", 8),
    "test_resnet": ({}, "layer2", 6),
    "test_efficientnet": ({}, "blocks.2", 6),
    "test_convnext": ({}, "stages.1", 16),
    "test_vit": ({"img_size": [64, 64]}, "blocks.2", 7),
    "swin_tiny_patch4_window7_224": (SWIN, "layers.0", 6),
}


def body_of(name: str, **arguments: object) -> nn.Module:
    return rebuild({"timm": name, "arguments": {**FAMILIES[name][0], **arguments}})


@pytest.mark.parametrize("name", FAMILIES)
def test_suffix_of_prefix_is_the_body_at_every_depth(name: str) -> None:
    body, x = body_of(name), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = body(x)
        for depth in (*depths(body), FAMILIES[name][1]):
            prefix, suffix = split_at(body, depth)
            assert torch.equal(suffix(prefix(x)), expected), depth


@pytest.mark.parametrize("name", FAMILIES)
def test_prefix_and_suffix_share_the_parameters_and_keep_their_names(name: str) -> None:
    body = body_of(name)
    prefix, suffix = split_at(body, FAMILIES[name][1])
    own = dict(body.named_parameters())
    parts = {**dict(prefix.named_parameters()), **dict(suffix.named_parameters())}
    assert parts.keys() == own.keys()
    assert all(parts[key] is own[key] for key in own)
    assert not set(dict(prefix.named_parameters())) & set(dict(suffix.named_parameters()))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_suffix_trains(name: str) -> None:
    body, x = body_of(name), torch.rand(4, 3, 64, 64)
    prefix, suffix = split_at(body, FAMILIES[name][1])
    with torch.no_grad():
        cached = prefix(x)
    suffix.train()
    suffix(cached).square().mean().backward()
    assert all(p.grad is not None for p in suffix.parameters())
    assert all(p.grad is None for p in prefix.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_layers_are_ordered_from_input_to_output(name: str) -> None:
    body = body_of(name)
    stages = stage_of_parameter(body)
    assert stages.keys() == dict(body.named_parameters()).keys()
    assert min(stages.values()) == 0
    assert max(stages.values()) == FAMILIES[name][2]
    assert set(stages.values()) == set(range(max(stages.values()) + 1))
    prefix, suffix = split_at(body, FAMILIES[name][1])
    highest = max(stages[key] for key, _ in prefix.named_parameters())
    assert highest < min(stages[key] for key, _ in suffix.named_parameters())


def test_dropout_and_batch_statistics_follow_the_mode() -> None:
    """timm's efficientnet uses functional dropout after pooling; it must not be frozen by the cut."""
    body = body_of("test_efficientnet", drop_rate=0.5, drop_path_rate=0.2)
    prefix, suffix = split_at(body, "blocks.2")
    middle = prefix(torch.rand(8, 3, 64, 64)).detach()
    assert torch.equal(suffix(middle), suffix(middle))
    before = {key: value.clone() for key, value in suffix.named_buffers() if key.endswith("running_mean")}
    suffix.train()
    torch.manual_seed(0)
    first = suffix(middle)
    torch.manual_seed(1)
    assert not torch.equal(first, suffix(middle))
    assert (first == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert any(not torch.equal(before[key], value) for key, value in suffix.named_buffers() if key in before)
    suffix.eval()
    assert torch.equal(suffix(middle), suffix(middle))


def test_several_depths_in_one_pass() -> None:
    body, x = body_of("test_resnet"), torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        shallow, final, deep = at_depths(body, ("layer1", "final", "layer3"))(x)
        assert torch.equal(final, body(x))
        assert torch.equal(shallow, split_at(body, "layer1")[0](x))
        assert torch.equal(deep, split_at(body, "layer3")[0](x))


def test_users_networks_can_be_cut(nets: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    for function in ("residual", "maps"):
        source = find(f"file:{tmp_path / 'w.pt'}@{nets}:{function}", trust_code=True, size=16)
        body, x = open_source(source, pretrained=False).body, torch.rand(2, 3, 16, 16)
        assert depths(body)
        for depth in depths(body):
            prefix, suffix = split_at(body, depth)
            with torch.inference_mode():
                assert torch.equal(suffix(prefix(x)), body(x)), depth


def test_a_network_that_branches_on_values_says_what_to_use(nets: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    source = find(f"file:{tmp_path / 'w.pt'}@{nets}:branching", trust_code=True, size=16)
    opened = open_source(source, pretrained=False)
    assert opened.depths == ()
    assert stage_of_parameter(opened.body) == {"conv.weight": 0, "conv.bias": 0}
    with pytest.raises(SourceError, match="'finetune' or 'probe'"):
        split_at(opened.body, "conv")


def test_an_unknown_depth_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean 'layer2\.0'.*maxpool"):
        split_at(body_of("test_resnet"), "layer2.7")


def test_the_mode_of_a_body_survives_a_cut() -> None:
    body = body_of("test_resnet").train()
    split_at(body, "layer1")
    assert body.training
