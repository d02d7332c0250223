"""Adapters of LoRA against peft itself: folded into their base, and merged as adapters."""

import json
import warnings

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from transfuse.core.errors import UsageError, WeightsError
from transfuse.fusing.fuse import fuse
from transfuse.fusing.inputs.adapters import read_adapter
from transfuse.fusing.verify import verify

IDS = torch.tensor([[1, 5, 9, 20], [3, 4, 30, 2]])


@pytest.fixture(autouse=True)
def quiet_peft():
    """peft warns of what these tests do on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", FutureWarning)  # of transformers, about what peft calls
        yield


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A Llama of two layers whose weights are large enough for adapters to be felt."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        initializer_range=0.3, attention_bias=True,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base") / "llama"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """A GPT-2: weights stored as inputs x outputs, the head tied to the embedding."""
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, initializer_range=0.3, embd_pdrop=0.0,
        attn_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("base") / "gpt"
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def adapter(base, folder, seed=0, **settings):
    """An adapter of random numbers, saved by peft."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings}
    model = peft.get_peft_model(opened(base), peft.LoraConfig(task_type="CAUSAL_LM", **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def opened(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def answers(model):
    with torch.no_grad():
        return model(IDS).logits


def folded_by_peft(base, folder):
    return peft.PeftModel.from_pretrained(opened(base), folder).merge_and_unload().eval()


LLAMAS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"layers.1.mlp.down_proj": 2}, "alpha_pattern": {"q_proj": 16}},
    "whole modules": {"modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["embed_tokens", "v_proj"]},
    "biases": {"bias": "lora_only"},
    "bias of B": {"lora_bias": True, "target_modules": ["q_proj"]},
    "dora": {"use_dora": True},
}


@pytest.mark.parametrize("name", LLAMAS)
def test_a_folded_adapter_answers_as_peft_does(llama, tmp_path, name):
    folder = adapter(llama, tmp_path / "a", **LLAMAS[name])
    report = fuse(folder, base=llama, out=tmp_path / "out")
    assert any("is folded into" in sentence for sentence in report.summary)
    expected = folded_by_peft(llama, folder)
    torch.testing.assert_close(answers(opened(tmp_path / "out")), answers(expected), rtol=1e-4, atol=1e-5)
    assert (answers(expected) - answers(opened(llama))).abs().max() > 0.1
    assert "Everything" in verify(tmp_path / "out").summary[0]


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"target_modules": ["c_attn", "lm_head"]}])
def test_transposed_weights_and_a_tied_head(gpt, tmp_path, settings):
    settings = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True, **settings}
    settings["fan_in_fan_out"] = "lm_head" not in settings["target_modules"]
    if not settings["fan_in_fan_out"]:
        settings["target_modules"] = ["lm_head"]
    folder = adapter(gpt, tmp_path / "a", **settings)
    fuse(folder, base=gpt, out=tmp_path / "out")
    active = peft.PeftModel.from_pretrained(opened(gpt), folder).eval()  # a tied head is not merged by peft
    torch.testing.assert_close(answers(opened(tmp_path / "out")), answers(active), rtol=1e-4, atol=1e-5)


def test_convolutions(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    (tmp_path / "base").mkdir()
    save_file(network.state_dict(), str(tmp_path / "base" / "model.safetensors"))
    for name, dora in (("plain", False), ("dora", True)):
        model = peft.get_peft_model(network, peft.LoraConfig(r=2, target_modules=["0"], use_dora=dora))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.rand_like(parameter) * parameter.requires_grad)
        model.save_pretrained(tmp_path / name)
        fuse(tmp_path / name, base=tmp_path / "base", out=tmp_path / f"{name} out")
        network = model.merge_and_unload()
        found = load_file(str(tmp_path / f"{name} out" / "model.safetensors"))
        torch.testing.assert_close(found["0.weight"], network.state_dict()["0.weight"])
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2))
        network.load_state_dict(load_file(str(tmp_path / "base" / "model.safetensors")))


def test_every_method_takes_adapters_like_full_fine_tunes(llama, tmp_path):
    folders = [adapter(llama, tmp_path / name, seed=i) for i, name in enumerate("ab")]
    whole = []
    for i, folder in enumerate(folders):
        folded_by_peft(llama, folder).save_pretrained(tmp_path / f"full{i}")
        whole.append(tmp_path / f"full{i}")
    for method in ("ties", "dare_ties", "slerp", "model_stock"):
        options = {"base": llama, "method": method, "force": True}
        parents = (folders[:1], whole[:1]) if method == "slerp" else (folders, whole)
        fuse(*parents[0], out=tmp_path / f"{method} adapters", **options)
        fuse(*parents[1], out=tmp_path / f"{method} whole", **options)
        ours, wanted = (
            load_file(str(tmp_path / f"{method} {kind}" / "model.safetensors")) for kind in ("adapters", "whole")
        )
        for name, tensor in wanted.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5)


def test_mergekits_plus_means_an_adapter(llama, tmp_path):
    folder = adapter(llama, tmp_path / "a")
    (tmp_path / "recipe.yml").write_text(f"merge_method: linear\nmodels:\n  - model: {llama}+{folder}\n")
    fuse(recipe=tmp_path / "recipe.yml", out=tmp_path / "out")
    torch.testing.assert_close(answers(opened(tmp_path / "out")), answers(folded_by_peft(llama, folder)))
    assert "Everything" in verify(tmp_path / "out").summary[0]
    tensors = load_file(str(folder / "adapter_model.safetensors"))
    changed = {name: tensor + 1 for name, tensor in tensors.items()}
    save_file(changed, str(folder / "adapter_model.safetensors"))
    assert any("differs" in line for line in verify(tmp_path / "out").summary)


def combined(base, folders, weights, **options):
    """What peft makes of several adapters at once."""
    model = peft.PeftModel.from_pretrained(opened(base), folders[0], adapter_name="0")
    for i, folder in enumerate(folders[1:], start=1):
        model.load_adapter(folder, adapter_name=str(i))
    model.add_weighted_adapter([str(i) for i in range(len(folders))], list(weights), "both", **options)
    model.set_adapter("both")
    return answers(model.eval())


@pytest.mark.parametrize("settings", [{}, {"target_modules": ["embed_tokens", "v_proj"]}, {"bias": "lora_only"}])
def test_adapters_side_by_side_are_exact_and_peft_opens_them(llama, tmp_path, settings):
    folders = [adapter(llama, tmp_path / "a", **settings), adapter(llama, tmp_path / "b", seed=1, r=2, **settings)]
    report = fuse(*folders, out=tmp_path / "out", weight=[0.7, 0.3])
    assert "exact" in report.summary[0]
    model = peft.PeftModel.from_pretrained(opened(llama), tmp_path / "out").eval()
    if "bias" not in settings:  # which peft does not combine
        expected = combined(llama, folders, (0.7, 0.3), combination_type="cat")
        torch.testing.assert_close(answers(model), expected, rtol=1e-4, atol=1e-5)
    fuse(*folders, base=llama, out=tmp_path / "folded", weight=[0.7, 0.3])
    torch.testing.assert_close(answers(model), answers(opened(tmp_path / "folded")), rtol=1e-4, atol=1e-5)
    assert "Everything" in verify(tmp_path / "out").summary[0]
    with pytest.raises(UsageError, match="must be new"):
        fuse(*folders, out=tmp_path / "out")


def test_adapters_of_different_modules_with_whole_ones(llama, tmp_path):
    a = adapter(llama, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["lm_head"])
    b = adapter(llama, tmp_path / "b", seed=1, r=2, target_modules=["q_proj", "up_proj"], modules_to_save=["lm_head"])
    fuse(a, b, out=tmp_path / "out")
    model = peft.PeftModel.from_pretrained(opened(llama), tmp_path / "out").merge_and_unload()
    fuse(a, b, base=llama, out=tmp_path / "folded", force=True)
    for name, tensor in opened(tmp_path / "folded").state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("method", "options"), [("linear", {}), ("ties", {"density": 0.5})])
def test_a_rank_gives_the_nearest_and_its_error_is_told(llama, tmp_path, method, options):
    folders = [adapter(llama, tmp_path / "a"), adapter(llama, tmp_path / "b", seed=1)]
    report = fuse(*folders, out=tmp_path / "out", rank=3, method=method, **options)
    found = read_adapter(tmp_path / "out")
    parents = [read_adapter(folder) for folder in folders]
    lost = total = 0.0
    for module, pair in found.pairs.items():
        deltas = [p.pairs[module].scale * p.pairs[module].left_OR @ p.pairs[module].right_RI for p in parents]
        if method == "linear":
            delta = sum(deltas) / 2
        else:  # by hand: the larger half of each, the sign of the sum, the mean of what agrees
            kept = [torch.where(d.abs() >= d.abs().flatten().median(), d, 0 * d) for d in deltas]
            sign = sum(kept).sign()
            agreed = [torch.where(k.sign() == sign, k, 0 * k) for k in kept]
            delta = sum(agreed) / sum((a != 0).float() for a in agreed).clamp(min=1)
        u, s, v = torch.linalg.svd(delta, full_matrices=False)
        nearest = u[:, :3] @ torch.diag(s[:3]) @ v[:3]
        if method == "linear":
            torch.testing.assert_close(pair.scale * pair.left_OR @ pair.right_RI, nearest, rtol=1e-3, atol=1e-5)
        lost, total = lost + float(s[3:].square().sum()), total + float(s.square().sum())
    assert "Cut to rank 3" in report.summary[0] and report.warnings[0].code == "rank-too-low"
    told = float(report.summary[0].split("error ")[1].split()[0])
    assert told == pytest.approx((lost / total) ** 0.5, rel=0.01 if method == "linear" else 0.15)


def test_what_cannot_be_folded_is_refused_by_name(llama, tmp_path):
    folder = adapter(llama, tmp_path / "a")
    with pytest.raises(UsageError, match="must go with the base"):
        fuse(folder, llama, out=tmp_path / "out")
    with pytest.raises(UsageError, match="must be given a `rank`"):
        fuse(folder, folder, method="ties", out=tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be asked"):
        fuse(folder, folder, on="photos", out=tmp_path / "out")
    with pytest.raises(UsageError, match="merged without a base"):
        fuse(llama, llama, rank=2, out=tmp_path / "out")
    known = json.loads((folder / "adapter_config.json").read_text())
    for changed, told in (
        ({"peft_type": "IA3"}, "must be LORA"),
        ({"init_lora_weights": "pissa"}, "changed the base"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"use_dora": True}, "no magnitudes"),
        ({"lora_alpha": "much"}, "must be numbers"),
        ({"alpha_pattern": {"(": 3}}, "must be numbers"),
        ({"modules_to_save": 3}, "must have a list"),
    ):
        (folder / "adapter_config.json").write_text(json.dumps({**known, **changed}))
        with pytest.raises(WeightsError, match=told):
            fuse(folder, base=llama, out=tmp_path / "out")
    dora = adapter(llama, tmp_path / "d", use_dora=True)
    with pytest.raises(WeightsError, match="DoRA, whose lengths do not add up"):
        fuse(dora, dora, out=tmp_path / "out")


def test_a_broken_adapter_is_refused(llama, tmp_path):
    folder = adapter(llama, tmp_path / "a")
    file = folder / "adapter_model.safetensors"
    whole = file.read_bytes()
    tensors = load_file(str(file))
    first = next(name for name in tensors if "lora_A" in name)
    for changed, told in (
        ({n: t for n, t in tensors.items() if n != first}, "lacks one"),
        ({**tensors, first: torch.zeros(0, 16)}, "A or B is none"),
        ({**tensors, first: torch.zeros(4, 17)}, "Give the base that the adapter was trained on"),
        ({**tensors, first: torch.full_like(tensors[first], float("nan"))}, "finite"),
        ({**tensors, first.replace("lora_A", "lora_C"): tensors[first].clone()}, "not a part of LoRA"),
        ({**tensors, "base_model.model.model.strange.weight": torch.zeros(2)}, "which '.*a' trained whole"),
    ):
        save_file(changed, str(file))
        with pytest.raises(WeightsError, match=told):
            fuse(folder, base=llama, out=tmp_path / "out")
    for data in (whole[:-40], whole[:30], b""):
        file.write_bytes(data)
        with pytest.raises(WeightsError):
            fuse(folder, base=llama, out=tmp_path / "out")
    file.unlink()
    with pytest.raises(WeightsError, match="only its configuration"):
        fuse(folder, base=llama, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_base_is_refused(llama, gpt, tmp_path):
    with pytest.raises(WeightsError, match="must have 'model"):
        fuse(adapter(llama, tmp_path / "a"), base=gpt, out=tmp_path / "out")
