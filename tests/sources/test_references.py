"""What references mean, and what is said about those that mean nothing."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from transfuse.core.digests import of_file
from transfuse.core.errors import (
    ModelError,
    NotCached,
    SourceError,
    UnknownName,
    UnsafeFile,
    UsageError,
    WeightsError,
)
from transfuse.sources import builtin
from transfuse.sources.references import find


def weights(folder: Path, name: str = "test_resnet", **arguments: object) -> Path:
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name, **arguments).state_dict(), path)
    return path


def test_what_timm_knows_about_pictures_and_licence_is_used() -> None:
    source = find("random:timm:mobilenetv3_small_100")
    cfg = timm.models.get_pretrained_cfg("mobilenetv3_small_100")
    assert source.preprocessing.mean == cfg.mean == (0.485, 0.456, 0.406)
    assert source.preprocessing.size == (224, 224)
    assert source.preprocessing.known
    assert source.builder == {"timm": "mobilenetv3_small_100", "arguments": {}}
    assert (source.origin, source.weights) == ("timm", None)


def test_a_tag_chooses_the_preprocessing_of_its_weights() -> None:
    assert find("random:timm:vit_base_patch16_224.augreg_in21k").preprocessing.mean == (0.5, 0.5, 0.5)
    assert find("random:timm:vit_base_patch16_clip_224.openai").preprocessing.mean[0] == pytest.approx(0.48145466)


def test_what_the_user_says_is_used_instead() -> None:
    source = find("random:timm:test_vit", size=64, mean=(0, 0, 0), std=(1, 1, 1), range=255)
    assert source.preprocessing.size == (64, 64)
    assert source.preprocessing.range == 255
    assert source.builder["arguments"] == {"img_size": [64, 64]}
    assert find("random:timm:test_resnet", size=64).builder["arguments"] == {}
    assert find("random:timm:test_resnet", mean=(0.5,), std=(0.5,)).builder["arguments"] == {"in_chans": 1}


@pytest.mark.parametrize("bad", [{"std": (0, 1, 1)}, {"mean": (0.1, 0.2)}, {"size": 0}, {"range": -1}])
def test_impossible_preprocessing_is_refused(bad: dict) -> None:
    with pytest.raises(UsageError):
        find("random:timm:test_resnet", **bad)


def test_a_source_is_found_already() -> None:
    source = find("random:timm:test_resnet")
    assert find(source) is source


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Near: resnet18"):
        find("timm:resnt18")
    with pytest.raises(UnknownName, match="a1_in1k"):
        find("timm:resnet18.nonsense")
    with pytest.raises(UnknownName, match="builtin"):
        find("bultin:thing")


def test_without_a_network_the_error_says_what_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotCached, match=r"(?s)HF_HUB_OFFLINE.*Cached:.*'builtin'.*file:WEIGHTS.*random:timm:resnet18"):
        find("timm:resnet18")


def test_a_network_without_weights_on_the_hub_is_told() -> None:
    name = next(n for n in timm.list_models("res*") if not timm.models.get_pretrained_cfg(n).hf_hub_id)
    with pytest.raises(SourceError, match=f"random:timm:{name}"):
        find(f"timm:{name}")


def test_a_file_for_a_network_of_timm(tmp_path: Path) -> None:
    (tmp_path / "LICENSE.txt").write_text("MIT License\n\nCopyright\n")
    path = weights(tmp_path)
    source = find(f"file:{path}@timm:test_resnet")
    assert (source.origin, source.weights, source.name) == ("file", str(path), "test_resnet")
    assert source.licence == "MIT License (LICENSE.txt)"
    assert len(source.digest) == 64


def test_the_digest_depends_on_builder_and_weights_not_on_the_place(tmp_path: Path) -> None:
    path = weights(tmp_path)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / path.name
    copy.write_bytes(path.read_bytes())
    first = find(f"file:{path}@timm:test_resnet")
    assert find(f"file:{copy}@timm:test_resnet").digest == first.digest
    assert find(f"file:{copy}@timm:test_convnext").digest != first.digest
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert find(f"file:{copy}@timm:test_resnet").digest != first.digest


def test_a_weights_file_alone_says_the_form_and_guesses(tmp_path: Path) -> None:
    path = weights(tmp_path)
    for reference in (str(path), f"file:{path}"):
        with pytest.raises(UsageError, match=r"(?s)@timm:NAME.*@timm:test_resnet"):
            find(reference)


def test_a_users_code_runs_only_when_trusted(nets: Path, tmp_path: Path) -> None:
    path = weights(tmp_path)
    with pytest.raises(UsageError, match="--trust-code"):
        find(f"file:{path}@{nets}:residual")
    source = find(f"file:{path}@{nets}:residual", trust_code=True, size=32)
    assert source.builder == {"function": f"{nets}:residual", "digest": of_file(nets), "input": [3, 32, 32]}
    assert not source.preprocessing.known


def test_a_users_code_must_have_a_place(tmp_path: Path) -> None:
    path = weights(tmp_path)
    for place, message in [("nowhere.py:f", "no file"), ("no.such.module:f", "no Python module"), ("nets.py", "like")]:
        with pytest.raises(UsageError, match=message):
            find(f"file:{path}@{place}", trust_code=True)


def test_files_that_are_no_weights_are_refused_early(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"\x80\x04N.")
    with pytest.raises(UnsafeFile):
        find(f"file:{tmp_path / 'w.pt'}@timm:test_resnet")
    with pytest.raises(WeightsError, match="cannot be read"):
        find(f"file:{tmp_path / 'none.pt'}@timm:test_resnet")


@pytest.mark.parametrize("text", ["nowhere", "timm:", "random:test_resnet", ""])
def test_other_texts_say_the_forms(text: str) -> None:
    with pytest.raises((SourceError, UsageError, ModelError), match="builtin"):
        find(text)


def test_a_bare_name_of_timm_is_guessed() -> None:
    with pytest.raises(UsageError, match="Did you mean 'timm:resnet18'"):
        find("resnet18")


def test_a_builtin_is_found_by_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin.card_of, "__defaults__", (tmp_path,))
    with pytest.raises(SourceError, match="No built-in network is installed"):
        find("builtin")
    path = weights(tmp_path, num_classes=0)
    card = {
        "name": "test_resnet",
        "architecture": "test_resnet",
        "licence": "Apache-2.0",
        "parameters": 1,
        "sha256": of_file(path),
        "preprocessing": {"size": 64, "mean": [0.5] * 3, "std": [0.25] * 3, "range": 1.0, "interpolation": "bilinear"},
    }
    (tmp_path / "test_resnet.json").write_text(json.dumps(card))
    source = find("builtin")
    assert source == find("builtin:test_resnet")
    assert (source.origin, source.licence, source.reference) == ("builtin", "Apache-2.0", "builtin:test_resnet")
    assert source.preprocessing.size == (64, 64)
    assert source.preprocessing.interpolation == "bilinear"
    with pytest.raises(UnknownName, match="Known: test_resnet"):
        find("builtin:other")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="card"):
        find("builtin")


def saved_model(folder: Path, builder: dict) -> Path:
    folder.mkdir()
    document = {
        "schema": 1,
        "name": "mine",
        "kind": "single-label",
        "classes": ["a", "b"],
        "builder": builder,
        "head": {"kind": "linear"},
        "preprocessing": {"size": [32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "range": 1.0, "known": True},
        "licence": "MIT",
    }
    (folder / "model.json").write_text(json.dumps(document))
    save_file({"body.x": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def test_a_saved_model_is_a_source(tmp_path: Path) -> None:
    folder = saved_model(tmp_path / "model", {"timm": "test_resnet", "arguments": {}})
    source = find(folder)
    assert (source.origin, source.name, source.licence) == ("model", "mine", "MIT")
    assert source.preprocessing.size == (32, 32)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        find(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(ModelError, match="description"):
        find(folder)
    (folder / "model.json").unlink()
    with pytest.raises(ModelError, match=r"no model\.json"):
        find(folder)


def test_a_saved_model_of_a_users_network_needs_trust_again(tmp_path: Path, nets: Path) -> None:
    builder = {"function": f"{nets}:residual", "digest": of_file(nets), "input": [3, 32, 32]}
    folder = saved_model(tmp_path / "model", builder)
    with pytest.raises(UsageError, match="--trust-code"):
        find(folder)
    assert find(folder, trust_code=True).builder == builder
