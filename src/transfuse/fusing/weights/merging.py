"""One tensor of the result from the same tensor of every parent, in blocks that stay in the processor's cache.

Everything is float32, sums over a tensor float64. Blocks lie at fixed places, so that neither threads nor how the
files are sharded change a bit. Letters: P parents, R rows.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.weights import trimming
from transfuse.fusing.weights.masks import BLOCK, drawing
from transfuse.fusing.weights.methods import METHODS, Compat, Form
from transfuse.fusing.weights.options import (
    based,
    engine_options,
    form_of,
    function_of,
    per_parent,
    require_known,
    require_parents,
    settled,
)
from transfuse.fusing.weights.ties import within
from transfuse.fusing.weights.trimming import Survey
from transfuse.fusing.weights.vectors import Draw, weighted_sum
from transfuse.weights.pieces import NOT_FINITE

Read = Callable[[int, int], torch.Tensor]
"""(start, stop) to these elements of a flattened tensor, as float32."""


@dataclass(frozen=True, kw_only=True)
class Operands:
    """One tensor of every parent and of the base, readable in blocks."""

    name: str
    shape: tuple[int, ...]
    parents: tuple[Read, ...]
    base: Read | None = None
    statistics: tuple[torch.Tensor, ...] = ()
    """Fisher information or Gram matrices, one of each parent; none where a tensor has none."""

    @property
    def count(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


def merged(
    method: str,
    parents: Sequence[torch.Tensor],
    base: torch.Tensor | None = None,
    *,
    statistics: Sequence[torch.Tensor] = (),
    name: str = "",
    seed: int = 0,
    compat: Compat = "published",
    draw: Draw | None = None,
    **options: Any,
) -> torch.Tensor:
    """One tensor by one method, all in memory; options that hold one number for each parent may be given as one.

    Raises `UsageError`, `UnknownName`, and `WeightsError` for parents that do not fit or are not finite.
    """
    require_parents(method, len(parents), base is not None)
    require_known(method, list(options))
    wrong = next((p.shape for p in (*parents, *([] if base is None else [base])) if p.shape != parents[0].shape), None)
    if wrong is not None:
        raise WeightsError(f"Parents must have one shape, but have {tuple(parents[0].shape)} and {tuple(wrong)}.")
    split = {o: v for o, v in options.items() if isinstance(v, list | tuple) and per_parent(method, o)}
    shared = {option: value for option, value in options.items() if option not in split}
    own = [[{option: value[i] for option, value in split.items()}] for i in range(len(parents))]
    final = settled(method, [shared], own, name=name, depth=0.0, compat=compat)
    operands = Operands(
        name=name,
        shape=tuple(parents[0].shape),
        parents=tuple(reading(parent) for parent in parents),
        base=None if base is None else reading(base),
        statistics=tuple(statistics),
    )
    survey = None
    if METHODS[method].form == "trimmed" and final.get("trim") == "model":
        survey = surveyed([(operands, final)])
    blocks = list(blocks_of(method, operands, final, seed=seed, compat=compat, survey=survey, draw=draw))
    return torch.cat(blocks).reshape(operands.shape) if blocks else torch.zeros(operands.shape)


def reading(tensor: torch.Tensor) -> Read:
    """A tensor in memory as something to read in blocks."""
    flat = tensor.reshape(-1)
    return lambda start, stop: finite(flat[start:stop].to(torch.float32, copy=True))


def finite(block: torch.Tensor) -> torch.Tensor:
    """The block; raises `WeightsError` when a number in it is not one."""
    if not bool(torch.isfinite(block.sum())) and not bool(torch.isfinite(block).all()):
        raise WeightsError(NOT_FINITE)
    return block


def blocks_of(
    method: str,
    operands: Operands,
    options: Mapping[str, Any],
    *,
    seed: int,
    compat: Compat,
    survey: Survey | None = None,
    draw: Draw | None = None,
) -> Iterator[torch.Tensor]:
    """The result, flat and float32, block after block."""
    form = form_of(method, options, compat)
    if form in ("coefficients", "gram"):
        yield from _combined(method, operands, options, form, compat)
    elif form == "rows-gram":
        yield from _combined_rows(method, operands, options)
    else:
        yield from _applied(method, operands, options, form, seed, compat, survey=survey, draw=draw)


def _ranges(count: int, step: int = BLOCK) -> Iterator[tuple[int, int]]:
    for start in range(0, count, step):
        yield start, min(start + step, count)


def _vectors(operands: Operands, start: int, stop: int, based: bool) -> list[torch.Tensor]:
    """A block of every parent; with a base, of the task vectors."""
    blocks = [read(start, stop) for read in operands.parents]
    if not based or operands.base is None:
        return blocks
    base = operands.base(start, stop)
    return [block - base for block in blocks]


def _combined(
    method: str, operands: Operands, options: Mapping[str, Any], form: Form, compat: Compat
) -> Iterator[torch.Tensor]:
    """Σ c·x, or base + Σ c·(x − base)."""
    is_based = based(method, operands.base)
    gram = _gram(operands, is_based) if form == "gram" else None
    ours = {"compat": compat} if "compat" in engine_options(method) else {}
    c_P = [float(c) for c in function_of(method)(gram, **options, **ours)]
    for start, stop in _ranges(operands.count):
        if is_based and operands.base is not None:
            base = operands.base(start, stop)
            total = base.clone()
            for read, c in zip(operands.parents, c_P, strict=True):
                total.add_(read(start, stop).sub(base), alpha=c)
            yield total
        else:
            yield weighted_sum([read(start, stop) for read in operands.parents], c_P)


def _gram(operands: Operands, based: bool) -> np.ndarray:
    """Inner products of the parents, or of their task vectors."""
    n = len(operands.parents)
    gram_PP = np.zeros((n, n))
    for start, stop in _ranges(operands.count):
        blocks = _vectors(operands, start, stop, based)
        for i, j in combinations_with_replacement(range(n), 2):
            gram_PP[i, j] += float(torch.dot(blocks[i], blocks[j]))
    return np.triu(gram_PP) + np.triu(gram_PP, 1).T


def _combined_rows(method: str, operands: Operands, options: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The same for every vector along the last axis (or the first)."""
    is_based = based(method, operands.base)
    shape = operands.shape or (1,)
    x = torch.stack([v.reshape(shape) for v in _vectors(operands, 0, operands.count, is_based)])
    axis = 0 if options.get("nuslerp_row_wise") else len(shape) - 1
    x_PRM = x.movedim(axis + 1, -1)
    gram = torch.einsum("p...m,q...m->pq...", x_PRM.double(), x_PRM.double()).numpy()
    c_PR = torch.from_numpy(np.asarray(function_of(method)(gram, **options))).float()
    total = (c_PR.unsqueeze(-1) * x_PRM).sum(dim=0).movedim(-1, axis).reshape(-1)
    yield total + operands.base(0, operands.count) if is_based and operands.base is not None else total


def _applied(
    method: str,
    operands: Operands,
    options: Mapping[str, Any],
    form: Form,
    seed: int,
    compat: Compat,
    *,
    survey: Survey | None,
    draw: Draw | None,
) -> Iterator[torch.Tensor]:
    """A method that is handed tensors: blocks, whole rows, or all at once."""
    wanted = engine_options(method)
    ours: dict[str, Any] = {"compat": compat} if "compat" in wanted else {}
    if "kept" in wanted:
        ours["kept"] = _bounds(method, operands, options, survey)
    if "tie" in wanted:
        ours["tie"] = survey.tie if survey else 1.0
    whole = form == "whole" or bool(form == "trimmed" and options.get("rescale"))
    for start, stop, shape in _pieces(operands, form, whole):
        if "draw" in wanted:
            ours["draw"] = draw or drawing(seed, operands.name, start)
        if "statistics" in wanted:
            ours["statistics"] = [
                s if whole else finite(s.reshape(-1)[start:stop].float()).reshape(shape) for s in operands.statistics
            ]
        parents = [read(start, stop).reshape(shape) for read in operands.parents]
        base = None if operands.base is None else operands.base(start, stop).reshape(shape)
        yield function_of(method)(parents, base, **options, **ours).reshape(-1)


def _pieces(operands: Operands, form: Form, whole: bool) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Start, stop and shape of what is handed over at once."""
    count, shape = operands.count, operands.shape
    if whole or (form == "rows" and len(shape) < 2):
        yield 0, count, shape
    elif form == "rows":
        length = shape[-1]
        for start, stop in _ranges(count, max(1, BLOCK // max(length, 1)) * length):
            yield start, stop, ((stop - start) // length, length)
    else:
        for start, stop in _ranges(count):
            yield start, stop, (stop - start,)


def _bounds(
    method: str, operands: Operands, options: Mapping[str, Any], survey: Survey | None
) -> list[tuple[float, float]]:
    """Which magnitudes of every parent are kept: known of the whole model, or found for this tensor."""
    indices = range(len(operands.parents))
    if survey is not None and options.get("trim") == "model":
        return [survey.bounds[i, options["density"][i]] for i in indices]
    n = operands.count
    wanted = [trimming.ranks(method, options, i, n) for i in indices]
    return [trimming.bounds(partial(_deltas, [operands], i), n, wanted[i]) for i in indices]


def _deltas(tensors: Sequence[Operands], parent: int) -> Iterator[torch.Tensor]:
    """The task vector of a parent, block after block, tensor after tensor."""
    for operands in tensors:
        assert operands.base is not None
        for start, stop in _ranges(operands.count):
            yield operands.parents[parent](start, stop).sub_(operands.base(start, stop))


def surveyed(tensors: Sequence[tuple[Operands, Mapping[str, Any]]]) -> Survey:
    """TIES over a whole model: thresholds over all tensors of one density, and the majority of the elected signs."""
    found: dict[tuple[int, float], tuple[float, float]] = {}
    parents = max(len(operands.parents) for operands, _ in tensors)
    for i in range(parents):
        for density in sorted({float(options["density"][i]) for _, options in tensors}):
            group = [operands for operands, options in tensors if options["density"][i] == density]
            n = sum(operands.count for operands in group)
            wanted = trimming.ranks("ties", {"density": [density] * parents, "trim": "model"}, i, n)
            found[i, density] = trimming.bounds(partial(_deltas, group, i), n, wanted)
    return Survey(bounds=found, tie=_majority(tensors, found))


def _majority(
    tensors: Sequence[tuple[Operands, Mapping[str, Any]]], bounds: Mapping[tuple[int, float], tuple[float, float]]
) -> float:
    """The sign that most elements of the model elect; positive when there is none."""
    votes = 0.0
    for operands, options in tensors:
        kept = [bounds[i, options["density"][i]] for i in range(len(operands.parents))]
        for start, stop in _ranges(operands.count):
            deltas = within(_vectors(operands, start, stop, True), kept)
            votes += float(weighted_sum(deltas, options["weight"]).sign().sum(dtype=torch.float64))
    return -1.0 if votes < 0 else 1.0
