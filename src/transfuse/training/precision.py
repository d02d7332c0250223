"""Number formats in which networks compute."""

import contextlib

import torch


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 itself; emulation would be slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public query for the processor; its "mkldnn supports bfloat16" is also true where it is emulated.
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Mixed precision for a forward pass: `auto` takes bfloat16 where the device has it."""
    wanted = precision == "bfloat16" or (precision == "auto" and has_native_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16) if wanted else contextlib.nullcontext()
