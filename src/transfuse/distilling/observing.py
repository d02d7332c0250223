"""What losses on inner layers look at: pairs of taps of student and teacher, and the sizes of what they give."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.distilling.answers import Asked
from transfuse.distilling.pairing import Pair, paired
from transfuse.distilling.tapping import Taps, last_map, places
from transfuse.distilling.terms import INNER, POOLED, Sizes
from transfuse.sources.network import Network
from transfuse.training.batches import Inputs

_DEPTHS = 4  # of the student that are tapped, evenly spaced
_MOST = 12  # of the teacher among which their partners are found
_COMPARED = 64  # examples by which they are compared
OUTPUT = ""
"""The module path of a body itself, whose output are the pooled features."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Where to look, and how to read what the latest pass gave there."""

    read: Callable[[], Mapping[str, Any]] = dict
    """`maps`, `teacher_maps`, `features_BD`, `teacher_BE` of `terms.Seen`."""
    pairs: tuple[Pair, ...] = ()
    copied: tuple[str, ...] = ()
    """Taps that a later operation overwrites, and which are therefore copied."""
    sizes: Sizes


@contextmanager
def observed(
    student: Network, asked: Asked, inputs: Inputs, seeing: set[str], taps: Mapping[str, str]
) -> Iterator[Observed]:
    """Tap both bodies for losses whose parameters are called `seeing`; no hook is left after the block.

    `taps` are the user's pairs of module paths. Raises `UnknownName`, `UsageError`.
    """
    sizes = Sizes(classes=len(asked.teacher.matched.known), examples=len(inputs))
    if not seeing & (INNER | POOLED):
        yield Observed(sizes=sizes)
        return
    if asked.teacher.body is None:
        raise UsageError(
            f"Losses on inner layers must have teachers whose layers can be read, but '{asked.teacher.name}' gives"
            " answers alone. Use losses on answers, such as kd, dkd or dist."
        )
    pairs = _pairs(student.body, asked.teacher.body, inputs, asked.inputs, taps) if seeing & INNER else ()
    outputs = [OUTPUT] if seeing & POOLED else []
    with (
        Taps(student.body, [*(pair.student for pair in pairs), *outputs], "student") as taps_s,
        Taps(asked.teacher.body, [*(pair.teacher for pair in pairs), *outputs], "teacher") as taps_t,
    ):
        seen_s, seen_t = taps_s.checked(some(inputs, 2)), taps_t.checked(some(asked.inputs, 2))
        copied = [f"{path} of the {side.whose}" for side in (taps_s, taps_t) for path in sorted(side.copied)]
        yield Observed(
            read=lambda: _read(taps_s.read(), taps_t.read(), pairs),
            pairs=pairs,
            copied=tuple(copied),
            sizes=_sized(_read(seen_s, seen_t, pairs), sizes),
        )


def _read(seen_s: Mapping[str, Tensor], seen_t: Mapping[str, Tensor], pairs: Sequence[Pair]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "maps": [_map(seen_s, pair.student, "student") for pair in pairs],
        "teacher_maps": [_map(seen_t, pair.teacher, "teacher").detach() for pair in pairs],
    }
    if OUTPUT in seen_s:
        found |= {"features_BD": seen_s[OUTPUT].flatten(1), "teacher_BE": seen_t[OUTPUT].detach().flatten(1)}
    return found


def _map(seen: Mapping[str, Tensor], path: str, whose: str) -> Tensor:
    if seen[path].ndim != 4:
        raise UsageError(
            f"A tap must give maps or tokens, but '{path}' of the {whose} gives {tuple(seen[path].shape[1:])} for an"
            " example. Tap an earlier layer."
        )
    return seen[path]


def _sized(found: Mapping[str, Any], sizes: Sizes) -> Sizes:
    return Sizes(
        classes=sizes.classes,
        examples=sizes.examples,
        shapes_s=[tuple(map_.shape[1:]) for map_ in found["maps"]],
        shapes_t=[tuple(map_.shape[1:]) for map_ in found["teacher_maps"]],
        features_s=found["features_BD"].shape[1] if "features_BD" in found else 0,
        features_t=found["teacher_BE"].shape[1] if "teacher_BE" in found else 0,
    )


def _pairs(
    body_s: nn.Module, body_t: nn.Module, inputs_s: Inputs, inputs_t: Inputs, taps: Mapping[str, str]
) -> tuple[Pair, ...]:
    """The user's pairs, or those that see examples most alike; with their similarity."""
    paths_s = list(taps) or spread(maps_in(body_s, inputs_s), _DEPTHS)
    paths_t = list(taps.values()) or spread(maps_in(body_t, inputs_t), _MOST)
    for paths, whose in ((paths_s, "student"), (paths_t, "teacher")):
        if not paths:
            raise UsageError(
                f"Losses on inner layers must know where to look, but the {whose} cannot be cut into stages. Name its"
                " modules: --tap STUDENT_MODULE=TEACHER_MODULE."
            )
    with Taps(body_s, paths_s, "student") as taps_s, Taps(body_t, paths_t, "teacher") as taps_t:
        seen_s, seen_t = taps_s.checked(some(inputs_s, _COMPARED)), taps_t.checked(some(inputs_t, _COMPARED))
    if not taps:
        return paired({p: seen_s[p] for p in paths_s}, {p: seen_t[p] for p in paths_t})
    return tuple(paired({s: seen_s[s]}, {t: seen_t[t]})[0] for s, t in taps.items())


def maps_in(body: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """The depths of a body that give maps or tokens, shallow to deep, and the last module that does."""
    cuts, last = cuts_in(body, inputs), last_map(body, some(inputs, 2))
    return cuts if set(last) & {"", *cuts} or not last else (*cuts, last[0])


def cuts_in(body: nn.Module, inputs: Inputs) -> tuple[str, ...]:
    """The depths of a body that give maps or tokens, shallow to deep."""
    names = places(body)
    with Taps(body, names, "network") as taps:
        found = taps.checked(some(inputs, 2)) if names else {}
    return tuple(name for name in names if found[name].ndim == 4)


def some(inputs: Inputs, count: int) -> Tensor:
    """Clean examples, evenly spaced over the split."""
    return inputs.take(np.linspace(0, len(inputs) - 1, min(count, len(inputs))).astype(np.int64), None)


def spread(names: Sequence[str], count: int) -> list[str]:
    """Up to `count` of them, evenly spaced, the last one among them.

    >>> spread(("a", "b", "c", "d", "e", "f"), 3)
    ['b', 'd', 'f']
    """
    ends = [math.ceil((part + 1) * len(names) / count) - 1 for part in range(count)] if names else []
    return list(dict.fromkeys(names[place] for place in ends))
