"""Texts as a network takes them (see `sources.inputs`): int64 (B, T) token ids, padded with -1 where a text has ended.

Tokenizers are `tokenizer.json` files, which hold no code. A text longer than `max_length` is cut by the source's rule:
its end is left out, or its beginning; special tokens stay. `builtin:ngrams` (see `ngrams`) is a tokenizer without a
file, whose `max_length` counts characters. Letters: B texts of a batch, T tokens, N texts.
"""

import shutil
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from transfuse.core import digests
from transfuse.core.errors import DataError, ModelError, SourceError, UsageError
from transfuse.core.nouns import DataWarning, TextPreprocessing
from transfuse.core.provenance import plain
from transfuse.sources.inputs import PADDING, Refused
from transfuse.sources.texts import ngrams
from transfuse.tasks.limits import Limits, is_folder, require_file, too_much
from transfuse.tasks.split_tables import TABLES
from transfuse.tasks.tables.limiting import require_within
from transfuse.tasks.texts.opening import texts_in
from transfuse.tasks.texts.reading import digest_of, text_of

FILE = "tokenizer.json"
_CHARACTERS = 40  # of one token, more than tokens have on average in any text: what lies beyond is never tokenised
_KEPT = 1 << 24
"""Tokens that are kept in memory (64 MB), so that a text is tokenised once by one process."""
_BLANK = 8


def tensor_of(items: Sequence[Any], preprocessing: TextPreprocessing) -> torch.Tensor:
    """int64 (B, T): T is the length of the longest."""
    rows = tokens_of(items, preprocessing)
    ids_BT = np.full((len(rows), max(map(len, rows), default=0)), PADDING, np.int64)
    for row, ids in zip(ids_BT, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(ids_BT)


def blank(preprocessing: TextPreprocessing, count: int) -> torch.Tensor:
    """Texts of a few tokens."""
    return torch.zeros(count, min(_BLANK, preprocessing.max_length), dtype=torch.int64)


def blocks(items: Sequence[Any], preprocessing: TextPreprocessing, batch_size: int) -> list[np.ndarray]:
    """Texts of nearly one length together, so that little is padded; the longest first, which need the most memory.

    A block holds as many tokens as `batch_size` texts of 128 tokens, and at most 8 times `batch_size` texts.
    """
    lengths_N = lengths(items, preprocessing)
    order_N = np.argsort(-lengths_N, kind="stable")
    found, start = [], 0
    while start < len(order_N):
        longest = max(1, int(lengths_N[order_N[start]]))
        count = min(8 * batch_size, max(1, batch_size * 128 // longest))
        found.append(order_N[start : start + count])
        start += count
    return found


def bytes_each(preprocessing: TextPreprocessing) -> int:
    """As int64 ids of a text of full length."""
    return 8 * preprocessing.max_length


def lengths(items: Sequence[Any], preprocessing: TextPreprocessing) -> np.ndarray:
    """Tokens that the network sees of each text, int64 (N,)."""
    return np.array([len(ids) for ids in tokens_of(items, preprocessing)], np.int64)


def share_cut(items: Sequence[Any], preprocessing: TextPreprocessing) -> float:
    """0..1: share of the texts that are longer than the network reads."""
    if preprocessing.tokenizer == ngrams.NAME:
        return sum(len(text_of(item)) > preprocessing.max_length for item in items) / max(1, len(items))
    full = lengths(items, preprocessing) >= preprocessing.max_length
    texts = [preprocessing.prompt + text_of(items[place]) for place in np.flatnonzero(full).tolist()]
    tokenizer = _tokenizer(preprocessing)
    limit = preprocessing.max_length * _CHARACTERS
    cut = sum(len(t) > limit or len(tokenizer.encode(t).ids) > preprocessing.max_length for t in texts)
    return cut / max(1, len(items))


def notes_on(items: Sequence[Any], preprocessing: TextPreprocessing) -> tuple[DataWarning, ...]:
    """How many texts are cut, and where."""
    share = share_cut(items, preprocessing)
    if not share:
        return ()
    message = (
        f"{share:.1%} of the texts are longer than {preprocessing.max_length} {_unit(preprocessing)}; their"
        f" {preprocessing.cut} is cut."
        " Give another `max_length` (--max-length) or `cut` (--cut)."
    )
    return (DataWarning(code="texts-cut", message=message, severity="note"),)


def decoded(item: Any, preprocessing: TextPreprocessing, limits: Limits) -> str:
    """The text of a string, or of the file that a path or a string that ends in `.txt` names."""
    if isinstance(item, str) and item.lower().endswith(".txt") and len(item) < 1024:
        item = Path(item)
    name = str(item) if isinstance(item, Path) else "the text"
    if isinstance(item, Path):
        require_file(item, limits)
    text = text_of(item)
    if len(text) > limits.characters:
        raise DataError(too_much(name, "characters", len(text), limits.characters))
    if not text.strip():
        raise DataError("the text is empty")
    return text


def expanded(inputs: Any, limits: Limits | None) -> list[Any]:
    """One text or path, or several; a folder stands for its `.txt` files, a table for its column of texts."""
    given = [inputs] if isinstance(inputs, str | Path | bytes) else list(inputs)
    items: list[Any] = []
    for item in given:
        path = _path(item)
        if path is not None and is_folder(path):
            items += sorted(path.rglob("*.txt"))
        elif path is not None and path.suffix.lower() in TABLES and (limits is not None or path.is_file()):
            items += _of_table(path, limits)
        else:
            items.append(item)
    if not items:
        raise DataError("There must be at least one text to predict, but none was given or found.")
    return items


def _of_table(path: Path, limits: Limits | None) -> list[Any]:
    """The texts of a table; with limits, one thing that says why when its file cannot be read."""
    if limits is None:
        return list(texts_in(path))
    try:
        require_within(path, limits)
        return list(texts_in(path))
    except DataError as problem:
        return [Refused(str(path), str(problem))]


def traits(item: Any) -> dict[str, float]:
    """Characters."""
    return {"characters": len(text_of(item))}


def _path(item: Any) -> Path | None:
    """The path that an input may be: a text is none when it is long, or has neither a slash nor a table's ending."""
    if isinstance(item, Path):
        return item
    short = isinstance(item, str) and len(item) < 1024 and "\0" not in item and "\n" not in item
    return Path(item) if short and ("/" in item or item.lower().endswith(TABLES)) else None


def digests_of(items: Sequence[Any]) -> tuple[str, ...]:
    """SHA-256 of each text."""
    return tuple(digest_of(text_of(item)) for item in items)


def described(preprocessing: TextPreprocessing) -> str:
    """Length, and what becomes of longer texts."""
    prompt = f", after the prompt '{preprocessing.prompt}'" if preprocessing.prompt else ""
    most = f"{preprocessing.max_length} {_unit(preprocessing)}"
    return f"text of at most {most} (the {preprocessing.cut} of more is cut){prompt}"


def _unit(preprocessing: TextPreprocessing) -> str:
    return "characters" if preprocessing.tokenizer == ngrams.NAME else "tokens"


def from_plain(document: Mapping[str, Any], folder: Path | None = None) -> TextPreprocessing:
    """As a saved Model holds it; the tokenizer lies in the folder. Raises `ModelError` when it was changed."""
    found = TextPreprocessing(**document)
    if found.tokenizer == ngrams.NAME:
        if found.digest != ngrams.DIGEST:
            raise ModelError("The model counts words by other rules than this version of transfuse. Make it again.")
        return found
    path = folder / Path(found.tokenizer).name if folder else Path(found.tokenizer)
    if not path.is_file():
        raise ModelError(f"'{path}' must hold the model's tokenizer, but is not there. Restore the folder.")
    if digests.of_file(path) != found.digest:
        raise ModelError(f"'{path}' is not the file that was saved: its digest differs. Restore the folder.")
    return TextPreprocessing(**{**document, "tokenizer": str(path)})


def written(preprocessing: TextPreprocessing, folder: Path) -> dict[str, Any]:
    """The plain form; the tokenizer is copied into the folder."""
    if preprocessing.tokenizer == ngrams.NAME:
        return plain(preprocessing)  # type: ignore[no-any-return]
    path = Path(preprocessing.tokenizer)
    if path.is_file() and digests.of_file(path) == preprocessing.digest:
        shutil.copyfile(path, folder / FILE)
    else:
        raise ModelError(f"'{path}' must hold the model's tokenizer, but was removed or changed since it was opened.")
    return {**plain(preprocessing), "tokenizer": FILE}


_lock = Lock()
_tokenizers: dict[str, Tokenizer] = {}
_tokens: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
_held = 0


def tokens_of(items: Sequence[Any], preprocessing: TextPreprocessing) -> list[np.ndarray]:
    """Token ids of each text, cut to `max_length`; int32 each. Kept in memory for the next time."""
    key = (preprocessing.digest, preprocessing.max_length, preprocessing.cut, preprocessing.prompt)
    texts = [text_of(item) for item in items]
    found = {text: ids for text in texts if (ids := _tokens.get((*key, text))) is not None}
    missing = list(dict.fromkeys(text for text in texts if text not in found))
    if missing:
        made = dict(zip(missing, _tokenised(missing, preprocessing), strict=True))
        _keep({(*key, text): ids for text, ids in made.items()})
        found |= made
    return [found[text] for text in texts]


def _keep(made: Mapping[tuple[Any, ...], np.ndarray]) -> None:
    """Add to what is kept; the oldest go when there is no room."""
    global _held  # noqa: PLW0603 - the size of the cache beside it
    with _lock:
        for name, ids in made.items():
            if name not in _tokens:
                _tokens[name], _held = ids, _held + len(ids)
        while _held > _KEPT:
            _held -= len(_tokens.popitem(last=False)[1])


def _tokenised(texts: Sequence[str], preprocessing: TextPreprocessing) -> list[np.ndarray]:
    counted = preprocessing.tokenizer == ngrams.NAME
    limit = preprocessing.max_length * (1 if counted else _CHARACTERS)
    end = preprocessing.cut == "end"
    given = [preprocessing.prompt + (text[:limit] if end else text[-limit:]) for text in texts]
    if counted:
        return [ngrams.ids_of(text) for text in given]
    safe = [text.encode("utf-8", "replace").decode() for text in given]  # half surrogates are no text to tokenizers
    encoded = _truncating(preprocessing).encode_batch(safe)
    return [np.array(one.ids or [0], np.int32) for one in encoded]


def _truncating(preprocessing: TextPreprocessing) -> Tokenizer:
    """A tokenizer of its own for each length and side: truncation is its state, and threads share it."""
    key = f"{preprocessing.digest} {preprocessing.max_length} {preprocessing.cut}"
    with _lock:
        if key not in _tokenizers:
            tokenizer = Tokenizer.from_str(_tokenizer(preprocessing).to_str())
            direction = "right" if preprocessing.cut == "end" else "left"
            try:
                tokenizer.enable_truncation(preprocessing.max_length, direction=direction)
            except Exception as error:  # tokenizers raises plain exceptions
                raise UsageError(
                    f"`max_length` must leave room for text, but is {preprocessing.max_length}."
                ) from error
            _tokenizers[key] = tokenizer
        return _tokenizers[key]


def _tokenizer(preprocessing: TextPreprocessing) -> Tokenizer:
    """The tokenizer without truncation and padding."""
    if preprocessing.digest not in _tokenizers:
        path = Path(preprocessing.tokenizer)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain exceptions for broken files
            raise SourceError(f"'{path}' must hold a tokenizer, but cannot be read: {str(error)[:200]}.") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        _tokenizers[preprocessing.digest] = tokenizer
    return _tokenizers[preprocessing.digest]
