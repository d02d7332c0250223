"""What is to be made of which parents: a value, from arguments or from mergekit's YAML.

Understood: `merge_method`, `models`, `slices` (with `sources` and `layer_range`), `base_model`, `parameters` (numbers,
gradients, filters), `dtype`, `out_dtype`, `tokenizer_source`, `tokenizer`; our own `seed` and `compat`. Every other key
is refused with the nearest that is known. A recipe in mergekit's YAML has mergekit's defaults and definitions unless it
says `compat: published`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen, unknown
from transfuse.fusing.weights.methods import METHODS, Compat
from transfuse.fusing.weights.options import own_options, per_parent, require_known

_TOP = (
    "merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",
    "tokenizer", "seed", "compat", "name",
)  # fmt: skip
_TYPES = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
_RENAMED = {"lambda": "scale"}
_WITHOUT_EFFECT = {"int8_mask": METHODS, "density": ("task_arithmetic",), "rescale": ("task_arithmetic",)}
"""Options of mergekit that change memory, or nothing."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One parent in one slice."""

    path: str
    layers: tuple[int, int] | None = None
    """First layer, and the one after the last; None for all."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    statistics: str | None = None
    """File with its Fisher information or Gram matrices."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Layers of the result that are made of layers of the parents."""

    parts: tuple[Part, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Which tokens the result knows."""

    source: str
    """`union` of all parents' tokens, those of the `base` (or of the first parent), or the path of a parent."""
    tokens: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By token `source` (a parent, zero, another token) and `force`, as in mergekit."""
    multiple: int = 1
    """The number of rows is rounded up to a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A fusion of weights, completely."""

    method: str
    slices: tuple[Slice, ...]
    base: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: str | None = None
    """Of the result; None for that of the parents."""
    files_from: str | None = None
    """The parent whose other files (configuration, tokenizer) go with the result; None for the base or the first."""
    vocabulary: Vocabulary | None = None
    """None where all parents must have one tokenizer."""
    seed: int = 0
    compat: Compat = "published"
    align: str = "none"
    """How parents are brought into one order of units: `none`, by their `weights` or their `activations`."""
    aligned_on: str | None = None
    """Digest of the task whose examples were seen for that."""
    notes: tuple[str, ...] = ()
    """What of the recipe has no effect."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of all slices."""
        return tuple(part for piece in self.slices for part in piece.parts)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every parent once, in order, and the base."""
        found = [part.path for part in self.parts]
        return tuple(dict.fromkeys([*found, *([self.base] if self.base else [])]))

    @property
    def origin(self) -> str:
        """Whose configuration and tokenizer go with the result."""
        return self.files_from or self.base or self.paths[0]


def recipe_of(
    parents: Sequence[str | Path],
    *,
    base: str | Path | None,
    method: str,
    options: Mapping[str, Any],
    statistics: Sequence[str | Path] = (),
    **known: Any,
) -> Recipe:
    """The recipe of plain arguments. A list for an option that is each parent's own holds one setting for each."""
    own = {name: value for name, value in options.items() if _for_each(method, name, value)}
    for name, values in own.items():
        if len(values) != len(parents):
            raise UsageError(f"`{name}` must have one value for each of the {len(parents)} parents, not {len(values)}.")
    if statistics and len(statistics) != len(parents):
        raise UsageError(f"`statistics` must name one file for each of the {len(parents)} parents.")
    parts = tuple(
        Part(
            path=str(path),
            settings={name: values[i] for name, values in own.items()},
            statistics=str(statistics[i]) if statistics else None,
        )
        for i, path in enumerate(parents)
    )
    shared = {name: value for name, value in options.items() if name not in own}
    return Recipe(
        method=method, slices=(Slice(parts=parts),), base=str(base) if base else None, settings=shared, **known
    )


def _for_each(method: str, name: str, value: Any) -> bool:
    require_known(method, [name])
    plain_list = isinstance(value, list | tuple) and not any(isinstance(item, Mapping) for item in value)
    return plain_list and per_parent(method, name)


def read_recipe(path: str | Path, *, compat: Compat | None = None, seed: int | None = None) -> Recipe:
    """A recipe from YAML. Raises `UsageError` or `UnknownName`."""
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe '{path}' must be YAML, but cannot be read: {error}.") from error
    return parsed(document, compat=compat, seed=seed)


def parsed(document: Any, *, compat: Compat | None = None, seed: int | None = None) -> Recipe:
    """A recipe from what the YAML holds."""
    document = _mapping("The recipe", document, _TOP)
    if ("models" in document) == ("slices" in document):
        raise UsageError("A recipe must have either `models` or `slices`, and not both.")
    method = chosen("method of fusing weights", str(document.get("merge_method", "")), METHODS)
    notes: list[str] = []
    read = document.get("slices") or [{"sources": document.get("models"), "models": True}]
    slices = tuple(_slice(item, method, notes) for item in _sequence("`slices`", read))
    base = document.get("base_model")
    dtype = document.get("out_dtype") or document.get("dtype")
    vocabulary = _vocabulary(document)
    return Recipe(
        method=method,
        slices=slices,
        base=path_of(base) if base is not None else None,
        settings=_settings(document.get("parameters"), method, notes),
        dtype=chosen("type", str(dtype), _TYPES) if dtype else None,
        files_from=chosen_files(vocabulary),
        vocabulary=vocabulary,
        seed=int(seed if seed is not None else document.get("seed", 0)),
        compat=compat or chosen("definition", document.get("compat", "mergekit"), ("published", "mergekit")),  # type: ignore[arg-type]
        notes=tuple(dict.fromkeys(notes)),
    )


def _slice(document: Any, method: str, notes: list[str]) -> Slice:
    whole = isinstance(document, dict) and bool(document.pop("models", False))
    document = _mapping("A slice", document, ("sources", "parameters"))
    parts = [_part(item, method, notes, whole) for item in _sequence("`sources`", document.get("sources"))]
    return Slice(parts=tuple(parts), settings=_settings(document.get("parameters"), method, notes))


def _part(document: Any, method: str, notes: list[str], whole: bool) -> Part:
    known = ("model", "parameters", "statistics") if whole else ("model", "layer_range", "parameters", "statistics")
    document = _mapping("A model of the recipe", document, known)
    layers = document.get("layer_range")
    if layers is not None and not (
        isinstance(layers, list)
        and len(layers) == 2
        and all(isinstance(n, int) for n in layers)
        and 0 <= layers[0] < layers[1]
    ):
        raise UsageError(f"`layer_range` must be two numbers, such as [0, 16], but is {layers!r}.")
    return Part(
        path=path_of(document.get("model")),
        layers=(layers[0], layers[1]) if layers else None,
        settings=_settings(document.get("parameters"), method, notes),
        statistics=document.get("statistics"),
    )


def _settings(document: Any, method: str, notes: list[str]) -> dict[str, Any]:
    """Options under our names; an unknown one is refused."""
    found = {}
    for name, value in _mapping("`parameters`", document or {}, None).items():
        ours = _RENAMED.get(name, name)
        if ours in own_options(method):
            found[ours] = value
        elif method in _WITHOUT_EFFECT.get(name, ()):
            notes.append(f"`{name}` has no effect here.")
        else:
            raise unknown(f"option of '{method}'", name, own_options(method))
    return found


def _mapping(what: str, document: Any, known: Sequence[str] | None) -> dict[str, Any]:
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise UsageError(f"{what} must be names with values, but is {document!r:.80}.")
    for name in document:
        if known is not None and name not in known:
            raise unknown("key of a recipe", name, known)
    return document


def _sequence(what: str, document: Any) -> list[Any]:
    if not isinstance(document, list) or not document:
        raise UsageError(f"{what} must be a list, but is {document!r:.80}.")
    return document


def path_of(document: Any) -> str:
    """The path of a model; mergekit's long form `{model: {path: ...}}` too, and `base+adapter`."""
    while isinstance(document, dict):
        document = _mapping("A model", document, ("model", "path")).get("path", document.get("model"))
    if not isinstance(document, str) or not document:
        raise UsageError(f"`model` must be a path, but is {document!r}.")
    return document


def _vocabulary(document: Mapping[str, Any]) -> Vocabulary | None:
    """`tokenizer_source: union`, or `tokenizer: {source, tokens, pad_to_multiple_of}`."""
    section, source = document.get("tokenizer"), document.get("tokenizer_source")
    if section is not None and source is not None:
        raise UsageError("A recipe must have either `tokenizer` or `tokenizer_source`, and not both.")
    if section is None:
        return vocabulary_of(source) if source is not None else None
    section = _mapping("`tokenizer`", section, ("source", "tokens", "pad_to_multiple_of"))
    tokens = section.get("tokens") or {}
    for token, own in _mapping("`tokens`", tokens, None).items():
        _mapping(f"The token '{token}'", own, ("source", "force"))
    multiple = section.get("pad_to_multiple_of") or 1
    if not isinstance(multiple, int) or not 1 <= multiple <= 65536:
        raise UsageError(f"`pad_to_multiple_of` must be a whole number from 1 to 65536, but is {multiple!r}.")
    return replace(vocabulary_of(section.get("source", "union")), tokens=tokens, multiple=multiple)


def vocabulary_of(source: Any) -> Vocabulary:
    """`union`, `base`, or a parent, which mergekit also writes as `model:PATH`."""
    if source in ("union", "base"):
        return Vocabulary(source=source)
    return Vocabulary(source=path_of(source.removeprefix("model:") if isinstance(source, str) else source))


def chosen_files(vocabulary: Vocabulary | None) -> str | None:
    """The parent whose configuration and tokenizer go with the result, when a vocabulary names one."""
    return None if vocabulary is None or vocabulary.source in ("union", "base") else vocabulary.source
