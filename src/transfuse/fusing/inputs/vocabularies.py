"""Parents with other tokenizers: every token's row is found by the token, not by its number.

As in mergekit's `tokenizer`: a token that a parent lacks gets the base's row there, or the mean of the rows of the
parents that have it, so that a token of one parent comes out as that parent's (but under slerp, whose shares do not add
up to 1). What we changed: numbers of the first tokenizer stay as they are, padded rows stay, and parents whose
tokenizers differ are refused when nobody says what is wanted, even if their shapes agree.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.documents import json_object
from transfuse.core.errors import UsageError, WeightsError
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.inputs.tying import EMBEDDING
from transfuse.fusing.recipes import Recipe, Vocabulary, path_of
from transfuse.fusing.weights.methods import METHODS
from transfuse.weights.headers import Entry

_ROWS = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|tok_embeddings|embed_in|shared|lm_head|embed_out|output|decoder"
    r"|predictions|final_logits)(?:\.weight|\.bias|_bias)$"
)
_OLD = ("vocab.json", "merges.txt", "vocab.txt", "added_tokens.json", "tokenizer.model", "spiece.model",
        "sentencepiece.bpe.model", "special_tokens_map.json")  # fmt: skip
"""Other forms of the tokenizer, which do not know the new tokens."""


@dataclass(frozen=True, kw_only=True)
class _Words:
    """The tokens of one parent."""

    document: Mapping[str, Any]
    numbers: Mapping[str, int]
    rows: int
    """Of its embedding; 0 when it has none."""
    folder: Path


def with_one_vocabulary(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> dict[str, Checkpoint]:
    """Checkpoints with rows for the same tokens. Raises `WeightsError` or `UsageError` when that cannot be."""
    found, wanted = dict(checkpoints), recipe.vocabulary
    files = {path: file for path, c in found.items() if (file := _tokenizer_of(c)) is not None}
    if wanted is None and METHODS[recipe.method].most == 1:
        return found
    if wanted is None and (len(files) < 2 or len({file.read_bytes() for file in files.values()}) == 1):
        return found
    lacking = next((path for path, c in found.items() if path not in files and c.document is None), None)
    if wanted is not None and lacking is not None and wanted.source != "union" and not wanted.tokens:
        told = f"'{lacking}' has no tokenizer.json: whether its rows are those of the same tokens was not checked."
        return {path: replace(checkpoint, notes=(*checkpoint.notes, told)) for path, checkpoint in found.items()}
    if wanted is not None and lacking is not None:
        raise UsageError(
            f"`tokenizer` must go with parents that have a tokenizer.json, but '{lacking}' has none. Write one with"
            " transformers: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)."
        )
    words = {path: _read(found[path], file) for path, file in files.items()}
    if wanted is None:
        _require_one(words)
        return found
    return _aligned(recipe, wanted, found, words)


def _tokenizer_of(checkpoint: Checkpoint) -> Path | None:
    """The tokenizer of a folder of weights; of an adapter its own when it has one."""
    folders = [checkpoint.path, checkpoint.folder]
    files = [f / "tokenizer.json" for f in folders if f is not None and checkpoint.document is None]
    return next((file for file in files if file.is_file()), None)


def _read(checkpoint: Checkpoint, file: Path) -> _Words:
    from transfuse.sources.texts.vocabularies import read_tokenizer, tokens_of

    document = read_tokenizer(file.parent)
    assert document is not None
    rows = next((e.shape[0] for n, e in checkpoint.entries.items() if EMBEDDING.search(n) and len(e.shape) == 2), 0)
    return _Words(document=document, numbers=tokens_of(document), rows=rows, folder=file.parent)


def _require_one(words: Mapping[str, _Words]) -> None:
    (first, known), *others = words.items()
    for path, other in others:
        if other.numbers != known.numbers:
            both = [token for token in known.numbers if token in other.numbers]
            moved = sum(known.numbers[token] != other.numbers[token] for token in both)
            raise WeightsError(
                f"Parents must have one vocabulary, but '{first}' knows {len(known.numbers)} tokens and '{path}'"
                f" {len(other.numbers)}; {len(both)} are in both, {moved} of them under other numbers. Unite them"
                " (--tokenizer union), or keep those of one (--tokenizer base, or the path of a parent)."
            )


def _aligned(
    recipe: Recipe, wanted: Vocabulary, checkpoints: dict[str, Checkpoint], words: Mapping[str, _Words]
) -> dict[str, Checkpoint]:
    from transfuse.sources.texts.vocabularies import tokens_of, united

    origin = recipe.origin
    if not words:
        raise UsageError(
            f"`tokenizer` must go with folders of weights and their tokenizer.json, but '{origin}' has none. Omit it."
        )
    if origin not in words:
        raise UsageError(f"`tokenizer` must be union, base or the path of a parent, but is '{origin}'.")
    _require_rows(words)
    document, numbers, notes = words[origin].document, words[origin].numbers, list[str]()
    if wanted.source == "union":
        document, notes = united([document, *(w.document for path, w in words.items() if path != origin)])
        numbers = tokens_of(document)
    count = max(words[origin].rows, max(numbers.values(), default=0) + 1)
    count = -(-count // wanted.multiple) * wanted.multiple
    if all(w.numbers == numbers and w.rows == count for w in words.values()) and not wanted.tokens:
        return checkpoints
    maps = _sources(recipe, wanted, numbers, count, words, origin)
    notes.insert(0, _told(numbers, words))
    beside = _files(document, numbers, words[origin], checkpoints[origin])
    return {
        path: replace(
            checkpoint,
            entries={**checkpoint.entries, **_reordered(path, checkpoints, words, maps)},
            config={**checkpoint.config, "vocab_size": count},
            beside=beside,
            notes=(*checkpoint.notes, *notes),
        )
        for path, checkpoint in checkpoints.items()
    }


def _require_rows(words: Mapping[str, _Words]) -> None:
    for path, known in words.items():
        most = max(known.numbers.values(), default=-1) + 1
        if known.rows < most:
            told = f"has {known.rows} rows" if known.rows else "was not found"
            raise WeightsError(
                f"The embedding of '{path}' must have a row for each of its {most} tokens, but {told}. Is it the right"
                " tokenizer?"
            )


@dataclass(frozen=True, kw_only=True)
class _Map:
    """Rows of one parent, and where the others come from."""

    own_V: np.ndarray
    others: Mapping[int, Sequence[tuple[str, int]]]


def _sources(
    recipe: Recipe,
    wanted: Vocabulary,
    numbers: Mapping[str, int],
    count: int,
    words: Mapping[str, _Words],
    origin: str,
) -> dict[str, _Map]:
    """By parent the row of every token."""
    strange = next((token for token in wanted.tokens if token not in numbers), None)
    if strange is not None:
        raise UsageError(f"`tokens` must be tokens of the result, but '{strange}' is none.")
    defaults: dict[int, list[tuple[str, int]]] = {n: [(origin, n)] for n in range(words[origin].rows)}
    forced = set()
    for token, number in numbers.items():
        own = wanted.tokens.get(token) or {}
        defaults[number] = _asked(token, own["source"], words) if "source" in own else _usual(token, recipe.base, words)
        if own.get("force"):
            forced.add(token)
    maps = {}
    for path, known in words.items():
        own_V = np.full(count, -1, dtype=np.int64)
        for token, number in numbers.items():
            if token in known.numbers and token not in forced:
                own_V[number] = known.numbers[token]
        maps[path] = _Map(own_V=own_V, others={n: defaults.get(n, []) for n in np.flatnonzero(own_V < 0).tolist()})
    return maps


def _usual(token: str, base: str | None, words: Mapping[str, _Words]) -> list[tuple[str, int]]:
    """The base's row, or those of all who have the token."""
    if base is not None and token in words[base].numbers:
        return [(base, words[base].numbers[token])]
    return [(path, known.numbers[token]) for path, known in words.items() if token in known.numbers]


def _asked(asking: str, source: Any, words: Mapping[str, _Words]) -> list[tuple[str, int]]:
    """What a recipe says of one token: zero, a parent, or another token of a parent."""
    if isinstance(source, dict) and source.get("kind") == "zero":
        return []
    special = isinstance(source, dict) and source.get("kind") == "model_token"
    path = path_of(source["model"] if special else source)
    if path not in words:
        raise UsageError(f"The source of a token must be a parent, but is '{path}'.")
    number = source.get("token_id") if special else None
    token = source.get("token") if special else asking
    if number is None and isinstance(token, str) and token in words[path].numbers:
        number = words[path].numbers[token]
    if number is None or not 0 <= int(number) < words[path].rows:
        raise UsageError(f"A token's source must be a token of '{path}', but {source!r} is none.")
    return [(path, int(number))]


def _reordered(
    path: str, checkpoints: Mapping[str, Checkpoint], words: Mapping[str, _Words], maps: Mapping[str, _Map]
) -> dict[str, Entry]:
    """The tensors of a parent that have a row for every token."""
    from transfuse.fusing.inputs.rows import Rows, reordered

    found = {}
    for name, entry in checkpoints[path].entries.items():
        if _ROWS.search(name) and entry.shape and entry.shape[0] == words[path].rows:
            others = {
                number: [(checkpoints[p].entries[name], row) for p, row in given if name in checkpoints[p].entries]
                for number, given in maps[path].others.items()
            }
            found[name] = reordered(entry, Rows(own_V=maps[path].own_V, others=others))
    return found


def _told(numbers: Mapping[str, int], words: Mapping[str, _Words]) -> str:
    shared = sum(all(token in known.numbers for known in words.values()) for token in numbers)
    parts = [f"{sum(t in known.numbers for t in numbers)} are in '{path}'" for path, known in words.items()]
    lost = {token for known in words.values() for token in known.numbers if token not in numbers}
    left = f" {len(lost)} tokens of parents are left out." if lost else ""
    return f"The result knows {len(numbers)} tokens: {shared} are in all parents, {', '.join(parts)}.{left}"


def _files(
    document: Mapping[str, Any], numbers: Mapping[str, int], origin: _Words, checkpoint: Checkpoint
) -> dict[str, str]:
    """Texts of the tokenizer's files, when the origin's own do not say the same."""
    if document is origin.document or numbers == origin.numbers:
        text = (origin.folder / "tokenizer.json").read_text(encoding="utf-8")
        return {} if origin.folder == checkpoint.folder else {"tokenizer.json": text}
    found = {"tokenizer.json": json.dumps(document, ensure_ascii=False, indent=2), **dict.fromkeys(_OLD, "")}
    config = origin.folder / "tokenizer_config.json"
    if config.is_file():
        told = json_object(config, WeightsError)
        if "added_tokens_decoder" in told:
            told["added_tokens_decoder"] = {
                str(token["id"]): {name: value for name, value in token.items() if name != "id"}
                for token in document.get("added_tokens") or []
            }
        found["tokenizer_config.json"] = json.dumps(told, ensure_ascii=False, indent=2)
    return found
