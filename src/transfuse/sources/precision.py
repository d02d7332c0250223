"""In which numbers a frozen network computes, and on what: chosen for speed, recorded, compared with float32.

On the CPU bfloat16 pays only where the processor multiplies it natively (AMX or AVX512_BF16): 2 to 4 times faster
there, several times slower elsewhere.
"""

import threading
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from transfuse.core.errors import MissingExtra, UsageError
from transfuse.core.tables import chosen
from transfuse.sources.inputs import PADDING

Precision = Literal["auto", "float32", "bfloat16", "fast"]
Compute = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]
"""Normalised pictures (B, c, h, w) to float32 tensors on the CPU, one for each depth."""

_CHOICES = ("auto", "float32", "bfloat16", "fast")


def device_of(name: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here; raises `UsageError` when there is no such one."""
    chosen("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "`device` must be one that is here, but is 'cuda' and torch finds no GPU. Use 'cpu' or 'auto'."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def chosen_precision(precision: str, device: torch.device) -> str:
    """`float32`, `bfloat16` or `openvino-bfloat16`: what the choice means on this device."""
    chosen("precision", precision, _CHOICES)
    if precision == "auto":
        return "bfloat16" if has_native_bfloat16(device) else "float32"
    return "openvino-bfloat16" if precision == "fast" else precision


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool({"amx_bf16", "avx512_bf16"} & _processor_flags())


def prepared(network: nn.Module, precision: str, device: torch.device) -> Compute:
    """The network in evaluation mode as a function; raises `MissingExtra` when OpenVINO is wanted and not installed."""
    if precision == "openvino-bfloat16":
        return _openvino(network)
    network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def compute(x_Bchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode(), autocast:
            values = network(x_Bchw.to(device, non_blocking=True))
        return tuple(value.to("cpu", torch.float32) for value in values)

    return compute


def _openvino(network: nn.Module) -> Compute:
    try:
        import openvino
    except ImportError:
        raise MissingExtra("Precision 'fast' needs OpenVINO: pip install transfuse[fast]") from None
    compiled: dict[Any, Any] = {}
    alone = threading.Lock()  # one request at a time; OpenVINO spreads it over the processors itself

    def compute(x_Bchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with alone:
            return answered(x_Bchw)

    def answered(x_Bchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        try:
            if not compiled:
                compiled["model"] = _compiled(openvino, network, x_Bchw)
            values = compiled["model"](x_Bchw.contiguous().numpy())
        except Exception as error:  # each stage of a conversion has errors of its own
            why = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")[:200]
            raise UsageError(f"OpenVINO cannot run this network ({why}). Use another precision than 'fast'.") from error
        return tuple(torch.from_numpy(values[place].copy()).float() for place in range(len(values)))

    return compute


def _compiled(openvino: Any, network: nn.Module, batch: torch.Tensor) -> Any:
    """The network for batches of any number of examples, and of texts for any length."""
    shape = [-1, *batch.shape[1:]]
    if batch.dtype == torch.int64:  # a text that is padded, so that the branch that masks is the one that is traced
        shape, batch = [-1, -1], torch.tensor([[0, 0, 0, 0], [0, 0, PADDING, PADDING]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO still traces by torch.jit, which torch calls deprecated
        converted = openvino.convert_model(network.eval(), example_input=batch, input=shape)
    # OpenVINO takes bfloat16 silently where the processor has it; said explicitly here, and recorded.
    return openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})


@cache
def _processor_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "").split()
    )
