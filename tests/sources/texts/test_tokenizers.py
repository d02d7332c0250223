"""Tokenizers of older folders are made by transformers, but only from settings that stay in the folder."""

import json
from pathlib import Path

import pytest

from transfuse.core.errors import UnsafeFile
from transfuse.sources.texts.references import _tokenizer

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]


def folder(path: Path, **settings: object) -> Path:
    (path / "vocab.txt").write_text("\n".join(WORDS))
    (path / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(WORDS)}))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **settings}))
    return path


def test_a_vocabulary_alone_makes_a_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path / "cache"))
    made = json.loads(_tokenizer(folder(tmp_path)).read_text())
    assert set(WORDS) <= set(made["model"]["vocab"])


@pytest.mark.parametrize("settings", [
    {"vocab_file": "../../../../etc/passwd"}, {"tokenizer_file": "/etc/hostname"},
    {"auto_map": {"AutoTokenizer": ["tok.Evil", None]}},
])  # fmt: skip
def test_settings_that_lead_out_of_the_folder_or_to_code_are_refused(tmp_path: Path, settings: dict) -> None:
    with pytest.raises(UnsafeFile, match="tokenizer_config"):
        _tokenizer(folder(tmp_path, **settings))
