"""Tokens of a tokenizer.json by their numbers, and one tokenizer of the tokens of several.

A union keeps every number of the first tokenizer; tokens that only others have follow in their order, so that all text
is cut by the first one's rules and by everybody's pieces and merges. Added tokens are mapped by their content and stand
in the model's own list too: the `tokenizers` library numbers them anew when it reads a file in which they do not.
What was built is read back by that library before anybody believes it.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfuse.core.errors import WeightsError

FILE = "tokenizer.json"
_UNLIKELY = -1e4
"""Log-probability of pieces that must only have a number."""
_RULES = ("normalizer", "pre_tokenizer", "decoder")


def read_tokenizer(folder: Path) -> dict[str, Any] | None:
    """The JSON of a folder's tokenizer; None when it has none. Raises `WeightsError`."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document["model"]["vocab"], dict | list):
            raise TypeError("its model has no list of tokens")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"'{path}' must be a tokenizer, but cannot be read: {error}.") from error
    return dict(document)


def tokens_of(document: Mapping[str, Any]) -> dict[str, int]:
    """Every token with its number, added ones too, as the `tokenizers` library sees them."""
    from tokenizers import Tokenizer

    try:
        known = Tokenizer.from_str(json.dumps(document)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare exceptions for broken files
        raise WeightsError(f"A tokenizer.json must be readable by `tokenizers`, but is not: {error}.") from error
    return dict(sorted(known.items(), key=lambda pair: pair[1]))


def united(documents: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The first tokenizer with the tokens of all, and what differs that has no union, in words.

    Raises `WeightsError` for tokenizers of other kinds.
    """
    kinds = [str(document["model"].get("type", "BPE")) for document in documents]
    if len(set(kinds)) > 1:
        raise WeightsError(
            f"Tokenizers must be of one kind to be united, but are {', '.join(dict.fromkeys(kinds))}. Take one of them:"
            " tokenizer base, or the path of a parent."
        )
    found = copy.deepcopy(dict(documents[0]))
    numbers = tokens_of(found)
    for document in documents[1:]:
        start = max(numbers.values(), default=-1) + 1
        fresh = [token for token in tokens_of(document) if token not in numbers]
        numbers |= {token: start + place for place, token in enumerate(fresh)}
        _add_flags(found, document, numbers)
        _add_pieces(found["model"], document["model"])
    _number(found["model"], kinds[0], documents, numbers)
    if tokens_of(found) != dict(sorted(numbers.items(), key=lambda pair: pair[1])):
        raise WeightsError("The union of the tokenizers has other numbers when it is read back. Take tokenizer base.")
    return found, [
        f"The tokenizers differ in `{rule}`: the first one's is kept."
        for rule in _RULES
        if any(document.get(rule) != documents[0].get(rule) for document in documents[1:])
    ]


def _add_flags(found: dict[str, Any], document: Mapping[str, Any], numbers: Mapping[str, int]) -> None:
    """Added tokens of another tokenizer, by content, with their flags; those of the first one win."""
    have = {token["content"] for token in found.get("added_tokens") or []}
    extra = [token for token in document.get("added_tokens") or [] if token["content"] not in have]
    tokens = [*(found.get("added_tokens") or []), *({**token, "id": numbers[token["content"]]} for token in extra)]
    found["added_tokens"] = sorted(tokens, key=lambda token: int(token["id"]))


def _add_pieces(model: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Merges of another tokenizer behind those that are there."""
    if "merges" in model:
        have = {_pair(merge) for merge in model["merges"]}
        texts = bool(model["merges"]) and isinstance(model["merges"][0], str)
        fresh = [_pair(merge) for merge in other.get("merges", []) if _pair(merge) not in have]
        model["merges"] = [*model["merges"], *(" ".join(pair) if texts else list(pair) for pair in fresh)]


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _number(
    model: dict[str, Any], kind: str, documents: Sequence[Mapping[str, Any]], numbers: Mapping[str, int]
) -> None:
    """The model's list with every token under its number."""
    if kind != "Unigram":
        model["vocab"] = dict(numbers)
        return
    scores: dict[str, float] = {}
    for document in documents:
        scores = {**dict(document["model"]["vocab"]), **scores}
    order = sorted(numbers, key=lambda token: numbers[token])
    model["vocab"] = [[token, scores.get(token, _UNLIKELY)] for token in order]
