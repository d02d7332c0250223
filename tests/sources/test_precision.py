"""Which numbers a network computes in."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import UnknownName, UsageError
from transfuse.sources import precision
from transfuse.sources.precision import chosen_precision, device_of, has_native_bfloat16, prepared

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f amx_bf16", "bfloat16"), ("fpu avx512_bf16", "bfloat16"), ("fpu avx2 avx512f", "float32")],
)
def test_bfloat16_only_where_the_processor_has_it(flags: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_processor_flags", lambda: frozenset(flags.split()))
    assert has_native_bfloat16(CPU) is (expected == "bfloat16")
    assert chosen_precision("auto", CPU) == expected
    assert chosen_precision("float32", CPU) == "float32"
    assert chosen_precision("fast", CPU) == "openvino-bfloat16"


def test_devices_are_checked() -> None:
    assert device_of("cpu") == CPU
    with pytest.raises(UnknownName):
        device_of("tpu")
    if not torch.cuda.is_available():
        assert device_of("auto") == CPU
        with pytest.raises(UsageError, match="no GPU"):
            device_of("cuda")


def test_bfloat16_results_come_back_as_float32_and_are_rounded() -> None:
    class Double(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return self.conv(x), self.conv(x) * 2

    network, x = Double(), torch.rand(2, 3, 8, 8)
    exact, rough = prepared(network, "float32", CPU)(x), prepared(network, "bfloat16", CPU)(x)
    assert all(value.dtype == torch.float32 for value in (*exact, *rough))
    assert torch.equal(rough[0], rough[0].bfloat16().float())
    torch.testing.assert_close(exact[0], rough[0], rtol=0.05, atol=0.05)
