"""The plan of a fusion, from headers alone: what becomes of every tensor, and why; nothing is silent."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from transfuse.core.errors import UsageError, WeightsError
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.inputs.computed import mean_of
from transfuse.fusing.recipes import Part, Recipe, Slice
from transfuse.fusing.weights.methods import METHODS
from transfuse.fusing.weights.options import require_parents, settled
from transfuse.weights.headers import DTYPES, Dtype, Entry, spoken_shape

Missing = Literal["refuse", "copy", "drop"]
_LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h|stages?|resblocks)\.(\d+)\.")
_RUNNING = re.compile(r"(?:^|\.)running_(?:mean|var)$")
_FIRST = re.compile(r"embed|wte|wpe|patch|stem|conv1|cls_token|pos_", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Work:
    """One tensor of the result."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    fate: Literal["merged", "copied"]
    reason: str
    entries: tuple[Entry, ...]
    """The same tensor of every parent that has it; of a copied one, its origin."""
    base: Entry | None = None
    statistics: tuple[Entry, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def operands(self) -> tuple[Entry, ...]:
        """The tensor of every parent, and of the base last when there is one."""
        return (*self.entries, *([self.base] if self.base else []))

    @property
    def nbytes(self) -> int:
        """Size of its data in the result."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every tensor of the result, in order, and what is left out."""

    works: tuple[Work, ...]
    dropped: tuple[tuple[str, str], ...] = ()
    """(tensor, why)."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a slice puts its tensors."""

    piece: Slice
    first: int
    """Number of the slice's first layer in the result."""
    layers: int
    """How many layers it has; 0 when it is the whole model."""
    outermost: tuple[bool, bool]
    """Whether it is the first slice, and the last."""
    depth: int
    """Number of layers over which gradients run."""


def planned(
    recipe: Recipe,
    checkpoints: Mapping[str, Checkpoint],
    statistics: Mapping[str, Checkpoint],
    *,
    missing: Missing = "refuse",
) -> Plan:
    """The plan. Raises `UsageError` or `WeightsError` for parents that do not fit."""
    works: dict[str, Work] = {}
    dropped: dict[str, str] = {}
    for place in _places(recipe, checkpoints):
        parents = parents_of(recipe, place.piece)
        require_parents(recipe.method, len(parents), recipe.base is not None)
        for name, inner in _names(place, checkpoints[parents[0].path].entries):
            work = _work(recipe, place, parents, (name, inner), checkpoints, statistics, missing)
            if isinstance(work, Work):
                works[name] = work
            else:
                dropped[name] = work
        dropped |= _strangers(parents, place, checkpoints, works, missing)
    if not works:
        raise WeightsError("The parents must share tensors, but have none in common. Are they of one architecture?")
    left = {name: why for c in checkpoints.values() for name, why in c.left.items() if name not in works}
    notes = dict.fromkeys(note for checkpoint in checkpoints.values() for note in checkpoint.notes)
    return Plan(works=tuple(works.values()), dropped=tuple({**left, **dropped}.items()), notes=(*recipe.notes, *notes))


def _places(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> list[_Place]:
    found, first = [], 0
    for i, piece in enumerate(recipe.slices):
        spans = {part.layers[1] - part.layers[0] for part in piece.parts if part.layers}
        ranged = {part.layers is not None for part in piece.parts}
        if len(spans) > 1 or len(ranged) > 1 or (not spans and len(recipe.slices) > 1):
            raise UsageError("The `layer_range` of every model of a slice must have one length, but they differ.")
        count = spans.pop() if spans else 0
        edges = (i == 0, i == len(recipe.slices) - 1)
        depth = count or 1 + max((layer_of(n) or 0 for n in checkpoints[piece.parts[0].path].entries), default=0)
        found.append(_Place(piece=piece, first=first, layers=count, outermost=edges, depth=depth))
        first += count
    return found


def parents_of(recipe: Recipe, piece: Slice) -> list[Part]:
    """The parts that are merged: without the base, or, where the method departs from the base, with it first."""
    base = METHODS[recipe.method].base
    if recipe.base is None or base == "ignored":
        return list(piece.parts)
    others = [part for part in piece.parts if part.path != recipe.base]
    if base == "parent":
        own = next((part for part in piece.parts if part.path == recipe.base), None)
        return [own or Part(path=recipe.base, layers=others[0].layers if others else None), *others]
    return others


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def _renumbered(name: str, number: int) -> str:
    found = _LAYER.search(name)
    return name if found is None else name[: found.start(1)] + str(number) + name[found.end(1) :]


def _names(place: _Place, entries: Mapping[str, Entry]) -> list[tuple[str, int | None]]:
    """(name in the result, number of the layer within the slice) of the tensors that a slice makes."""
    if not place.layers:
        return [(name, layer_of(name)) for name in entries]
    part = place.piece.parts[0]
    assert part.layers is not None
    found: list[tuple[str, int | None]] = []
    for name in entries:
        layer = layer_of(name)
        if layer is None:
            if place.outermost[0 if _FIRST.search(name) else 1]:
                found.append((name, None))
        elif part.layers[0] <= layer < part.layers[1]:
            found.append((_renumbered(name, place.first + layer - part.layers[0]), layer - part.layers[0]))
    return found


def _within(name: str, inner: int | None, part: Part, place: _Place) -> str:
    """The name that a tensor of the result has in a parent."""
    if inner is None or not place.layers or part.layers is None:
        return name
    return _renumbered(name, part.layers[0] + inner)


def _work(
    recipe: Recipe,
    place: _Place,
    parents: Sequence[Part],
    target: tuple[str, int | None],
    checkpoints: Mapping[str, Checkpoint],
    statistics: Mapping[str, Checkpoint],
    missing: Missing,
) -> Work | str:
    """What becomes of one tensor; a text when it is dropped."""
    name, inner = target
    inputs = [checkpoints[part.path].entries.get(_within(name, inner, part, place)) for part in parents]
    entries = tuple(entry for entry in inputs if entry is not None)
    base = _base_entry(recipe, place, target, parents, checkpoints)
    first = base if base is not None else entries[0]
    absent = [part.path for part, entry in zip(parents, inputs, strict=True) if entry is None]
    if recipe.base and METHODS[recipe.method].based and base is None:
        absent.append(recipe.base)
    if not entries[0].dtype.floating:
        return _copied(name, first, "holds whole numbers, which are not averaged")
    if absent:
        known = checkpoints[parents[0].path].entries
        spare = [other for other in checkpoints[absent[0]].entries if other not in known]
        return _incomplete(name, entries[0], absent, spare, missing)
    _require_shape(name, (*entries, *([base] if base else [])))
    if first.count == 0:
        return _copied(name, first, "has no elements")
    if _RUNNING.search(name) and METHODS[recipe.method].base != "ignored":  # a sum of differences may be negative
        return _copied(name, mean_of(entries), "statistics of batches: the mean of the parents")
    options = _options(recipe, place, parents, name, inner)
    dtype = DTYPES[recipe.dtype] if recipe.dtype else _common([entry.dtype for entry in entries])
    return Work(
        name=name, dtype=dtype, shape=first.shape, fate="merged", reason=recipe.method, entries=entries, base=base,
        statistics=_statistics(name, parents, statistics), options=options,
    )  # fmt: skip


def _base_entry(
    recipe: Recipe,
    place: _Place,
    target: tuple[str, int | None],
    parents: Sequence[Part],
    checkpoints: Mapping[str, Checkpoint],
) -> Entry | None:
    if recipe.base is None or not METHODS[recipe.method].based:
        return None
    own = next((part for part in place.piece.parts if part.path == recipe.base), parents[0])
    return checkpoints[recipe.base].entries.get(_within(*target, own, place))


def _options(recipe: Recipe, place: _Place, parents: Sequence[Part], name: str, inner: int | None) -> dict[str, Any]:
    count = place.depth
    depth = (0.0 if _FIRST.search(name) else 1.0) if inner is None else (inner / (count - 1) if count > 1 else 1.0)
    return settled(
        recipe.method,
        [place.piece.settings, recipe.settings],
        [[part.settings] for part in parents],
        name=name,
        depth=min(depth, 1.0),
        compat=recipe.compat,
    )


def _copied(name: str, entry: Entry, why: str) -> Work:
    return Work(name=name, dtype=entry.dtype, shape=entry.shape, fate="copied", reason=why, entries=(entry,))


def _incomplete(name: str, entry: Entry, absent: Sequence[str], spare: Sequence[str], missing: Missing) -> Work | str:
    """`spare`: names that the parent has and the others have not, one of which may be a misspelling."""
    told = f"is not in {', '.join(absent)}"
    if missing == "copy":
        return _copied(name, entry, told)
    if missing == "drop":
        return told
    raise WeightsError(
        f"Every parent must have the tensor '{name}', but it {told}.{_near(name, spare, ' there')}"
        " Say missing=copy to take it as it is, or missing=drop to leave it out."
    )


def _strangers(
    parents: Sequence[Part],
    place: _Place,
    checkpoints: Mapping[str, Checkpoint],
    works: Mapping[str, Work],
    missing: Missing,
) -> dict[str, str]:
    """Tensors that the first parent does not have."""
    if place.layers:
        return {}
    found = {}
    for part in parents[1:]:
        for name in checkpoints[part.path].entries:
            if name not in works and name not in checkpoints[parents[0].path].entries:
                whole = not checkpoints[part.path].entries[name].dtype.floating  # a counter, or positions
                if missing == "refuse" and not whole:
                    raise WeightsError(
                        f"'{part.path}' has the tensor '{name}', which '{parents[0].path}' lacks.{_near(name, works)}"
                        " Say missing=drop to leave it out."
                    )
                found[name] = f"only in {part.path}"
    return found


def _near(name: str, known: Iterable[str], where: str = "") -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f" Did you mean '{near[0]}'{where}?" if near else ""


def _require_shape(name: str, entries: Sequence[Entry]) -> None:
    shapes = list(dict.fromkeys(entry.shape for entry in entries))
    if len(shapes) == 1:
        return
    rows = {shape[1:] for shape in shapes}
    words = len(rows) == 1 and re.search(r"embed|wte|lm_head|vocab", name, re.IGNORECASE)
    hint = " The vocabularies differ: unite them (--tokenizer union), which wants a tokenizer.json in every folder."
    told = " and ".join(spoken_shape(shape) for shape in shapes)
    raise WeightsError(f"'{name}' must have one shape in all parents, but has {told}.{hint if words else ''}")


def _common(types: Sequence[Dtype]) -> Dtype:
    """The type of the parents, or the narrowest that holds them all; of float8 kinds, which do not mix, bfloat16."""
    kinds = set(types)
    if len(kinds) > 1:
        kinds = {dtype for dtype in kinds if dtype.itemsize > 1} or {DTYPES["bfloat16"]}
    widest = [dtype for dtype in kinds if dtype.itemsize == max(kind.itemsize for kind in kinds)]
    return widest[0] if len(widest) == 1 else DTYPES["float32"]


def _statistics(name: str, parents: Sequence[Part], statistics: Mapping[str, Checkpoint]) -> tuple[Entry, ...]:
    found = [statistics[part.statistics].entries.get(name) for part in parents if part.statistics]
    return tuple(entry for entry in found if entry is not None) if len(found) == len(parents) and all(found) else ()
