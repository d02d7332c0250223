"""A sum of losses as one module: what each of them wants to see is what its parameters are called.

Losses with parts to learn (regressors, projectors, branches, a temperature, memories) are modules, whose parts are
trained, averaged and kept with the student's weights, and left behind when it is done.

Letters: B examples, C classes, D E features of student and teacher.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.nouns import Kind
from transfuse.core.randomness import key
from transfuse.distilling.losses.table import loss_of
from transfuse.distilling.sums import Sum

INNER = frozenset({"map_s", "map_t", "maps", "teacher_maps"})
POOLED = frozenset({"features_BD", "teacher_BE"})
_MIDDLE = ("fitnet",)
"""Losses whose one map is that in the middle; of others it is the last."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What losses may look at: one batch, by student and teacher."""

    logits_BC: Tensor
    teacher_BC: Tensor
    y_B: Tensor
    index_B: Tensor
    share: float
    """0..1: how much of the training is over."""
    maps: Sequence[Tensor] = ()
    teacher_maps: Sequence[Tensor] = ()
    features_BD: Tensor | None = None
    teacher_BE: Tensor | None = None

    def of(self, name: str, loss: str) -> Any:
        """The value of a loss's parameter."""
        if name in ("map_s", "map_t"):
            maps = self.maps if name == "map_s" else self.teacher_maps
            return maps[(len(maps) - 1) // 2 if loss in _MIDDLE else -1]
        return getattr(self, name)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What parts to learn are made for."""

    shapes_s: Sequence[tuple[int, ...]] = ()
    shapes_t: Sequence[tuple[int, ...]] = ()
    features_s: int = 0
    features_t: int = 0
    classes: int
    examples: int

    def of(self, name: str, loss: str) -> Any:
        """The value of a constructor's parameter."""
        if name in ("shape_s", "shape_t"):
            shapes = self.shapes_s if name == "shape_s" else self.shapes_t
            return shapes[(len(shapes) - 1) // 2 if loss in _MIDDLE else -1]
        return getattr(self, name)


class Terms(nn.Module):
    """The weighted sum, without the labels."""

    def __init__(self, wanted: Sum, sizes: Sizes, seed: int, kind: Kind = "single-label") -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.losses: list[tuple[float, str, Callable[..., Tensor], Mapping[str, Any]]] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "distilling"))
            for place, term in enumerate(wanted.terms):
                loss = loss_of(term.name, kind)
                if isinstance(loss, type):
                    given = {name: sizes.of(name, term.name) for name in _positional(loss)}
                    part = loss(**given, **term.options)
                    self.parts[f"{place}_{term.name}"] = part
                    self.losses.append((term.weight, term.name, part.forward, {}))
                else:
                    self.losses.append((term.weight, term.name, loss, term.options))

    def forward(self, seen: Seen) -> Tensor:
        """The sum, in float32 whatever the student computes in."""
        total = seen.logits_BC.new_zeros(())
        for weight, name, loss, options in self.losses:
            given = {wanted: _full(seen.of(wanted, name)) for wanted in _positional(loss)}
            total = total + weight * loss(**given, **options)
        return total


def needs(wanted: Sum) -> set[str]:
    """What the losses of a sum look at."""
    found: set[str] = set()
    for term in wanted.terms:
        loss = loss_of(term.name, "single-label")
        found |= set(_positional(vars(loss)["forward"] if isinstance(loss, type) else loss))
    return found


def parted(wanted: Sum) -> tuple[Sum, Sum]:
    """The losses that look at answers alone, and those that look at inner layers."""
    looks = [bool(needs(Sum(labels=0.0, terms=(term,))) & (INNER | POOLED)) for term in wanted.terms]
    pairs = list(zip(wanted.terms, looks, strict=True))
    return (
        replace(wanted, terms=tuple(term for term, inner in pairs if not inner)),
        replace(wanted, terms=tuple(term for term, inner in pairs if inner)),
    )


def _positional(function: Any) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]


def _full(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    return [_full(part) for part in value] if isinstance(value, list | tuple) else value
