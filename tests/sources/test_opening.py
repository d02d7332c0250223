"""Opening sources: bodies, heads and weights of every family, compared with timm's own networks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from transfuse.core.errors import SourceError, UsageError, WeightsError
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.references import find

FAMILIES = {
    "mobilenetv3_small_050": (64, {}),
    "vgg11": (32, {"mlp_ratio": 0.0039}),
    "test_resnet": (64, {}),
    "test_efficientnet": (64, {}),
    "test_convnext": (64, {}),
    "test_vit": (160, {}),
    "swin_tiny_patch4_window7_224": (
        64,
        {"img_size": [64, 64], "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    ),
}


def reference_network(name: str, classes: int = 5) -> torch.nn.Module:
    arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in FAMILIES[name][1].items()}
    torch.manual_seed(1)
    return timm.create_model(name, num_classes=classes, **arguments).eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_body_and_source_head_together_are_the_network_of_timm(name: str, tmp_path: Path) -> None:
    size, arguments = FAMILIES[name]
    network = reference_network(name)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    source = find(f"file:{tmp_path / 'w.safetensors'}@timm:{name}", size=size)
    opened = open_source(replace(source, builder={"timm": name, "arguments": arguments}))
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = opened.body(x)
        assert features.shape == (2, opened.feature_size)
        assert opened.source_head is not None
        torch.testing.assert_close(opened.source_head(features), network(x), rtol=1e-5, atol=1e-5)
    assert opened.match is not None
    assert not opened.match.new
    assert "head is new: - " in opened.match.summary()
    assert opened.source.parameters == sum(p.numel() for p in opened.body.parameters())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_body_is_rebuilt_from_plain_values(name: str) -> None:
    builder = json.loads(json.dumps({"timm": name, "arguments": FAMILIES[name][1]}))
    source = replace(find(f"random:timm:{name}", size=FAMILIES[name][0]), builder=builder)
    opened, again = open_source(source), rebuild(builder)
    again.load_state_dict(opened.body.state_dict(), strict=True)
    x = torch.rand(1, 3, *source.preprocessing.size)
    with torch.inference_mode():
        assert torch.equal(again(x), opened.body(x))


def test_random_weights_depend_on_the_seed_alone_and_change_the_digest() -> None:
    source = find("random:timm:test_resnet")
    torch.manual_seed(0)
    before = torch.rand(1)
    torch.manual_seed(0)
    first, second, third = open_source(source), open_source(source), open_source(source, seed=1)
    assert torch.equal(before, torch.rand(1))
    weight = "conv1.0.weight"
    assert torch.equal(first.body.state_dict()[weight], second.body.state_dict()[weight])
    assert not torch.equal(first.body.state_dict()[weight], third.body.state_dict()[weight])
    assert first.source.digest == second.source.digest != third.source.digest


def test_the_same_network_without_its_weights(tmp_path: Path) -> None:
    network = reference_network("test_resnet")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    source = find(f"file:{tmp_path / 'w.safetensors'}@timm:test_resnet", size=64)
    opened, random = open_source(source), open_source(source, pretrained=False)
    weight = "conv1.0.weight"
    assert torch.equal(opened.body.state_dict()[weight], network.state_dict()[weight])
    assert not torch.equal(random.body.state_dict()[weight], network.state_dict()[weight])
    assert (random.source_head, random.match, random.source.weights) == (None, None, None)
    assert random.source.digest != opened.source.digest == source.digest


@pytest.mark.filterwarnings("ignore::UserWarning")  # of timm's own loader, which is compared with
@pytest.mark.parametrize("name", ["test_vit", "swin_tiny_patch4_window7_224"])
def test_position_embeddings_are_resampled_as_by_timm(name: str, tmp_path: Path) -> None:
    network = timm.create_model(name, num_classes=5) if name == "test_vit" else reference_network(name)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    arguments = {**FAMILIES[name][1], "img_size": [96, 96]}
    if name != "test_vit":
        arguments["window_size"] = 6
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    overlay = {"file": str(tmp_path / "w.safetensors"), "num_classes": 5}
    expected = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=5, **plain).eval()
    source = find(f"file:{tmp_path / 'w.safetensors'}@timm:{name}", size=96)
    opened = open_source(replace(source, builder={"timm": name, "arguments": arguments}))
    x = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert opened.source_head is not None
        torch.testing.assert_close(opened.source_head(opened.body(x)), expected(x), rtol=1e-5, atol=1e-5)


def test_a_wrapped_half_precision_file_opens(tmp_path: Path) -> None:
    network = reference_network("test_resnet")
    state = {f"module.{n}": t.half() if t.is_floating_point() else t for n, t in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    opened = open_source(find(f"file:{tmp_path / 'w.pth'}@timm:test_resnet", size=64))
    assert opened.match is not None
    assert opened.match.stripped == "module."
    assert {p.dtype for p in opened.body.parameters()} == {torch.float32}


def test_a_source_of_which_little_loads_is_an_error_with_the_differences(tmp_path: Path) -> None:
    save_file(reference_network("test_convnext").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"(?s)Less than half.*\n\+ .*\n- "):
        open_source(find(f"file:{tmp_path / 'w.safetensors'}@timm:test_resnet", size=64))


def test_weights_of_a_body_alone_have_no_source_head(tmp_path: Path) -> None:
    save_file(reference_network("test_resnet", classes=0).state_dict(), tmp_path / "w.safetensors")
    opened = open_source(find(f"file:{tmp_path / 'w.safetensors'}@timm:test_resnet", size=64))
    assert opened.source_head is None
    assert opened.match is not None
    assert not opened.match.new


def test_a_grey_source(tmp_path: Path) -> None:
    opened = open_source(find("random:timm:test_resnet", size=64, mean=(0.5,), std=(0.5,)))
    assert opened.body(torch.rand(2, 1, 64, 64)).shape == (2, 96)


def test_a_size_that_the_network_cannot_take_is_told() -> None:
    with pytest.raises(SourceError, match="size"):
        open_source(replace(find("random:timm:vgg11", size=8), builder={"timm": "vgg11", "arguments": {"bad": 1}}))


def test_a_users_network_is_parted_at_its_last_linear_layer(nets: Path, tmp_path: Path) -> None:
    namespace: dict = {}
    exec(nets.read_text(), namespace)
    network = namespace["residual"]().eval()
    save_file({f"module.{n}": t for n, t in network.state_dict().items()}, tmp_path / "w.safetensors")
    source = find(f"file:{tmp_path / 'w.safetensors'}@{nets}:residual", trust_code=True, size=16)
    opened = open_source(source)
    x = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        assert opened.source_head is not None
        assert torch.equal(opened.source_head(opened.body(x)), network(x))
    assert opened.feature_size == 16
    assert opened.match is not None
    assert "- linear.weight (5" in opened.match.summary()
    again = rebuild(source.builder, trust_code=True)
    assert again.state_dict().keys() == opened.body.state_dict().keys()
    with pytest.raises(UsageError, match="trust"):
        rebuild(source.builder)


def test_a_backbone_that_gives_maps_is_pooled(nets: Path, tmp_path: Path) -> None:
    namespace: dict = {}
    exec(nets.read_text(), namespace)
    network = namespace["maps"]().eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    opened = open_source(find(f"file:{tmp_path / 'w.pt'}@{nets}:maps", trust_code=True, size=32))
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(opened.body(x), network(x)["deep"][1].mean((2, 3)))
    assert opened.source_head is None
    assert opened.depths == ("net.first", "net.second.0")


def test_users_functions_that_do_not_work_are_told(nets: Path, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    for function, message in [
        ("broken", "out of order"),
        ("number", "gave int"),
        ("residul", "Did you mean 'residual'"),
    ]:
        with pytest.raises((SourceError, UsageError), match=message):
            open_source(find(f"file:{tmp_path / 'w.safetensors'}@{nets}:{function}", trust_code=True))


def test_code_that_changed_after_it_was_trusted_is_refused(nets: Path, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    source = find(f"file:{tmp_path / 'w.safetensors'}@{nets}:residual", trust_code=True)
    nets.write_text(nets.read_text() + "\nprint('something else')\n")
    with pytest.raises(SourceError, match="changed"):
        open_source(source)


def test_a_saved_model_opens_as_a_source(tmp_path: Path) -> None:
    body = rebuild({"timm": "test_resnet", "arguments": {}})
    network = Network(body, new_head(96, 3, kind="mlp", hidden=8)).eval()
    folder = tmp_path / "model"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    document = {
        "name": "mine",
        "classes": ["a", "b", "c"],
        "builder": {"timm": "test_resnet", "arguments": {}},
        "head": {"kind": "mlp", "hidden": 8, "activation": "relu", "dropout": 0.0},
        "preprocessing": {"size": [64, 64], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (folder / "model.json").write_text(json.dumps(document))
    opened = open_source(find(folder))
    x = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert opened.source_head is not None
        assert torch.equal(opened.source_head(opened.body(x)), network(x))
    assert opened.match is not None
    assert not opened.match.new
