"""Networks that read texts: references, tokens, pooling, layers, against transformers itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.conftest import sentences
from tokenizers import Tokenizer

from transfuse.core.errors import DataError, NotCached, SourceError, UsageError
from transfuse.core.nouns import TextPreprocessing
from transfuse.sources import inputs, staging
from transfuse.sources.depths import deep
from transfuse.sources.extraction import features
from transfuse.sources.opening import open_source, rebuild
from transfuse.sources.references import find
from transfuse.sources.texts import inputs as text_inputs
from transfuse.sources.texts.networks import pool
from transfuse.tasks.limits import Limits
from transfuse.tasks.texts.opening import open_texts

TEXTS, LABELS = sentences(10)


def expected_states(folder: Path, text: str, layer: int = -1) -> torch.Tensor:
    """Hidden states (T, D) of one text alone, by transformers' own loading, with its final norm at the end."""
    network = transformers.AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids])
    with torch.inference_mode():
        return network(input_ids=ids, output_hidden_states=True).hidden_states[layer][0]


@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max"])
def test_features_are_those_of_transformers_pooled(tiny_networks: dict[str, Path], kind: str, pooling: str) -> None:
    source = find(tiny_networks[kind], pooling=pooling)
    opened = open_source(source)
    with torch.inference_mode():
        found_BD = opened.body(inputs.tensor_of(TEXTS[:6], source.preprocessing))
    for text, found_D in zip(TEXTS, found_BD, strict=False):
        states_TD = expected_states(tiny_networks[kind], text)
        ways = {"mean": states_TD.mean(0), "cls": states_TD[0], "last": states_TD[-1], "max": states_TD.amax(0)}
        torch.testing.assert_close(found_D, ways[pooling], atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_depths(tiny_networks: dict[str, Path], kind: str) -> None:
    opened = open_source(find(tiny_networks[kind]))
    assert opened.depths == ("embeddings", "layer1")
    part = staging.at_depths(opened.body, ("layer1", "final"))
    with torch.inference_mode():
        middle, _ = part(inputs.tensor_of([TEXTS[0]], opened.source.preprocessing))
    torch.testing.assert_close(
        middle[0], expected_states(tiny_networks[kind], TEXTS[0], 1).mean(0), atol=2e-6, rtol=1e-5
    )
    several = deep(opened, ("layer1", "final"))
    assert several.feature_size == 32
    again = rebuild(several.source.builder)
    again.load_state_dict(several.body.state_dict())
    x = inputs.tensor_of(TEXTS[:3], opened.source.preprocessing)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), several.body(x))


def test_layers_are_ordered_from_input_to_output(tiny_networks: dict[str, Path]) -> None:
    for kind, first in (("bert", "net.embeddings."), ("llama", "net.embed_tokens.")):
        stages = staging.stage_of_parameter(open_source(find(tiny_networks[kind])).body)
        assert {stage for name, stage in stages.items() if name.startswith(first)} == {0}
        assert {stage for name, stage in stages.items() if ".1." in name} == {2}
    assert stages["net.norm.weight"] == 3


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=60), st.integers(1, 9))
def test_blocks_hold_every_text_once(tiny_networks: dict[str, Path], texts: list[str], size: int) -> None:
    preprocessing = find(tiny_networks["bert"]).preprocessing
    blocks = inputs.blocks(texts, preprocessing, size)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(len(texts)))
    assert all(len(block) <= 8 * size for block in blocks)
    lengths = [len(texts[place].split()) for block in blocks for place in block.tolist()]
    assert lengths == sorted(lengths, reverse=True)


def test_extraction_by_length_gives_each_text_its_own_features(tiny_networks: dict[str, Path]) -> None:
    source, task = find(tiny_networks["llama"]), open_texts((TEXTS, LABELS))
    found = features(source, task, "train")
    body = open_source(source).body
    for item, x_D in zip(task.splits["train"].items, found.x_ND, strict=True):
        with torch.inference_mode():
            alone = body(inputs.tensor_of([item], source.preprocessing))[0]
        np.testing.assert_allclose(x_D, alone.numpy(), atol=2e-6)


@pytest.mark.parametrize(("cut", "kept"), [("end", ["the", "rain"]), ("start", ["sun", "cloud"])])
def test_long_texts_are_cut_by_the_rule_and_told(tiny_networks: dict[str, Path], cut: str, kept: list[str]) -> None:
    preprocessing = find(tiny_networks["bert"], max_length=4, cut=cut).preprocessing
    assert isinstance(preprocessing, TextPreprocessing)
    words = Tokenizer.from_file(preprocessing.tokenizer)
    ids = text_inputs.tokens_of(["the rain is sun cloud"], preprocessing)[0].tolist()
    assert [words.id_to_token(one) for one in ids] == ["[CLS]", *kept, "[SEP]"]
    notes = inputs.notes_on(["the rain is sun cloud", "rain", "the rain", "a sun"], preprocessing)
    assert notes[0].code == "texts-cut" and notes[0].message.startswith("25.0% of the texts are longer than 4 tokens")
    assert not inputs.notes_on(["rain"], preprocessing)


def test_a_megabyte_and_odd_characters(tiny_networks: dict[str, Path]) -> None:
    preprocessing = find(tiny_networks["bert"]).preprocessing
    x = inputs.tensor_of(["rain " * 200_000, "", "\x00", "half \ud800 pair"], preprocessing)
    assert x.shape == (4, 64) and (x[1] >= 0).sum() == 2


def test_a_prompt_stands_before_every_text(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "prompted"
    shutil.copytree(tiny_networks["bert"], folder)
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": {"query": "the rain "}}))
    for prompt in ("query", "the rain "):
        preprocessing = find(folder, prompt=prompt).preprocessing
        plain = find(folder).preprocessing
        assert inputs.tensor_of(["sun"], preprocessing).equal(inputs.tensor_of(["the rain sun"], plain))


def test_a_sentence_encoder_says_how_it_pools(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "sentence"
    shutil.copytree(tiny_networks["bert"], folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 9}))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    source = find(folder)
    assert (source.builder["pooling"], source.preprocessing.max_length, source.licence) == ("cls", 9, "mit")
    with torch.inference_mode():
        found_BD = open_source(source).body(inputs.tensor_of(TEXTS[:3], source.preprocessing))
    torch.testing.assert_close(found_BD.norm(dim=1), torch.ones(3))


def test_weights_pass_the_gate_and_are_told(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(tiny_networks["bert"], folder)
    tensors = load_file(folder / "model.safetensors")
    dropped = "encoder.layer.1.output.dense.weight"
    save_file({f"bert.{k}": v for k, v in tensors.items() if k != dropped}, folder / "model.safetensors")
    match = open_source(find(folder)).match
    assert match is not None and list(match.new) == [dropped]
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    with pytest.raises(SourceError.__mro__[1], match="pickle"):
        open_source(find(folder))


def test_sharded_weights(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "net"
    shutil.copytree(tiny_networks["bert"], folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in halves.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    x = inputs.tensor_of(TEXTS[:2], find(folder).preprocessing)
    with torch.inference_mode():
        whole, parts = (open_source(find(place)).body(x) for place in (tiny_networks["bert"], folder))
    torch.testing.assert_close(whole, parts)
    (folder / "b.safetensors").unlink()
    with pytest.raises(SourceError, match=r"b\.safetensors"):
        find(folder)


def test_random_weights_are_those_of_the_seed(tiny_networks: dict[str, Path]) -> None:
    source = find(f"random:hf:{tiny_networks['llama']}")
    first, same, other = (open_source(source, seed=seed).body.state_dict() for seed in (0, 0, 1))
    name = "net.layers.0.mlp.up_proj.weight"
    assert first[name].equal(same[name]) and not first[name].equal(other[name])
    assert source.weights is None and source.digest != find(tiny_networks["llama"]).digest


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"max_length": 3}, UsageError, "at least 4"),
        ({"max_length": 65}, UsageError, "at most 64"),
        ({"pooling": "sum"}, UsageError, "mean, cls, last, max"),
        ({"size": 32}, UsageError, "is for sources of pictures"),
    ],
)
def test_options_that_do_not_fit(tiny_networks: dict[str, Path], change: dict, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        find(tiny_networks["bert"], **change)


def test_text_options_are_not_for_pictures() -> None:
    with pytest.raises(UsageError, match="`prompt` is for sources of texts"):
        find("random:timm:test_resnet", prompt="x")


def test_offline_the_error_says_what_is_cached() -> None:
    with pytest.raises(NotCached, match=r"HF_HUB_OFFLINE is set. Cached: .* local folder"):
        find("hf:nobody/nothing-of-this-name")
    with pytest.raises(SourceError, match="like 'owner/name'"):
        find("hf:not a name")


def test_code_of_a_checkpoint_needs_trust(tiny_networks: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    shutil.copytree(tiny_networks["bert"], folder)
    document = json.loads((folder / "config.json").read_text())
    marker = tmp_path / "ran"
    (folder / "config.json").write_text(
        json.dumps({**document, "model_type": "own", "auto_map": {"AutoModel": "own.Net"}})
    )
    (folder / "own.py").write_text(f"open({str(marker)!r}, 'w')")
    with pytest.raises(UsageError, match="--trust-code"):
        find(folder)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config.json", "{", "must be JSON"),
        ("config.json", '{"model_type": "nonesuch"}', "no network of the type 'nonesuch'"),
        ("tokenizer.json", "{}", "must hold a tokenizer"),
    ],
)
def test_broken_folders(tiny_networks: dict[str, Path], tmp_path: Path, file: str, content: str, words: str) -> None:
    folder = tmp_path / "net"
    shutil.copytree(tiny_networks["bert"], folder)
    (folder / file).write_text(content)
    with pytest.raises(SourceError, match=words):
        source = find(folder)
        open_source(source)
        inputs.tensor_of(["rain"], source.preprocessing)


def test_pooling_ignores_padding() -> None:
    states, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]]).bool()
    torch.testing.assert_close(pool(states, mask, "mean")[0], states[0, :2].mean(0))
    torch.testing.assert_close(pool(states, mask, "last")[0], states[0, 1])
    torch.testing.assert_close(pool(states, mask, "max")[0], states[0, :2].amax(0))


def test_what_a_user_may_hand_in(tmp_path: Path) -> None:
    preprocessing = TextPreprocessing(tokenizer="", digest="", max_length=8)
    (tmp_path / "a.txt").write_text("from a file")
    assert [text_inputs.decoded(item, preprocessing, Limits()) for item in ("a text", str(tmp_path / "a.txt"))] == [
        "a text",
        "from a file",
    ]
    assert inputs.expanded([tmp_path, "a/b c"], preprocessing) == [tmp_path / "a.txt", "a/b c"]
    (tmp_path / "t.csv").write_text("text,label\na b c,x\nd e f,y\n")
    assert inputs.expanded(tmp_path / "t.csv", preprocessing) == ["a b c", "d e f"]
    for bad in ("  ", str(tmp_path / "b.txt"), 3):
        with pytest.raises(DataError):
            text_inputs.decoded(bad, preprocessing, Limits())
