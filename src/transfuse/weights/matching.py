"""Two sets of named tensors that should fit: diffed in both directions, loaded strictly.

A diff from the file to the network: `-` is left behind in the file, `+` is new in the network, `~` has the same name
but another shape.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import WeightsError
from transfuse.weights.headers import spoken_shape

Shapes = Mapping[str, tuple[int, ...]]

WRAPPERS = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "network.", "net.", "body.")
"""Prefixes that training scripts put before the names of a network; removed when more names fit without them."""

_COUNTER = "num_batches_tracked"


@dataclass(frozen=True, kw_only=True)
class Match:
    """What of a file fits a network. Names are the network's, or the file's without `stripped`."""

    loaded: tuple[str, ...]
    left: Shapes
    """In the file only."""
    new: Shapes
    """In the network only: these keep their random values."""
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    """Same name, other shape: (in the file, in the network)."""
    stripped: str = ""
    """Prefixes removed from the file's names."""
    notes: tuple[str, ...] = ()

    @property
    def offered(self) -> int:
        """Number of tensors in the file (counters of batch normalisation not counted)."""
        return len(self.loaded) + len(self.left) + len(self.mismatched)

    @property
    def wanted(self) -> int:
        """Number of tensors in the network (counters of batch normalisation not counted)."""
        return len(self.loaded) + len(self.new) + len(self.mismatched)

    def lines(self) -> list[str]:
        """Every difference as one line."""
        return [
            *(f"- {name} {spoken_shape(shape)}" for name, shape in self.left.items()),
            *(f"+ {name} {spoken_shape(shape)}" for name, shape in self.new.items()),
            *(f"~ {name} {spoken_shape(a)} → {spoken_shape(b)}" for name, (a, b) in self.mismatched.items()),
        ]

    def summary(self, most: int = 6) -> str:
        """`120 of 122 tensors loaded; head is new: - fc.weight (1000×512), - fc.bias (1000)`."""
        total = self.offered if not self.new and not self.mismatched else self.wanted
        text = f"{len(self.loaded)} of {total} tensors loaded"
        lines = self.lines()
        if lines:
            label = "head is new: " if self.left and not self.new and not self.mismatched else ""
            more = f", and {len(lines) - most} more" if len(lines) > most else ""
            text += f"; {label}{', '.join(lines[:most])}{more}"
        if self.stripped:
            text += f"; names without '{self.stripped}'"
        return "; ".join([text, *self.notes])


def match(have: Mapping[str, Any], want: Mapping[str, Any], *, allow: Sequence[str] = (), stripped: str = "") -> Match:
    """Compare named tensors of a file (`have`) with those of a network (`want`) by name and shape.

    `allow`: regular expressions of names that may be new, stay behind or differ; names outside them that the network
    wants and the file lacks raise `WeightsError` with the differences. `(".*",)` allows everything.
    """
    offered, wanted = _shapes(have), _shapes(want)
    both = [name for name in wanted if name in offered]
    found = Match(
        loaded=tuple(name for name in both if offered[name] == wanted[name]),
        left={name: shape for name, shape in offered.items() if name not in wanted},
        new={name: shape for name, shape in wanted.items() if name not in offered},
        mismatched={name: (offered[name], wanted[name]) for name in both if offered[name] != wanted[name]},
        stripped=stripped,
    )
    refused = [name for name in (*found.new, *found.mismatched) if not any(re.search(p, name) for p in allow)]
    if refused:
        raise WeightsError(_difference("The file does not fit the network", found))
    return found


def load_into(network: nn.Module, tensors: Mapping[str, torch.Tensor], *, new: Sequence[str] = ()) -> Match:
    """Copy tensors of a file into a network, as float32 where the network is, and say what fitted.

    `new`: regular expressions of names that may keep their random values; without them the network's names must all
    be there with their shapes. Raises `WeightsError`, listing the differences, when they are not, or when less than
    half of the network's tensors would load. The network is untouched then.
    """
    want = network.state_dict()
    renamed, stripped = unwrap_names(tensors, want)
    found = match(renamed, want, allow=new, stripped=stripped)
    if 2 * len(found.loaded) < found.wanted:
        raise WeightsError(_difference("Less than half of the network would load", found))
    names = [name for name in want if name in renamed and renamed[name].shape == want[name].shape]
    network.load_state_dict({name: renamed[name].to(want[name].dtype) for name in names}, strict=False)
    bad = [name for name in names if renamed[name].is_floating_point() and not bool(renamed[name].isfinite().all())]
    notes = (f"{len(bad)} tensors hold NaN or infinite values: {', '.join(bad[:3])}",) if bad else ()
    return Match(**{**vars(found), "notes": notes})


def unwrap_names(have: Mapping[str, Any], want: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The file's tensors without the wrappers' prefix by which most names and shapes fit, and that prefix."""
    best, most = "", _fitting(have, want)
    for prefix in _prefixes(have):
        fitting = _fitting(_without(have, prefix), want)
        if fitting > most:
            best, most = prefix, fitting
    return _without(have, best), best


def _prefixes(names: Iterable[str], most: int = 4) -> list[str]:
    """Chains of wrappers with which some names begin, such as `module.` and `module.backbone.`, short ones first."""
    found, chains = [], [""]
    for _ in range(most):
        chains = [c + w for c in chains for w in WRAPPERS if any(name.startswith(c + w) for name in names)]
        found += chains
    return found


def _without(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Names that begin with the prefix, without it, and the others as they are; what it uncovers wins."""
    if not prefix:
        return dict(tensors)
    others = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    return {**others, **{n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}}


def _fitting(have: Mapping[str, Any], want: Mapping[str, Any]) -> int:
    return sum(name in have and tuple(have[name].shape) == tuple(tensor.shape) for name, tensor in want.items())


def _shapes(tensors: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if not name.endswith(_COUNTER)}


def _difference(problem: str, found: Match, most: int = 10) -> str:
    """At most so many lines of each kind, those that the network misses first."""
    kinds = [[line for line in found.lines() if line.startswith(sign)] for sign in "~+-"]
    lines = [line for kind in kinds for line in kind[:most]]
    hidden = sum(len(kind) for kind in kinds) - len(lines)
    more = [f"... and {hidden} more"] if hidden else []
    legend = "(- only in the file, + only in the network, ~ other shape)"
    return "\n".join([f"{problem}: {len(found.loaded)} of {found.wanted} tensors fit {legend}:", *lines, *more])
