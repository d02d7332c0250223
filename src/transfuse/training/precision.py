"""Number formats in which networks compute."""

import contextlib

import torch

from transfuse.sources.precision import has_native_bfloat16


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """Mixed precision for a forward pass: `auto` takes bfloat16 where the device has it."""
    wanted = precision == "bfloat16" or (precision == "auto" and has_native_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext()
