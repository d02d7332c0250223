"""A network with other numbers of units: tensors gathered along every axis that has them, numbers in modules put right.

Gathering with repeated positions copies units, gathering fewer takes some away; so widening and pruning are one
operation. Where a layer sums over copies, each has its share of the weight (Net2Net, arXiv 1511.05641).
"""

import copy
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from transfuse.reshaping.roles import Counted, Roles, roles_of
from transfuse.reshaping.units import Maps, Orders, Units
from transfuse.sources.changes.sizes import put, set_number
from transfuse.sources.network import Network
from transfuse.tracing.terms import Cat, Term, normal
from transfuse.tracing.walking import walked

Shares = Mapping[tuple[str, int], Maps]
"""By tensor and axis over which a layer sums: for units, the share of the weight that each new one has, (n',)."""
BODY = "body."
_NAMES_OF_SIZES = ("dim", "size", "ch", "feature", "width", "shape", "index", "split", "planes")
"""In names of attributes that hold the size of an axis or of its pieces; others hold how many pieces there are."""

_NAMES_OF_SPACE = ("img", "patch", "window", "grid", "kernel", "stride", "resolution")
"""In names of attributes that hold pixels or places, however many units there are."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What there is in a network to grow or to cut."""

    orders: Orders
    roles: Roles
    axes: Mapping[str, tuple[Term, ...]]
    """Of every tensor."""
    unknown: tuple[str, ...]
    """Operators that were not understood, and where: what they see stays as it is."""

    @property
    def units(self) -> list[Units]:
        """By their numbers."""
        return self.orders.units

    def doubled(self, wanted: Collection[int]) -> set[int]:
        """Of units that multiply each other along an axis, all but one: both would change it by the ratio squared."""
        found: set[int] = set()
        for term in (term for axes in self.axes.values() for term in axes):
            for product in getattr(term, "parts", (term,)):
                inside = [n for n in self.orders.of(product) if n in wanted and n not in found]
                inside.sort(key=lambda n: (n in self.roles.normed, -self.units[n].size))
                found.update(inside[1:])
        return found

    def shape(self, name: str, sizes: Mapping[int, int]) -> tuple[int, ...]:
        """Of a tensor when units have other sizes."""
        return tuple(self.orders.sized(term, sizes) for term in self.axes[name])


def anatomy_of(network: nn.Module, sample: torch.Tensor) -> Anatomy:
    """Read a network's graph, for batches like the sample. Raises `Untraceable`."""
    found = walked(network, sample)
    orders = Orders(found)
    axes = {name: tuple(map(normal, own)) for name, own in found.states.items()}
    return Anatomy(orders=orders, roles=roles_of(found, orders), axes=axes, unknown=found.unknown)


def resized(network: Network, anatomy: Anatomy, maps: Maps, shares: Shares | None = None) -> Network:
    """A copy of the network with other units."""
    made = copy.deepcopy(network)
    state = made.state_dict(keep_vars=True)
    for name in anatomy.axes:
        tensor = gathered(name, state[name].detach(), anatomy, maps, shares or {})
        if tensor is not None:
            put(made, name, tensor)
    for path, attribute, value in list(_numbers(made, anatomy, maps)):  # all are read before one is set
        set_number(made.get_submodule(path), attribute, value)
    return made


def gathered(name: str, tensor: torch.Tensor, anatomy: Anatomy, maps: Maps, shares: Shares) -> torch.Tensor | None:
    """A tensor with other units; None when none of its units change."""
    changed = False
    for dim, term in enumerate(anatomy.axes[name]):
        if not any(number in maps for number in anatomy.orders.of(term)):
            continue
        changed = True
        tensor = tensor.index_select(dim, torch.from_numpy(anatomy.orders.positions(term, maps)))
        if own := shares.get((name, dim)):
            shape = [-1 if i == dim else 1 for i in range(tensor.ndim)]
            tensor = tensor * torch.from_numpy(anatomy.orders.shares(term, maps, own)).to(tensor).reshape(shape)
    return tensor.contiguous() if changed else None


def change_between(before: nn.Module, after: nn.Module) -> dict[str, Any]:
    """The change of sizes (see `sources.changes.sizes`) from one body to another."""
    were = {name: tensor.shape for name, tensor in before.state_dict().items()}
    tensors = {name: list(t.shape) for name, t in after.state_dict().items() if t.shape != were[name]}
    old = dict(before.named_modules())
    attributes: dict[str, dict[str, Any]] = {}
    for path, module in after.named_modules():
        for attribute, value in _sizes(module):
            if value != getattr(old[path], attribute):
                attributes.setdefault(path, {})[attribute] = list(value) if isinstance(value, tuple) else value
    return {"change": "sizes", "tensors": tensors, "attributes": attributes}


def _sizes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, value in vars(module).items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not isinstance(value, bool) and numbers and all(type(number) is int for number in numbers):
            yield name, value


def _numbers(made: nn.Module, anatomy: Anatomy, maps: Maps) -> Iterator[tuple[str, str, int | tuple[int, ...]]]:
    """Numbers of modules that tell the sizes of what they hold or see, with their new values."""
    for counted in anatomy.roles.counted:
        if not any(number in maps for term in counted.axes for number in anatomy.orders.of(term)):
            continue
        module = made.get_submodule(counted.module)
        sizes = [len(anatomy.orders.positions(term, maps)) for term in counted.axes]
        if counted.operator == "conv" and isinstance(module, nn.modules.conv._ConvNd):
            yield from _of_convolution(counted, module, sizes[0])
        elif counted.operator == "layer_norm" and hasattr(module, "normalized_shape"):
            yield counted.module, "normalized_shape", tuple(sizes)
        elif counted.operator == "group_norm" and isinstance(module, nn.GroupNorm):
            yield counted.module, "num_groups", _leading(counted, anatomy, maps)
            yield counted.module, "num_channels", sizes[0]
        elif counted.operator == "batch_norm" and hasattr(module, "num_features"):
            yield counted.module, "num_features", sizes[0]
        elif counted.operator == "cut":
            yield from _of_cut(counted, module, anatomy, maps)
    yield from _of_weights(made)


def _of_convolution(counted: Counted, module: nn.Module, channels: int) -> Iterator[tuple[str, str, int]]:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
    yield counted.module, "in_channels", channels
    yield counted.module, "out_channels", weight.shape[1 if transposed else 0]
    if counted.groups > 1:
        yield counted.module, "groups", channels // weight.shape[1]


def _leading(counted: Counted, anatomy: Anatomy, maps: Maps) -> int:
    """New number of groups: that of the leading factors, which made them up."""
    size, found = counted.groups, 1
    for factor in getattr(counted.axes[0], "factors", (counted.axes[0],)):
        if size == 1:
            break
        size //= factor.size
        found *= len(anatomy.orders.positions(factor, maps))
    return found


def _of_cut(
    counted: Counted, module: nn.Module, anatomy: Anatomy, maps: Maps
) -> Iterator[tuple[str, str, int | tuple[int, ...]]]:
    """Numbers by which code cuts an axis: how many there are (of heads), or how large the pieces or the whole are."""
    counts: dict[int, int] = {}
    leading: dict[int, int] = {}  # surer: of four heads of four channels, heads are what there are four of
    sizes: dict[int, int] = {}
    for axis in counted.axes:
        pieces = [(piece.size, len(anatomy.orders.positions(piece, maps))) for piece in pieces_of(axis)]
        if isinstance(axis, Cat):
            sizes |= dict(pieces) | _running(pieces, operator.add)
        else:
            counts |= dict(pieces)
            leading |= dict(pieces[:-1])
            sizes |= _running(pieces[::-1], operator.mul)
    for name, value in _sizes(module):
        if any(part in name for part in _NAMES_OF_SPACE):
            continue
        size = any(part in name for part in _NAMES_OF_SIZES)
        told = counts | leading | sizes if size else sizes | counts | leading
        new: Any = tuple(told.get(v, v) for v in value) if isinstance(value, tuple) else told.get(value, value)
        if new != value:
            yield counted.module, name, new


def pieces_of(axis: Term) -> tuple[Term, ...]:
    """Factors of a product, parts of what stands side by side, else the axis itself."""
    return tuple(getattr(axis, "factors", getattr(axis, "parts", (axis,))))


def _running(pieces: list[tuple[int, int]], join: Callable[[int, int], int]) -> dict[int, int]:
    """The first piece, the first two together, ...: sizes before, and after."""
    before, after = zip(*pieces, strict=True)
    return dict(zip(accumulate(before, join), accumulate(after, join), strict=True))


def _of_weights(made: nn.Module) -> Iterator[tuple[str, str, int]]:
    """Sizes of layers that are told by their own weight."""
    for path, module in made.named_modules():
        names = next((names for kind, names in _OF_WEIGHTS.items() if isinstance(module, kind)), ())
        for name, size in zip(names, module.weight.shape if names else (), strict=True):  # type: ignore[union-attr]
            yield path, name, size


_OF_WEIGHTS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("out_features", "in_features"),
    nn.Embedding: ("num_embeddings", "embedding_dim"),
    nn.PReLU: ("num_parameters",),
}
"""Attributes that repeat the shape of the weight."""


def in_body(anatomy: Anatomy) -> list[int]:
    """Numbers of units that the body has, whatever the head has of them."""
    return [i for i, units in enumerate(anatomy.units) if any(name.startswith(BODY) for name, _ in units.tensors)]


def difference(one: nn.Module, other: nn.Module, sample: torch.Tensor) -> float:
    """Largest difference of outputs as a share of the largest output, in float64; infinite when one does not run."""
    given = sample.double() if sample.is_floating_point() else sample
    try:
        with torch.no_grad():
            a, b = (_wide(network)(given) for network in (one, other))
        return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return math.inf


def _wide(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).double().eval()
