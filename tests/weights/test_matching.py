"""Diffs of two sets of named tensors, and strict or partial loading."""

import pytest
import torch
from torch import nn

from transfuse.core.errors import WeightsError
from transfuse.weights.matching import load_into, match, unwrap_names


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_whole_file_loads_and_says_so() -> None:
    source, target = network(), network()
    found = load_into(target, source.state_dict())
    assert found.summary() == "8 of 8 tensors loaded"
    assert torch.equal(source[0].weight, target[0].weight)


def test_the_summary_is_the_one_people_are_promised() -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    have = {**body.state_dict(), "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    assert load_into(body, have).summary() == (
        "6 of 8 tensors loaded; head is new: - fc.weight (1000\N{MULTIPLICATION SIGN}512), - fc.bias (1000)"
    )


def test_differences_go_in_both_directions() -> None:
    have = {"a": torch.zeros(2), "b": torch.zeros(2, 3), "only.file": torch.zeros(())}
    want = {"a": torch.zeros(2), "b": torch.zeros(3, 2), "only.network": torch.zeros(5)}
    found = match(have, want, allow=(".*",))
    times = "\N{MULTIPLICATION SIGN}"
    assert found.lines() == [
        "- only.file (scalar)",
        "+ only.network (5)",
        f"~ b (2{times}3) → (3{times}2)",
    ]
    assert (found.offered, found.wanted, found.loaded) == (3, 3, ("a",))


def test_loading_is_strict_and_the_error_lists_the_differences() -> None:
    target = network()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    have = {name: tensor for name, tensor in network().state_dict().items() if not name.startswith("2.")}
    with pytest.raises(WeightsError, match=r"(?s)6 of 8 tensors fit.*\+ 2\.weight \(2.4\)\n\+ 2\.bias"):
        load_into(target, have)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_patterns_say_what_may_be_new() -> None:
    target = network()
    have = {name: tensor for name, tensor in network().state_dict().items() if not name.startswith("2.")}
    found = load_into(target, have, new=(r"^2\.",))
    assert set(found.new) == {"2.weight", "2.bias"}
    assert torch.equal(target[0].weight, have["0.weight"])
    with pytest.raises(WeightsError, match=r"2\.bias"):
        load_into(target, have, new=(r"^2\.weight$",))


def test_less_than_half_is_an_error_even_when_everything_may_be_new() -> None:
    with pytest.raises(WeightsError, match="Less than half"):
        load_into(network(), {"0.weight": torch.zeros(4, 3), "other": torch.zeros(9)}, new=(".*",))


def test_counters_of_batch_normalisation_may_be_missing() -> None:
    have = {name: tensor for name, tensor in network().state_dict().items() if "num_batches" not in name}
    assert load_into(network(), have).summary() == "8 of 8 tensors loaded"


@pytest.mark.parametrize(
    "wrapper", ["module.", "_orig_mod.", "model.", "module.backbone.", "_orig_mod.module.encoder."]
)
def test_wrappers_are_taken_off_when_more_names_fit_without_them(wrapper: str) -> None:
    have = {f"{wrapper}{name}": tensor for name, tensor in network().state_dict().items()}
    found = load_into(network(), {**have, "head.weight": torch.zeros(1)})
    assert found.stripped == wrapper
    assert found.summary().endswith(f"names without '{wrapper}'")


def test_a_prefix_that_belongs_to_the_network_stays() -> None:
    wrapped = nn.ModuleDict({"model": network()})
    renamed, stripped = unwrap_names(wrapped.state_dict(), wrapped.state_dict())
    assert stripped == ""
    assert renamed.keys() == wrapped.state_dict().keys()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_become_float32(kind: torch.dtype) -> None:
    source, target = network(), network()
    load_into(target, {n: t.to(kind) if t.is_floating_point() else t for n, t in source.state_dict().items()})
    assert target[0].weight.dtype == torch.float32
    assert torch.equal(target[0].weight, source[0].weight.to(kind).float())


def test_values_that_are_not_numbers_are_noted() -> None:
    have = network().state_dict()
    have["0.bias"] = torch.full((4,), float("nan"))
    assert "1 tensors hold NaN or infinite values: 0.bias" in load_into(network(), have).summary()
