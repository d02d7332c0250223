"""What an operator of a traced graph does to the orders of units: one small function an operator.

Each takes a `Call` and gives the axes of its result (a list of them for several results), unifying what must share an
order and fixing what must keep it. An operator that is not in the table fixes everything it sees.
Letters: B examples, c channels, h w space, N tokens, D features.
"""

from collections.abc import Callable, Mapping
from typing import Any

from transfuse.tracing import shaping
from transfuse.tracing.calls import Axes, Call, broadcast
from transfuse.tracing.terms import Leaf, Term, Unclear, fix, fixed, is_fixed, normal
from transfuse.tracing.unifying import split_two, unify, unify_all


def elementwise(call: Call) -> Axes:
    """Sums, products, activations: axes that meet share one order."""
    return broadcast(call.tensors(), len(call.shapes[0]))


def unchanged(call: Call) -> Axes:
    """Results with the axes of the first tensor."""
    return list(call.tensors()[0])


def kept(call: Call) -> Axes:
    """As `unchanged`, for operators along one axis that depends on the order."""
    axes = call.tensors()[0]
    for dim in _dims(call.given["dim"] if "dim" in call.given else call.given["dims"], len(axes)):
        fix(axes[dim])
    return list(axes)


def _dims(dims: Any, count: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(count))
    return [dim % count for dim in (dims if isinstance(dims, list | tuple) else [dims])]


def linear(call: Call) -> Axes:
    """x W^T + b."""
    x, weight, bias = call.given["input"], call.given["weight"], call.given["bias"]
    unify(x[-1], weight[1])
    if bias is not None:
        unify(weight[0], bias[0])
    return [*x[:-1], weight[0]]


def matmul(call: Call) -> Axes:
    """Matrices, with leading axes that are broadcast; `addmm` too."""
    *added, a, b = call.tensors()
    if min(len(a), len(b)) < 2:
        raise Unclear
    batch = broadcast([a[:-2], b[:-2]], max(len(a), len(b)) - 2)
    unify(a[-1], b[-2])
    return broadcast([*added, [*batch, a[-2], b[-1]]], len(batch) + 2)


def einsum(call: Call) -> Axes:
    """Axes of one letter share one order."""
    left, arrow, right = call.given["equation"].replace(" ", "").partition("->")
    if "." in left or not arrow:
        raise Unclear
    axes: dict[str, Term] = {}
    pairs = [
        (axes.setdefault(letter, axis), axis)
        for letters, tensor in zip(left.split(","), call.tensors(), strict=True)
        for letter, axis in zip(letters, tensor, strict=True)
    ]
    unify_all([a for a, _ in pairs], [b for _, b in pairs])
    return [axes[letter] for letter in right]


def attention(call: Call) -> Axes:
    """softmax(q k^T + mask) v: queries and keys share their channels, values have their own."""
    q, k, v, mask = (call.given[name] for name in ("query", "key", "value", "attn_mask"))
    if call.given.get("enable_gqa"):
        raise Unclear
    batch = broadcast([q[:-2], k[:-2], v[:-2]], len(q) - 2)
    unify_all([k[-2], q[-1]], [v[-2], k[-1]])
    if mask is not None:
        broadcast([mask, [*batch, q[-2], k[-2]]], len(q))
    return [*batch, q[-2], v[-1]]


def convolution(call: Call) -> Axes:
    """Channels are summed over within a group; groups may change places as wholes."""
    x, weight, bias, groups = (call.given[name] for name in ("input", "weight", "bias", "groups"))
    if len(x) != len(weight):
        raise Unclear
    for axis in (*x[2:], *weight[2:]):
        fix(axis)
    if groups == 1:
        unify(x[1], weight[1])
    else:
        _grouped(x, weight, groups)
    if bias is not None:
        unify(weight[0], bias[0])
    return [x[0], weight[0], *map(fixed, call.shapes[0][2:])]


def _grouped(x: Axes, weight: Axes, groups: int) -> None:
    (group_in, own_in), (group_out, _) = split_two(x[1], groups), split_two(weight[0], groups)
    unify(group_in, group_out)
    own, own_in = normal(weight[1]), normal(own_in)
    if isinstance(own, Leaf) and not own.fixed and own.size > 1 and not is_fixed(own_in):
        own.bound = own_in  # each group's own order: the group is the other axis of this very weight
    else:
        unify(own, own_in)


def transposed_convolution(call: Call) -> Axes:
    """As a convolution, whose weight is (c in, c out, h, w)."""
    x, weight, bias = (call.given[name] for name in ("input", "weight", "bias"))
    if call.given["groups"] != 1 or len(x) != len(weight):
        raise Unclear
    for axis in (*x[2:], *weight[2:]):
        fix(axis)
    unify(x[1], weight[0])
    if bias is not None:
        unify(weight[1], bias[0])
    return [x[0], weight[1], *map(fixed, call.shapes[0][2:])]


def channel_norm(call: Call) -> Axes:
    """Batch and instance normalisation, PReLU: vectors that belong to the channels."""
    x, *vectors = call.tensors()
    for vector in vectors:
        if vector and vector[0].size > 1:
            unify(x[1], vector[0])
    return x


def group_norm(call: Call) -> Axes:
    """Statistics of groups of channels, which may change places as wholes."""
    split_two(call.given["input"][1], call.given["num_groups"])
    return channel_norm(call)


def layer_norm(call: Call) -> Axes:
    """Statistics over the last axes, which share their orders with gain and bias."""
    x, *vectors = call.tensors()
    for vector in vectors:
        unify_all(x[len(x) - len(vector) :], vector)
    return x


def pooled(call: Call) -> Axes:
    """Pooling and resizing in space; what comes before is left alone."""
    x = call.tensors()[0]
    space = next(int(c) for c in call.name if c.isdigit())
    for axis in x[-space:]:
        fix(axis)
    return [*x[:-space], *map(fixed, call.shapes[0][-space:])]


def reduced(call: Call) -> Axes:
    """Means, sums, variances over axes: they do not ask for the order."""
    x = call.tensors()[0]
    gone = _dims(call.given.get("dim"), len(x))
    if call.given.get("keepdim") and len(call.shapes[0]) == len(x):
        return [fixed(1) if i in gone else axis for i, axis in enumerate(x)]
    return [axis for i, axis in enumerate(x) if i not in gone]


def located(call: Call) -> Axes:
    """As `reduced`, but the answer tells a place, so that the order counts."""
    x = call.tensors()[0]
    for dim in _dims(call.given.get("dim"), len(x)):
        fix(x[dim])
    return reduced(call)


Operator = Callable[[Call], "Axes | list[Axes]"]

_NAMES: Mapping[Operator, str] = {
    unchanged: "dropout feature_dropout contiguous clone to _to_copy detach detach_ alias lift_fresh_copy softmax"
    " _softmax log_softmax _log_softmax hardswish hardswish_ hardtanh relu6 silu mish elu selu celu softplus type_as"
    " native_dropout",
    elementwise: "where masked_fill lerp __and__ __or__",
    kept: "cumsum roll flip cumprod",
    linear: "linear",
    matmul: "matmul mm bmm addmm baddbmm",
    einsum: "einsum",
    attention: "scaled_dot_product_attention",
    convolution: "conv1d conv2d conv3d",
    transposed_convolution: "conv_transpose1d conv_transpose2d conv_transpose3d",
    channel_norm: "batch_norm instance_norm prelu",
    group_norm: "group_norm",
    layer_norm: "layer_norm rms_norm",
    pooled: "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d"
    " adaptive_avg_pool3d adaptive_max_pool2d max_pool2d_with_indices upsample_nearest2d upsample_bilinear2d"
    " upsample_bicubic2d _upsample_bicubic2d_aa _upsample_bilinear2d_aa",
    reduced: "mean sum amax amin var std var_mean std_mean logsumexp linalg_vector_norm norm prod any all",
    located: "max min argmax argmin",
    shaping.reshaped: "view reshape _unsafe_view flatten unflatten squeeze unsqueeze view_as reshape_as",
    shaping.permuted: "permute",
    shaping.transposed: "transpose t mT swapaxes numpy_T",
    shaping.expanded: "expand expand_as broadcast_to",
    shaping.repeated: "repeat",
    shaping.selected: "select",
    shaping.unbound: "unbind",
    shaping.sliced: "slice",
    shaping.parted: "split split_with_sizes chunk",
    shaping.gated: "glu",
    shaping.concatenated: "cat concat",
    shaping.stacked: "stack",
    shaping.padded: "pad constant_pad_nd",
    shaping.looked_up: "embedding",
    shaping.indexed: "index",
    shaping.shuffled: "pixel_shuffle",
}
OPERATORS: Mapping[str, Operator] = {name: operator for operator, names in _NAMES.items() for name in names.split()}
"""By their names in ATen."""

CONTRACTIONS = ("linear", "matmul", "mm", "bmm", "addmm", "scaled_dot_product_attention", "conv1d", "conv2d", "conv3d")
"""Operators that sum over units: where the units' order matters, and what their activations are worth."""
