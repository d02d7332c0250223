"""Number formats in which networks compute."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from transfuse.sources.precision import has_native_bfloat16


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Mixed precision for a forward pass: `auto` takes bfloat16 where the device has it."""
    if precision != "bfloat16" and (precision != "auto" or not has_native_bfloat16(device)):
        yield
        return
    full = _DepthwiseInFull() if device.type == "cpu" else contextlib.nullcontext()
    with torch.autocast(device.type, torch.bfloat16), full:
        yield


class _DepthwiseInFull(TorchFunctionMode):
    """Depthwise convolutions in float32: their backward pass in bfloat16 is up to 30 times slower on the CPU.

    oneDNN has no fast kernel for strided ones (forward and backward of 288 channels, 5 x 5, stride 2: 26 ms against
    1.1 ms in float32), and no depthwise convolution that was tried is faster in bfloat16: it waits for memory.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        groups = given.get("groups", args[6] if len(args) > 6 else 1)
        if func is not F.conv2d or len(args) < 2 or groups == 1 or groups != args[0].shape[-3]:
            return func(*args, **given)
        with torch.autocast("cpu", enabled=False):
            return func(args[0].to(args[1].dtype), *args[1:], **given)
