"""Frozen batch norms folded into the convolutions before them: the same function without a pass over the maps.

A batch norm in evaluation mode is linear, y = s (x - m) + b with s = g / sqrt(v + e), so a convolution and its norm are
one convolution with the weights s W and the bias b + s (bias - m). They are computed in every pass from the parameters
themselves, which keep their names and move as before: gradients are those of the unfolded network but for rounding.
Letters: B pictures.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.layers import BatchNormAct2d
from torch import nn

_TOLERANCE = 1e-3
"""Largest difference on the sample, relative to the largest output: far above rounding, far below another function."""


@contextlib.contextmanager
def folded(network: nn.Module, sample_Bchw: torch.Tensor, *, constant: bool = False) -> Iterator[int]:
    """While it lasts, convolutions do the work of the norms after them wherever those are in evaluation mode.

    `constant` promises that no weight changes meanwhile, so that the folding is computed once.
    Gives the number of pairs; 0 when there is none, or when folding would change what `network` makes of the sample.
    """
    pairs = _pairs(network, sample_Bchw)
    expected = _output(network, sample_Bchw) if pairs else None
    for pair in pairs:
        _fold(pair, constant)
    try:
        if expected is not None and not _same(expected, _output(network, sample_Bchw)):
            _restore(pairs)
            pairs = []
        yield len(pairs)
    finally:
        _restore(pairs)


@dataclass(frozen=True)
class _Pair:
    convolution: nn.Conv2d
    norm: nn.BatchNorm2d


def _fold(pair: _Pair, constant: bool) -> None:
    convolution, norm = pair.convolution, pair.norm
    plain_convolution, plain_norm = convolution.forward, norm.forward
    kept = _weights(pair) if constant else None

    def convolve(x: torch.Tensor) -> torch.Tensor:
        return plain_convolution(x) if norm.training else convolution._conv_forward(x, *(kept or _weights(pair)))

    def normalise(x: torch.Tensor) -> torch.Tensor:
        if norm.training:
            return plain_norm(x)
        return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x  # type: ignore[no-any-return]

    convolution.forward, norm.forward = convolve, normalise  # type: ignore[method-assign, assignment]


def _weights(pair: _Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and bias of the convolution that does the work of both."""
    weight, norm = pair.convolution.weight, pair.norm
    mean, variance = cast("torch.Tensor", norm.running_mean), cast("torch.Tensor", norm.running_var)
    scale = torch.rsqrt(variance + norm.eps)
    scale = scale * norm.weight if norm.affine else scale
    shift = mean if pair.convolution.bias is None else mean - pair.convolution.bias
    bias = norm.bias - scale * shift if norm.affine else -scale * shift
    # strides as the convolution had them, for its fast layout
    return torch.mul(weight, scale[:, None, None, None]).contiguous(memory_format=_layout(weight)), bias


def _layout(weight: torch.Tensor) -> torch.memory_format:
    channels_last = weight.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format


def _restore(pairs: list[_Pair]) -> None:
    for pair in pairs:
        for module in (pair.convolution, pair.norm):
            module.__dict__.pop("forward", None)


def _pairs(network: nn.Module, sample_Bchw: torch.Tensor) -> list[_Pair]:
    """Convolutions whose output goes, untouched, into a norm with statistics; each of the two is used once."""
    made: dict[int, tuple[nn.Conv2d, torch.Tensor, int]] = {}
    found: list[_Pair] = []
    calls: dict[nn.Module, int] = {}

    def note(module: nn.Conv2d, inputs: Any, output: torch.Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        made[id(output)] = (module, output, output._version)

    def match(module: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        convolution, output, version = made.get(id(inputs[0]), (None, None, -1))
        if convolution is not None and output is not None and output._version == version:
            found.append(_Pair(convolution, module))

    handles = [
        module.register_forward_hook(note) if type(module) is nn.Conv2d else module.register_forward_pre_hook(match)
        for module in network.modules()
        if type(module) is nn.Conv2d
        or (type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats)
    ]
    try:
        _output(network, sample_Bchw)
    finally:
        for handle in handles:
            handle.remove()
    return [pair for pair in found if calls[pair.convolution] == calls[pair.norm] == 1]


def _output(network: nn.Module, sample_Bchw: torch.Tensor) -> Any:
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():  # not inference mode, which does not count what is done in place
            return network.eval()(sample_Bchw)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _same(expected: Any, given: Any) -> bool:
    pairs = list(zip(_tensors(expected), _tensors(given), strict=True))
    return all(torch.isfinite(a).all() and (a - b).abs().max() <= _TOLERANCE * a.abs().max() for a, b in pairs)


def _tensors(output: Any) -> list[torch.Tensor]:
    return [output] if isinstance(output, torch.Tensor) else [t for part in output for t in _tensors(part)]
