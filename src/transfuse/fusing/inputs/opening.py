"""Every parent of a recipe as a checkpoint that the others fit: adapters folded, ties agreed, vocabularies united."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core.errors import TransfuseError, UsageError
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.recipes import Part, Recipe, Slice, Vocabulary, chosen_files, vocabulary_of

ADAPTER = "adapter_config.json"


def open_parents(recipe: Recipe) -> dict[str, Checkpoint]:
    """The checkpoints by path. Raises `UsageError`, `WeightsError` or `UnsafeFile`."""
    from transfuse.fusing.inputs.tying import with_ties
    from transfuse.fusing.inputs.vocabularies import with_one_vocabulary

    found = with_ties({path: open_parent(path, recipe.base) for path in recipe.paths})
    return with_one_vocabulary(recipe, found)


def open_parent(path: str, base: str | None) -> Checkpoint:
    """A checkpoint, or an adapter in its base: `base`, or of mergekit's `base+adapter` what stands before the `+`."""
    if is_adapter(path):
        if base is None or base == path:
            raise UsageError(
                f"The adapter '{path}' must go with the base it was trained on: give it as `base` (--base)."
            )
        return _folded(path, base)
    before, plus, after = path.rpartition("+")
    if plus and not Path(path).exists() and is_adapter(after):
        return _folded(after, before)
    return open_checkpoint(path)


def is_adapter(path: str | Path) -> bool:
    """Whether a folder is an adapter of peft."""
    return (Path(path) / ADAPTER).is_file()


def _folded(path: str, base: str) -> Checkpoint:
    from transfuse.fusing.inputs.adapters import read_adapter
    from transfuse.fusing.inputs.folding import folded

    return folded(read_adapter(path), open_parent(base, None))


def all_adapters(recipe: Recipe) -> bool:
    """Whether the parents are adapters and nothing else, so that they can be merged as adapters."""
    return recipe.base is None and all(is_adapter(path) for path in recipe.paths)


def with_vocabulary(recipe: Recipe, tokenizer: str | None) -> Recipe:
    """The recipe with what was asked for beside it."""
    if tokenizer is None:
        return recipe
    vocabulary = vocabulary_of(tokenizer)
    return replace(recipe, vocabulary=vocabulary, files_from=chosen_files(vocabulary))


def parents_again(document: Mapping[str, Any]) -> dict[str, Checkpoint]:
    """The parents of a recorded recipe, read as they were read for it; those that can still be opened."""
    if "slices" not in document:  # predictions were fused, of Models as they lie there
        return {}
    slices = tuple(
        Slice(parts=tuple(Part(path=part["path"]) for part in piece["parts"])) for piece in document["slices"]
    )
    words = document.get("vocabulary")
    recipe = Recipe(
        method=document["method"], slices=slices, base=document.get("base"), files_from=document.get("files_from"),
        vocabulary=Vocabulary(**words) if words else None,
    )  # fmt: skip
    try:
        return open_parents(recipe)
    except TransfuseError:  # one of them is gone or broken
        found = {}
        for path in recipe.paths:
            with contextlib.suppress(TransfuseError):
                found[path] = open_parent(path, recipe.base)
        return found
