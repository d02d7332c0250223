"""Forms in which weights come: tied heads, counters, types, folders of timm, shards of torch, files of Keras."""

import json
import shutil
import zipfile

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file

from transfuse.core.errors import WeightsError
from transfuse.fusing.fuse import fuse


def llama(folder, seed, tie, both=False, near=None):
    """A Llama, tied or not; `both`: the head of a tied one is stored as well."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        tie_word_embeddings=tie,
    )  # fmt: skip
    network = transformers.LlamaForCausalLM(config)
    if near is not None:
        known = load_file(str(near / "model.safetensors"))
        network.load_state_dict({n: t + 0.01 * torch.randn_like(t) for n, t in known.items()}, strict=False)
        if tie:
            network.tie_weights()
    network.save_pretrained(folder)
    if both:
        tensors = load_file(str(folder / "model.safetensors"))
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def tensors_of(folder):
    return load_file(str(folder / "model.safetensors"))


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())


def told(report):
    return {
        row["tensor"]: row
        for section in report.sections
        if section.title == "Every tensor"
        for row in section.content["rows"]
    }


HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


def test_parents_that_are_tied_give_a_tied_result(tmp_path):
    a = llama(tmp_path / "a", 0, tie=True, both=True)
    b = llama(tmp_path / "b", 1, tie=True, near=a)
    report = fuse(a, b, out=tmp_path / "out")
    assert HEAD not in tensors_of(tmp_path / "out") and settings_of(tmp_path / "out")["tie_word_embeddings"] is True
    assert told(report)[HEAD]["fate"] == "dropped" and "tied to" in told(report)[HEAD]["why"]
    network = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    assert network.lm_head.weight is network.model.embed_tokens.weight
    torch.testing.assert_close(network.lm_head.weight.data, (tensors_of(a)[EMBEDDING] + tensors_of(b)[EMBEDDING]) / 2)


def test_a_tied_and_an_untied_parent_give_an_untied_result(tmp_path):
    a = llama(tmp_path / "a", 0, tie=True)
    b = llama(tmp_path / "b", 1, tie=False, near=a)
    save_file({**tensors_of(b), HEAD: tensors_of(a)[EMBEDDING] + 0.1}, str(b / "model.safetensors"))
    report = fuse(a, b, out=tmp_path / "out")
    out = tensors_of(tmp_path / "out")
    torch.testing.assert_close(out[HEAD], (tensors_of(a)[EMBEDDING] + tensors_of(b)[HEAD]) / 2)
    assert settings_of(tmp_path / "out")["tie_word_embeddings"] is False
    assert any("the result is untied" in sentence for sentence in report.summary)
    network = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(network.lm_head.weight.data, out[HEAD])


def test_a_head_that_only_looks_tied_in_the_configuration_is_believed_by_its_numbers(tmp_path):
    a = llama(tmp_path / "a", 0, tie=True, both=True)
    b = llama(tmp_path / "b", 1, tie=True, near=a)
    save_file({**tensors_of(b), HEAD: tensors_of(b)[EMBEDDING] + 1}, str(b / "model.safetensors"))
    fuse(a, b, out=tmp_path / "out", force=True)
    assert settings_of(tmp_path / "out")["tie_word_embeddings"] is False
    torch.testing.assert_close(tensors_of(tmp_path / "out")[HEAD], (tensors_of(a)[HEAD] + tensors_of(b)[HEAD]) / 2)


def test_a_network_without_a_head_is_no_tied_one(tmp_path):
    a = llama(tmp_path / "a", 0, tie=False)
    b = llama(tmp_path / "b", 1, tie=False, near=a)
    save_file({n: t for n, t in tensors_of(b).items() if n != HEAD}, str(b / "model.safetensors"))
    with pytest.raises(WeightsError, match=r"must have the tensor 'lm_head\.weight'"):
        fuse(a, b, out=tmp_path / "out")


def test_embeddings_that_share_one(tmp_path):
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=12, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    tensors = tensors_of(tmp_path / "b")
    assert "encoder.embed_tokens.weight" not in tensors
    copies = {
        n: tensors["shared.weight"].clone() for n in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    }
    save_file({**tensors, **copies}, str(tmp_path / "b" / "model.safetensors"))
    for parents in ("ab", "ba"):
        fuse(*(tmp_path / name for name in parents), out=tmp_path / parents)
        assert tensors_of(tmp_path / parents).keys() == tensors.keys()


def test_untied_parents_stay_as_they_are(tmp_path):
    a = llama(tmp_path / "a", 0, tie=False)
    b = llama(tmp_path / "b", 1, tie=False, near=a)
    fuse(a, b, out=tmp_path / "out")
    torch.testing.assert_close(tensors_of(tmp_path / "out")[HEAD], (tensors_of(a)[HEAD] + tensors_of(b)[HEAD]) / 2)


def timm_folder(folder, seed, near=None, name="model.safetensors"):
    """A folder as timm writes it for the hub."""
    torch.manual_seed(seed)
    network = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if near is not None and tensor.is_floating_point():
                tensor.copy_(near[key] + 0.02 * torch.randn_like(tensor))
            if "running_var" in key:
                tensor.mul_(1 + 0.5 * torch.rand_like(tensor)).abs_()
            if "num_batches" in key:
                tensor.fill_(100 * (seed + 1))
    folder.mkdir()
    state = network.state_dict()
    save_file(state, str(folder / name)) if name.endswith("safetensors") else torch.save(state, folder / name)
    config = {"architecture": "test_resnet", "num_classes": 3, "pretrained_cfg": network.pretrained_cfg}
    (folder / "config.json").write_text(json.dumps(config))
    return folder, state


@pytest.mark.parametrize("method", ["linear", "ties", "dare_ties", "slerp", "task_arithmetic", "model_stock"])
def test_networks_with_batch_normalisation_and_folders_of_timm(tmp_path, method):
    base, start = timm_folder(tmp_path / "base", 0)
    a, x = timm_folder(tmp_path / "a", 1, near=start)
    b, y = timm_folder(tmp_path / "b", 2, near=start, name="pytorch_model.bin")
    parents = (b,) if method == "slerp" else (a, b)
    fuse(*parents, base=a if method == "slerp" else base, method=method, out=tmp_path / "out")
    out = tensors_of(tmp_path / "out")
    counter = next(name for name in out if "num_batches_tracked" in name)
    assert int(out[counter]) in (100, 200, 300)
    for name in (n for n in out if "running_" in n):
        torch.testing.assert_close(out[name], (x[name] + y[name]) / 2)
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert network(torch.randn(1, 3, 64, 64)).isfinite().all()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, out[name])


def test_counters_that_only_some_parents_have_are_no_error(tmp_path):
    a, x = timm_folder(tmp_path / "a", 1)
    b, _ = timm_folder(tmp_path / "b", 2, near=x)
    without = {name: tensor for name, tensor in x.items() if "num_batches" not in name}
    save_file(without, str(a / "model.safetensors"))
    report = fuse(a, b, out=tmp_path / "out")
    assert set(tensors_of(tmp_path / "out")) == set(without)
    assert any(row["fate"] == "dropped" and "num_batches" in name for name, row in told(report).items())
    fuse(b, a, out=tmp_path / "other")
    assert set(tensors_of(tmp_path / "other")) == set(x)


def test_types_are_mixed(tmp_path):
    torch.manual_seed(0)
    known = torch.randn(20, 30)
    kinds = ("float8_e4m3fn", "float16", "bfloat16", "float32")
    for kind in kinds:
        tensors = {"a.weight": (known + 0.05 * torch.randn(20, 30)).to(getattr(torch, kind)), "mask": known > 0}
        tensors |= {"ids": torch.arange(4, dtype=torch.uint8), "empty": torch.zeros(0, 3)}
        save_file(tensors, str(tmp_path / f"{kind}.safetensors"))
    expected = {("float8_e4m3fn", "float8_e4m3fn"): "float8_e4m3fn", ("float8_e4m3fn", "bfloat16"): "bfloat16"}
    expected |= {("float16", "bfloat16"): "float32", ("float16", "float32"): "float32"}
    for (one, two), kind in expected.items():
        out = tmp_path / f"{one} {two}"
        fuse(tmp_path / f"{one}.safetensors", tmp_path / f"{two}.safetensors", out=out)
        found = tensors_of(out)
        parents = [load_file(str(tmp_path / f"{name}.safetensors"))["a.weight"].float() for name in (one, two)]
        assert found["a.weight"].dtype == getattr(torch, kind) and found["mask"].dtype == torch.bool
        assert torch.equal(found["a.weight"].float(), (sum(parents) / 2).to(getattr(torch, kind)).float())
    fuse(*(tmp_path / f"{kind}.safetensors" for kind in kinds), out=tmp_path / "out", method="ties", density=0.5,
         base=tmp_path / "float32.safetensors", dtype="float8_e4m3fn")  # fmt: skip
    assert tensors_of(tmp_path / "out")["a.weight"].dtype == torch.float8_e4m3fn


def test_shards_of_torch_files(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    tensors = {f"layers.{i}.weight": torch.randn(6, 5) for i in range(3)}
    index = {}
    for i, (name, tensor) in enumerate(tensors.items()):
        index[name] = f"pytorch_model-{i + 1:05}-of-00003.bin"
        torch.save({name: tensor}, folder / index[name])
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    save_file({name: tensor + 0.1 for name, tensor in tensors.items()}, str(tmp_path / "b.safetensors"))
    fuse(folder, tmp_path / "b.safetensors", out=tmp_path / "out")
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensors_of(tmp_path / "out")[name], tensor + 0.05)


def test_files_of_keras_are_refused_with_what_to_do(tmp_path):
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("model.weights.h5", (tmp_path / "model.h5").read_bytes())
        archive.writestr("config.json", "{}")
    for path in (tmp_path / "model.h5", tmp_path / "model.keras", tmp_path):
        with pytest.raises(WeightsError, match=r"transfuse convert"):
            fuse(path, path, out=tmp_path / "elsewhere" / "out")
