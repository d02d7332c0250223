"""SimKD's student: a body, a projector to the teacher's last map, and the teacher's own classifier, left as it is.

Letters: B examples, c channels, h w places.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.randomness import key
from transfuse.distilling.answers import Asked
from transfuse.distilling.observing import cuts_in, maps_in, some
from transfuse.distilling.sums import Sum
from transfuse.distilling.tapping import Taps
from transfuse.distilling.terms import INNER, POOLED, needs
from transfuse.sources.network import Network
from transfuse.sources.projected import ProjectedBody, described
from transfuse.training.batches import Inputs

NAME = "simkd"


@dataclass(frozen=True, kw_only=True)
class Reused:
    """A student under its teacher's classifier."""

    network: Network
    builder: Mapping[str, Any]
    taps: Mapping[str, str]
    """The projector, and the teacher's layer that it is to equal."""


def reuses(wanted: Sum) -> bool:
    """Whether the sum asks for it. Raises `UsageError` beside other losses on inner layers."""
    names = [term.name for term in wanted.terms]
    others = Sum(labels=0.0, terms=tuple(term for term in wanted.terms if term.name != NAME))
    if NAME in names and needs(others) & (INNER | POOLED):
        raise UsageError(
            "`simkd` must stand alone or with losses on answers, such as kd, but another looks at layers too."
        )
    return NAME in names


def reused(
    student: Network, builder: Mapping[str, Any], several: Sequence[Asked], inputs: Inputs, wanted: Sum,
    taps: Mapping[str, str],
) -> Reused:  # fmt: skip
    """The student's body with a new projector and the teacher's head.

    Raises `UsageError` when the teacher's answers are not those of a linear head on the mean of its last map.
    """
    asked = several[0]
    body_t = asked.teacher.body
    head = asked.teacher.model.network.get_submodule("head") if body_t is not None else None
    same = asked.teacher.network is asked.teacher.model.network and len(several) == 1
    if body_t is None or not same or not isinstance(head, nn.Linear):
        raise UsageError("`simkd` must have one teacher with a linear head, whose classes stand in the task's order.")
    depths_s, depths_t = (
        list(taps) or cuts_in(student.body, inputs),
        list(taps.values()) or maps_in(body_t, asked.inputs),
    )
    if not depths_s or not depths_t:
        raise UsageError("`simkd` must know the last maps of both networks, but one cannot be cut into stages.")
    with Taps(student.body, depths_s[-1:], "student") as taps_s, Taps(body_t, depths_t[-1:], "teacher") as taps_t:
        map_s, map_t = (side.checked(some(of, 2))[path] for side, of, path in (
            (taps_s, inputs, depths_s[-1]), (taps_t, asked.inputs, depths_t[-1])
        ))  # fmt: skip
    _require_head_on_map(asked, head, map_t, depths_t[-1])
    factor = next((term.options.get("factor", 2) for term in wanted.terms if term.name == NAME), 2)
    facts = {"of": builder, **described(depths_s[-1], map_s.shape[1:], map_t.shape[1:], factor)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(asked.fit.seed, "projector"))
        body = ProjectedBody(student.body, facts)
    network = Network(body, copy.deepcopy(head))
    return Reused(network=network, builder={"projected": facts}, taps={"project": depths_t[-1]})


def _require_head_on_map(asked: Asked, head: nn.Linear, map_t: torch.Tensor, path: str) -> None:
    with torch.no_grad():
        expected = asked.teacher.network(some(asked.inputs, 2))
        found = head(map_t.mean((2, 3))) if map_t.ndim == 4 and map_t.shape[1] == head.in_features else None
    if found is None or not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
        raise UsageError(
            f"`simkd` must have a teacher whose head stands on the mean of its last map, but behind '{path}' of"
            f" '{asked.teacher.name}' there is more. Use another teacher, or another method."
        )
