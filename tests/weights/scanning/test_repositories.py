"""Settings beside weights: what fetches or runs code, leaves the folder, or asks for the impossible."""

import json
import os
from pathlib import Path

import pytest

from transfuse.weights.scanning.findings import worst
from transfuse.weights.scanning.folders import judge

BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 8,
    "vocab_size": 30522,
    "_name_or_path": "../x",
}
SYSTEM = "{{ ''.__class__ }}"
SETTINGS = [
    ("reject", "config.json", {**BERT, "auto_map": {"AutoModel": "modeling.M"}}),
    ("reject", "config.json", {**BERT, "auto_map": {"AutoModel": "someone/else--modeling.M"}}),
    ("reject", "config.json", {"text_config": {"deep": [{"auto_map": {"AutoModel": "m.M"}}]}}),
    ("reject", "tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["tok.T", None]}}),
    ("reject", "preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "proc.E"}}),
    ("reject", "config.json", {**BERT, "custom_pipelines": {"x": {"impl": "p.P"}}}),
    ("reject", "config.json", {**BERT, "trust_remote_code": True}),
    ("reject", "config.json", {**BERT, "_attn_implementation": "someone/kernel"}),
    ("reject", "config.json", {**BERT, "_attn_implementation_internal": "someone/kernel"}),
    ("reject", "config.json", {**BERT, "attn_implementation": {"text": "someone/kernel:fn"}}),
    ("reject", "config.json", {**BERT, "hidden_size": 2**40}),
    ("reject", "config.json", {**BERT, "num_hidden_layers": 2**30}),
    ("reject", "tokenizer_config.json", {"vocab_file": "../../../etc/passwd"}),
    ("reject", "tokenizer_config.json", {"tokenizer_file": "/etc/hostname"}),
    ("reject", "tokenizer_config.json", {"chat_template": SYSTEM}),
    ("reject", "tokenizer_config.json", {"custom_chat_template": SYSTEM}),
    ("reject", "tokenizer_config.json", {"chat_template": [{"name": "default", "template": SYSTEM}]}),
    ("reject", "chat_template.json", {"chat_template": SYSTEM}),
    ("reject", "anything.json", {"prompt": SYSTEM}),
    ("reject", "model.safetensors.index.json", {"weight_map": {"a": "../../x.bin"}}),
    ("reject", "model.safetensors.index.json", {"weight_map": {"a": "/etc/passwd"}}),
    ("reject", "adapter_config.json", {"base_model_name_or_path": "../../../../etc"}),
    ("reject", "adapter_config.json", {"auto_mapping": {"base_model_class": "M", "parent_library": "os"}}),
    ("reject", "modules.json", [{"type": "evil_mod.Evil", "path": ""}]),
    ("reject", "router_config.json", {"types": {"a": "evil_mod.Evil"}}),
    ("reject", "config.json", {"activation_function": "os.abort"}),
    ("reject", "model.json", {"_target_": "os.system", "_args_": ["id"]}),
    ("reject", "hparams.json", {"_instantiator": "builtins.eval"}),
    ("reject", "model.json", {"_target_": "torch.os.system"}),
    ("reject", "model.json", {"_target_": "torch.hub.load"}),
    ("reject", "any.json", {"py/reduce": [{"py/function": "os.system"}]}),
    ("ask", "model.json", {"_target_": "torch.optim.AdamW"}),
    ("ask", "adapter_config.json", {"base_model_name_or_path": "/home/me/llama"}),
    ("ask", "config.json", {**BERT, "_attn_implementation": "my_own"}),
    (
        "ask",
        "model_index.json",
        {"_class_name": "P", "unet": ["my_unet", "Mine"], "vae": ["diffusers", "AutoencoderKL"]},
    ),
    ("accept", "config.json", {**BERT, "_attn_implementation": "flash_attention_2", "auto_map": {}}),
    ("accept", "tokenizer_config.json", {"special_tokens_map_file": "/root/.cache/x", "model_max_length": 10**30}),
    ("accept", "adapter_config.json", {"base_model_name_or_path": "meta/llama", "auto_mapping": None}),
    ("accept", "modules.json", [{"type": "sentence_transformers.models.Transformer"}]),
    ("accept", "config.json", {"activation_function": "gelu_new"}),
    ("accept", "model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
    ("accept", "trainer_state.json", {"best_model_checkpoint": "../out/checkpoint-5", "loss": float("nan")}),
    ("accept", "vocab.json", {"__class__": 1, "import": 2, "os.system": 3, "{{": 4, "{%": 5}),
]


@pytest.mark.parametrize("verdict, name, found", SETTINGS)
def test_settings(judged, verdict: str, name: str, found) -> None:
    judgement = judged(name, json.dumps(found))
    assert judgement.verdict == verdict, judgement.findings
    assert all(finding.where for finding in judgement.findings)


TEXTS = [
    ("reject", "c.yaml", 'x: !!python/object/apply:os.system ["id"]'),
    ("reject", "c.yaml", '%TAG ! tag:yaml.org,2002:python/\n---\nx: !object/apply:os.system ["id"]'),
    ("reject", "c.yml", "a: {b: [!!python/name:os.system '']}"),
    ("reject", "README.md", "---\nx: !!python/object/new:os.system ['id']\n---\n"),
    ("reject", "c.yaml", "_target_: os.system\n_args_: [id]"),
    ("reject", "c.yaml", "x: !apply:os.system [id]"),
    ("reject", "c.yaml", f'chat_template: "{SYSTEM}"'),
    (
        "reject",
        "c.yaml",
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    ),
    ("reject", "c.yaml", "a: &a [*a]"),
    ("reject", "c.yaml", "[" * 5000),
    ("reject", "MLmodel", "flavors:\n  python_function:\n    loader_module: evil\n"),
    ("reject", "chat_template.jinja", SYSTEM),
    ("reject", "a.json", "[" * 100_000),
    ("reject", "a.json", '{"a": "x", "a": "y"}'),
    ("reject", "a.json", "{'a': 1}"),
    ("reject", "a.json", "{}\n{}"),
    ("ask", "modeling.py", "import os\n"),
    ("ask", "run", "#!/bin/sh\nid\n"),
    ("ask", "c.yaml", "x: !new:torch.nn.Linear {a: 1}"),
    ("accept", "c.yaml", "a: &a {x: 1}\nb: *a\nc: !ENV x\n"),
    ("accept", "c.yaml", "{{ not yaml }}: [}\n"),
    ("accept", "MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"),
    ("accept", "README.md", "# hi\nUse `os.system` carefully. eval() is bad. !!python/name:os.system\n"),
    ("accept", "README.md", "---\nlicense: mit\n---\n# hi\n"),
    ("accept", "notes.txt", "import os; os.system('id')"),
    ("accept", "vocab.json", '{"a": 1, "a": 2}'),
    ("accept", ".gitkeep", ""),
    ("accept", "merges.txt", "#version: 0.2\nĠ t\n"),
]


@pytest.mark.parametrize("verdict, name, text", TEXTS)
def test_texts(judged, verdict: str, name: str, text: str) -> None:
    judgement = judged(name, text)
    assert judgement.verdict == verdict, judgement.findings


def folder_verdicts(path) -> dict[str, str]:
    return {Path(judgement.path).name: judgement.verdict for judgement in judge(path)}


def test_a_folder_is_judged_file_by_file_and_as_a_whole(tmp_path, made) -> None:
    home = tmp_path / "model"
    home.mkdir()
    (home / "config.json").write_text(json.dumps(BERT))
    (home / "model.safetensors").write_bytes(made.safetensors())
    judgements = list(judge(home))
    assert [judgement.kind for judgement in judgements] == ["text", "safetensors", "folder"]
    assert worst([finding for judgement in judgements for finding in judgement.findings]) == "accept"
    assert judgements[-1].size == sum(judgement.size for judgement in judgements[:-1])


def test_links_may_lead_to_the_cache_of_the_same_model_but_not_out(tmp_path, made) -> None:
    cache = tmp_path / "models--a--b"
    (cache / "blobs").mkdir(parents=True)
    snapshot = cache / "snapshots/abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs/123").write_bytes(made.safetensors())
    (snapshot / "model.safetensors").symlink_to("../../blobs/123")
    assert folder_verdicts(snapshot) == {"model.safetensors": "accept", "abc": "accept"}
    (tmp_path / "secret.txt").write_text("secret")
    (snapshot / "vocab.txt").symlink_to(tmp_path / "secret.txt")
    (snapshot / "more").symlink_to(tmp_path)
    assert folder_verdicts(snapshot) == {"model.safetensors": "accept", "vocab.txt": "reject", "abc": "reject"}


def test_names_that_deceive_are_told(tmp_path) -> None:
    (tmp_path / "model\u202egnp.txt").write_text("x")
    assert list(judge(tmp_path))[-1].findings[0].rule == "folder-name"


def test_special_files_are_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert folder_verdicts(tmp_path)["pipe"] == "reject"
