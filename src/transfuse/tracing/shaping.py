"""Operators that arrange axes: views, slices, joins. As in `operators`, each gives the axes of its result.

Letters: c channels, h w space.
"""

from collections.abc import Sequence

import torch

from transfuse.tracing.calls import Axes, Call, broadcast
from transfuse.tracing.terms import Cat, Leaf, Term, Unclear, at, choice, fix, fixed, is_fixed, normal, product
from transfuse.tracing.unifying import cut, split, split_two, unify


def reshaped(call: Call) -> Axes:
    """Axes split and merged, row-major."""
    left = [axis for axis in call.tensors()[0] if axis.size > 1]
    sizes = [size for size in call.shapes[0] if size > 1]
    parts: Axes = []
    while sizes:
        taken, wanted = [left.pop(0)], [sizes.pop(0)]
        while (have := product(taken).size) != (want := _prod(wanted)):
            if have < want:
                taken.append(left.pop(0))
            else:
                wanted.append(sizes.pop(0))
        parts += _regrouped(product(taken), wanted)
    return [fixed(1) if size == 1 else parts.pop(0) for size in call.shapes[0]]


def _prod(sizes: Sequence[int]) -> int:
    return torch.Size(sizes).numel()


def _regrouped(term: Term, sizes: Sequence[int]) -> Axes:
    try:
        return split(term, sizes)
    except Unclear:
        fix(term)
        return [fixed(size) for size in sizes]


def permuted(call: Call) -> Axes:
    """Axes in another order."""
    x = call.given["self"]
    return [x[dim] for dim in call.given["dims"]]


def transposed(call: Call) -> Axes:
    """Two axes exchanged."""
    x = list(call.given["self"])
    i, j = call.given.get("dim0", -2 if len(x) > 1 else -1), call.given.get("dim1", -1)
    x[i], x[j] = x[j], x[i]
    return x


def expanded(call: Call) -> Axes:
    """An axis of copies may be ordered in any way."""
    x, shape = call.tensors()[0], call.shapes[0]
    x = [fixed(1)] * (len(shape) - len(x)) + x
    return [axis if axis.size == size else Leaf(size) for axis, size in zip(x, shape, strict=True)]


def repeated(call: Call) -> Axes:
    """Copies one after another."""
    x, times = call.given["self"], call.given["repeats"]
    x = [fixed(1)] * (len(times) - len(x)) + x
    return [axis if n == 1 else product((Leaf(n), axis)) for axis, n in zip(x, times, strict=True)]


def selected(call: Call) -> Axes:
    """One position of an axis; orders that depend on it are those of that position."""
    x = call.given["self"]
    dim, index = call.given["dim"] % len(x), call.given["index"]
    return _at(x, dim, index)


def _at(x: Axes, dim: int, index: int) -> Axes:
    fix(x[dim])
    return [at(axis, x[dim], index % x[dim].size) for i, axis in enumerate(x) if i != dim]


def unbound(call: Call) -> list[Axes]:
    """Every position of an axis."""
    x = call.given["self"]
    dim = call.given["dim"] % len(x)
    return [_at(x, dim, i) for i in range(x[dim].size)]


def sliced(call: Call) -> Axes:
    """A part of an axis."""
    x, dim = list(call.given["self"]), call.given["dim"] % len(call.given["self"])
    start, end, step = slice(call.given["start"], call.given["end"], call.given["step"]).indices(x[dim].size)
    if step != 1:
        fix(x[dim])
        x[dim] = fixed(call.shapes[0][dim])
    elif (start, end) != (0, x[dim].size):
        x[dim] = _parted(x[dim], [start, end - start, x[dim].size - end])[1]
    return x


def _parted(term: Term, sizes: Sequence[int]) -> Axes:
    some = [size for size in sizes if size]
    try:
        parts = cut(term, some)
    except Unclear:
        fix(term)
        parts = [fixed(size) for size in some]
    return [parts.pop(0) if size else fixed(0) for size in sizes]


def parted(call: Call) -> list[Axes]:
    """An axis in parts, one after another."""
    x = call.given["self"]
    dim = call.given["dim"] % len(x)
    parts = _parted(x[dim], [shape[dim] for shape in call.shapes])
    return [[*x[:dim], part, *x[dim + 1 :]] for part in parts]


def gated(call: Call) -> Axes:
    """a * sigmoid(b) of two halves."""
    x = list(call.given["self"])
    dim = call.given["dim"] % len(x)
    a, b = _parted(x[dim], [x[dim].size // 2] * 2)
    unify(a, b)
    return [*x[:dim], a, *x[dim + 1 :]]


def concatenated(call: Call) -> Axes:
    """Parts one after another; their other axes share one order."""
    count = len(call.shapes[0])
    tensors = [axes for axes in call.tensors() if len(axes) == count]  # an empty tensor of any shape may stand beside
    dim = call.given["dim"] % count
    parts = tuple(axes[dim] for axes in tensors)
    others = [[fixed(1) if i == dim else axis for i, axis in enumerate(axes)] for axes in tensors]
    found = broadcast(others, count)
    found[dim] = fixed(call.shapes[0][dim]) if all(map(is_fixed, parts)) else normal(Cat(parts))
    return found


def stacked(call: Call) -> Axes:
    """Tensors along a new axis, each with its own orders."""
    tensors, count = call.tensors(), len(call.shapes[0])
    dim, new = call.given["dim"] % count, fixed(len(call.tensors()))
    found = [choice(new, axes) for axes in zip(*tensors, strict=True)]
    return [*found[:dim], new, *found[dim:]]


def padded(call: Call) -> Axes:
    """Padded axes keep their order."""
    x, pad = list(call.given["self"]), call.given["pad"]
    for i in range(len(pad) // 2):
        if pad[2 * i] or pad[2 * i + 1]:
            fix(x[-1 - i])
            x[-1 - i] = fixed(call.shapes[0][-1 - i])
    return x


def looked_up(call: Call) -> Axes:
    """Rows of a table."""
    fix(call.given["weight"][0])
    return [*call.given["indices"], call.given["weight"][1]]


def indexed(call: Call) -> Axes:
    """x[..., i, ...] by tensors of positions: these axes keep their order."""
    x, indices = call.given["self"], call.given["indices"]
    places = [i for i, index in enumerate(indices) if index is not None]
    if places != list(range(places[0], places[-1] + 1)):
        raise Unclear
    for i in places:
        fix(x[i])
        for axis in indices[i]:
            fix(axis)
    count = len(call.shapes[0]) - (len(x) - len(places))
    new = map(fixed, call.shapes[0][places[0] : places[0] + count])
    return [*x[: places[0]], *new, *x[places[-1] + 1 :]]


def shuffled(call: Call) -> Axes:
    """Channels to pixels: (c r r, h, w) to (c, h r, w r)."""
    x, shape = call.given["self"], call.shapes[0]
    head, tail = split_two(x[-3], shape[-3])
    for axis in (tail, x[-1], x[-2]):
        fix(axis)
    return [*x[:-3], head, *map(fixed, shape[-2:])]
