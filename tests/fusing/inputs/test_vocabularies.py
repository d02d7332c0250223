"""Parents with other tokenizers: rows follow their tokens, and the result's tokenizer agrees with its rows."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from transfuse.core.errors import UsageError, WeightsError
from transfuse.fusing.fuse import fuse
from transfuse.fusing.verify import verify
from transfuse.sources.texts.vocabularies import tokens_of, united

TEXTS = {
    "en": ["the rain in the town", "sun over the town", "rain and wind and rain"] * 3,
    "de": ["der regen in der stadt", "sonne und wind", "wind in der stadt"] * 3,
}


def words(*tokens, extra=()):
    """A tokenizer of whole words, with added tokens."""
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(("[UNK]", *tokens))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in extra])
    return tokenizer


def trained(kind, texts, extra=()):
    """A tokenizer that was trained on texts, with added tokens."""
    special = ["<s>"] if kind != "unigram" else ["<s>", "<unk>"]
    if kind == "bpe":
        tokenizer, trainer = Tokenizer(models.BPE()), trainers.BpeTrainer(vocab_size=60, special_tokens=special)
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    elif kind == "wordpiece":
        special = ["<s>", "[UNK]"]
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=special, show_progress=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(vocab_size=40, special_tokens=special, unk_token="<unk>", show_progress=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(extra))
    return tokenizer


def model(folder, tokenizer, seed=0, padding=0, tie=False, near=None):
    """A Llama whose rows are as many as tokens; `near`: a folder whose other weights it has nearly."""
    torch.manual_seed(seed)
    count = tokenizer.get_vocab_size() + padding
    config = transformers.LlamaConfig(
        vocab_size=count, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
        tie_word_embeddings=tie,
    )  # fmt: skip
    network = transformers.LlamaForCausalLM(config)
    if near is not None:
        tensors, own = load_file(str(near / "model.safetensors")), network.state_dict()
        known = {n: t for n, t in tensors.items() if t.shape == own[n].shape}
        network.load_state_dict({n: t + 0.01 * torch.randn_like(t) for n, t in known.items()}, strict=False)
    network.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").write_text("{}")
    return folder


def rows(folder, token, name="model.embed_tokens.weight"):
    """The row of a token, by the folder's own tokenizer."""
    number = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(token)
    return load_file(str(folder / "model.safetensors"))[name][number]


@pytest.fixture
def pair(tmp_path):
    """Two models: of rain and sun, of sun, snow and an added token."""
    a = model(tmp_path / "a", words("rain", "sun", extra=["<a>"]))
    b = model(tmp_path / "b", words("sun", "snow", "fog", extra=["<b>", "<a>"]), seed=1, near=tmp_path / "a")
    return a, b


def test_a_union_takes_a_token_from_who_has_it(pair, tmp_path):
    a, b = pair
    out = tmp_path / "out"
    report = fuse(a, b, out=out, tokenizer="union", force=True)
    tokenizer = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert tokenizer.get_vocab() == {"[UNK]": 0, "rain": 1, "sun": 2, "<a>": 3, "snow": 4, "fog": 5, "<b>": 6}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        torch.testing.assert_close(rows(out, "rain", name), rows(a, "rain", name))
        torch.testing.assert_close(rows(out, "snow", name), rows(b, "snow", name))
        for token in ("sun", "<a>", "[UNK]"):
            torch.testing.assert_close(rows(out, token, name), (rows(a, token, name) + rows(b, token, name)) / 2)
    assert any("7 tokens: 3 are in all parents" in sentence for sentence in report.summary)
    network = transformers.LlamaForCausalLM.from_pretrained(out)
    assert network.config.vocab_size == 7 and not (out / "vocab.json").exists()
    assert tokenizer.encode("<b> snow sun dew").ids == [6, 4, 2, 0]
    assert [t.content for t in tokenizer.get_added_tokens_decoder().values()] == ["<a>", "<b>"]
    assert "Everything" in verify(out).summary[0]


@pytest.mark.parametrize("method", ["ties", "task_arithmetic", "dare_linear"])
def test_a_token_of_one_parent_comes_out_as_its_own_under_every_method(pair, tmp_path, method):
    a, b = pair
    base = model(tmp_path / "base", words("rain", "sun"), seed=2, near=a)
    options = {"weight": 0.5} if method == "dare_linear" else {}
    fuse(a, b, base=base, method=method, out=tmp_path / "out", tokenizer="union", force=True, **options)
    for token in ("snow", "fog"):
        torch.testing.assert_close(rows(tmp_path / "out", token), rows(b, token), rtol=1e-3, atol=1e-4)
    known = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert [known[token] for token in ("[UNK]", "rain", "sun")] == [0, 1, 2]  # numbers of the base stay


def test_the_tokens_of_one_are_kept(pair, tmp_path):
    a, b = pair
    report = fuse(a, b, out=tmp_path / "base", tokenizer="base", force=True)
    assert any("3 tokens of parents are left out" in sentence for sentence in report.summary)
    torch.testing.assert_close(rows(tmp_path / "base", "<a>"), (rows(a, "<a>") + rows(b, "<a>")) / 2)
    assert (tmp_path / "base" / "tokenizer.json").read_bytes() == (a / "tokenizer.json").read_bytes()
    fuse(a, b, out=tmp_path / "other", tokenizer=str(b), force=True)
    assert (tmp_path / "other" / "tokenizer.json").read_bytes() == (b / "tokenizer.json").read_bytes()
    torch.testing.assert_close(rows(tmp_path / "other", "sun"), (rows(a, "sun") + rows(b, "sun")) / 2)
    assert transformers.LlamaForCausalLM.from_pretrained(tmp_path / "other").config.vocab_size == 6


def test_mergekits_section_says_of_single_tokens(pair, tmp_path):
    a, b = pair
    (tmp_path / "r.yml").write_text(
        f"""
merge_method: linear
models: [{{model: {a}}}, {{model: {b}}}]
tokenizer:
  source: union
  pad_to_multiple_of: 8
  tokens:
    sun: {{source: {b}, force: true}}
    fog: {{source: {{kind: zero}}, force: true}}
    rain: {{source: {{kind: model_token, model: {b}, token: snow}}}}
"""
    )
    out = tmp_path / "out"
    fuse(recipe=tmp_path / "r.yml", out=out, force=True)
    torch.testing.assert_close(rows(out, "sun"), rows(b, "sun"))
    assert not rows(out, "fog").any()
    torch.testing.assert_close(
        rows(out, "rain"), (rows(a, "rain") + rows(b, "snow")) / 2
    )  # not forced: a keeps its own
    assert load_file(str(out / "model.safetensors"))["lm_head.weight"].shape == (8, 8)
    assert "Everything" in verify(out).summary[0]


def test_padded_rows_and_a_tied_head(tmp_path):
    a = model(tmp_path / "a", words("rain", "sun"), padding=5, tie=True)
    b = model(tmp_path / "b", words("sun", "snow"), seed=1, tie=True, near=a)
    fuse(a, b, out=tmp_path / "out", tokenizer="union", force=True)
    network = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out")
    assert network.config.vocab_size == 8 and network.lm_head.weight is network.model.embed_tokens.weight
    torch.testing.assert_close(rows(tmp_path / "out", "snow"), rows(b, "snow"))
    padded = load_file(str(tmp_path / "out" / "model.safetensors"))["model.embed_tokens.weight"][4:]
    torch.testing.assert_close(padded, load_file(str(a / "model.safetensors"))["model.embed_tokens.weight"][4:])


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram"])
def test_the_union_of_trained_tokenizers_reads_both_languages(kind):
    both = [trained(kind, TEXTS["en"], ["<en>"]), trained(kind, TEXTS["de"], ["<de>"])]
    documents = [json.loads(tokenizer.to_str()) for tokenizer in both]
    document, notes = united(documents)
    tokenizer = Tokenizer.from_str(json.dumps(document))
    known = tokenizer.get_vocab()
    assert set(known) == set(both[0].get_vocab()) | set(both[1].get_vocab()) and notes == []
    assert all(known[token] == number for token, number in both[0].get_vocab().items())
    assert sorted(known.values()) == list(range(len(known)))
    assert tokens_of(document) == known
    for text in (*TEXTS["en"], *TEXTS["de"], "<en> rain <de> regen"):
        first, second, union = (one.encode(text) for one in (*both, tokenizer))
        assert len(union.ids) <= max(len(first.ids), len(second.ids)) and "<unk>" not in union.tokens
    assert tokenizer.encode("<de>").ids == [known["<de>"]]


def test_other_vocabularies_are_refused_with_their_numbers(pair, tmp_path):
    a, b = pair
    with pytest.raises(WeightsError, match=r"4 tokens and '.*b' 6; 3 are in both, 2 of them under other numbers"):
        fuse(a, b, out=tmp_path / "out")
    same = model(tmp_path / "same", words("sun", "rain", extra=["<a>"]))  # of one shape, and still others
    with pytest.raises(WeightsError, match="2 of them under other numbers"):
        fuse(a, same, out=tmp_path / "out")
    (b / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"must go with parents that have a tokenizer\.json"):
        fuse(a, b, out=tmp_path / "out", tokenizer="union")
    bpe = model(tmp_path / "bpe", trained("bpe", TEXTS["en"]))
    with pytest.raises(WeightsError, match="of one kind to be united"):
        fuse(a, bpe, out=tmp_path / "out", tokenizer="union")
    words("rain", "sun", *map(str, range(30))).save(str(same / "tokenizer.json"))
    with pytest.raises(WeightsError, match="a row for each of its 33 tokens"):
        fuse(a, same, out=tmp_path / "out", tokenizer="union")
