"""The compiled kernels against the readable methods that they stand in for, bit patterns and edges included."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from transfuse.core.errors import WeightsError
from transfuse.fusing.engine import compiled, kernels
from transfuse.fusing.fuse import fuse
from transfuse.fusing.planning import Work
from transfuse.fusing.recipes import Part, Recipe, Slice
from transfuse.fusing.weights.masks import BLOCK
from transfuse.fusing.weights.merging import merged
from transfuse.fusing.weights.options import settled
from transfuse.weights.headers import DTYPES, Entry
from transfuse.weights.pieces import Files, floats

BASED = ("task_arithmetic", "ties", "dare_linear", "dare_ties", "model_stock")
CASES = [
    ("linear", {"weight": (0.3, 0.9)}),
    ("linear", {"weight": (2.0, -0.5), "normalize": False}),
    ("slerp", {"t": 0.3}),
    ("nuslerp", {"weight": (0.2, 0.6)}),
    ("multislerp", {}),
    ("karcher", {}),
    ("model_stock", {}),
    ("task_arithmetic", {"weight": (0.4, -0.7), "scale": 0.5}),
    ("ties", {"density": 0.2}),
    ("ties", {"density": (0.7, 0.1), "trim": "tensor", "weight": (1.0, 0.5), "scale": 0.7}),
    ("ties", {"density": 0.3, "trim": "tensor", "rescale": True, "normalize": False}),
    ("ties", {"density": 0.0}),
    ("dare_linear", {"density": (0.3, 0.8), "weight": (0.6, 0.6)}),
    ("dare_ties", {"density": (0.5, 1.0)}),
    ("dare_ties", {"density": (0.0, 0.4), "rescale": False}),
]


def tensors(count=1500, seed=0, dtype=torch.float32):
    """A base and two parents."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(count, generator=generator)
    return [(base + far * torch.randn(count, generator=generator)).to(dtype) for far in (0.0, 0.3, 0.3)]


def by_kernels(method, a, b, base=None, *, out="float32", compat="published", **options):
    """What the kernels give for one tensor called "w"."""
    assert kernels.library() is not None, "build the kernels: pip install --editable ."
    own = [[{name: v[i] for name, v in options.items() if isinstance(v, tuple)}] for i in (0, 1)]
    shared = {name: v for name, v in options.items() if not isinstance(v, tuple)}
    entries = [
        Entry(name="w", dtype=DTYPES[str(t.dtype).removeprefix("torch.")], shape=tuple(t.shape), tensor=t)
        for t in (a, b, *([] if base is None else [base]))
    ]
    work = Work(
        name="w", dtype=DTYPES[out], shape=tuple(a.shape), fate="merged", reason="", entries=tuple(entries[:2]),
        base=None if base is None else entries[2],
        options=settled(method, [shared], own, name="w", depth=0.0, compat=compat),
    )  # fmt: skip
    parts = (Part(path="a"), Part(path="b"))
    recipe = Recipe(method=method, slices=(Slice(parts=parts),), compat=compat, base=None if base is None else "base")
    assert compiled.able(recipe, work)
    with Files() as files:
        survey = compiled.surveyed(recipe, [work], files, 2) if work.options.get("trim") == "model" else None
        streams = files.streams(work.operands)
        blocks = [block.copy() for block in compiled.merged(recipe, work, streams, survey)]
    return torch.from_numpy(np.concatenate(blocks)).view(getattr(torch, out)).reshape(a.shape)


def by_methods(method, a, b, base=None, *, compat="published", **options):
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
    return merged(method, [a, b], base, name="w", compat=compat, **lists)


@pytest.mark.parametrize("compat", ["published", "mergekit"])
@pytest.mark.parametrize(("method", "options"), CASES)
def test_kernels_give_what_the_methods_give(method, options, compat):
    base, a, b = tensors()
    given = base if method in BASED else None
    found = by_kernels(method, a, b, given, compat=compat, **options)
    torch.testing.assert_close(found, by_methods(method, a, b, given, compat=compat, **options), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("method", ["slerp", "ties", "dare_ties"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensors_of_several_blocks_in_half_precision(method, dtype):
    base, a, b = tensors(2 * BLOCK + 1027, dtype=dtype)
    given = base if method in BASED else None
    options = {"trim": "tensor", "density": 0.4} if method == "ties" else {}
    found = by_kernels(method, a, b, given, out=str(dtype).removeprefix("torch."), **options)
    wanted = by_methods(method, a, b, given, **options)
    assert float((found == wanted.to(dtype)).float().mean()) > 0.999  # the others were on the edge of rounding
    torch.testing.assert_close(found.float(), wanted, rtol=2**-7, atol=1e-6)


def test_every_half_is_read_and_written_as_torch_does():
    for dtype in (torch.float16, torch.bfloat16):
        codes = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(dtype)
        codes = codes[codes.isfinite()]
        nothing = torch.zeros_like(codes)
        name = str(dtype).removeprefix("torch.")
        options = {"weight": (1.0, 1.0), "normalize": False}
        assert torch.equal(by_kernels("linear", codes, nothing, **options), codes.float())
        assert torch.equal(by_kernels("linear", codes, nothing, out=name, **options), codes)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=400))
@settings(max_examples=80, deadline=None)
def test_rounding_to_halves_is_that_of_torch(bits):
    x = torch.from_numpy(np.array(bits, dtype=np.uint32).view(np.float32).copy())
    for name in ("float16", "bfloat16"):
        held = x[x.isfinite() & x.to(getattr(torch, name)).isfinite()]
        if len(held):
            found = by_kernels("linear", held, torch.zeros_like(held), out=name, weight=(1.0, 0.0))
            assert torch.equal(found, held.to(getattr(torch, name)))


@given(st.integers(1, 200), st.floats(0.001, 1.0), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_thresholds_are_those_of_sorting(count, density, seed):
    rng = np.random.default_rng(seed)
    magnitudes = np.abs(np.round(rng.normal(size=count), 1)).astype(np.float32)  # many of them equal
    bits = magnitudes.view(np.uint32)

    def spread(bins):
        inside = slice(None) if bins is None else bits >> 16 == bins[0, density]
        part = bits[inside] >> 16 if bins is None else bits[inside] & 0xFFFF
        return {(0, density): np.bincount(part, minlength=65536)}

    rank = max(1, int(density * count))
    found = compiled.thresholds(spread, {(0, density): (rank, count)})
    assert found[0, density][0] == np.sort(magnitudes)[rank - 1]


def test_what_is_not_finite_or_too_large_is_refused():
    base, a, b = tensors()
    b[1234] = float("inf")
    for method in ("linear", "slerp", "ties"):
        with pytest.raises(WeightsError, match=r"'w'.*must be finite"):
            by_kernels(method, a, b, base if method == "ties" else None)
    with pytest.raises(WeightsError, match="must fit float16"):
        by_kernels("linear", a * 1e6, a, out="float16")


def test_threads_change_nothing_and_neither_do_shards(tmp_path):
    base, a, b = tensors(40000, dtype=torch.bfloat16)
    for name, tensor in (("base", base), ("a", a), ("b", b)):
        save_file(
            {f"{i}.w": part.clone() for i, part in enumerate(tensor.split(9000))}, tmp_path / f"{name}.safetensors"
        )
    made = []
    for threads, shard in ((1, 10**9), (3, 30_000)):
        out = tmp_path / f"out{threads}"
        fuse(
            tmp_path / "a.safetensors", tmp_path / "b.safetensors", base=tmp_path / "base.safetensors", out=out,
            method="dare_ties", threads=threads, shard_bytes=shard,
        )  # fmt: skip
        made.append({name: t for file in out.glob("*.safetensors") for name, t in load_file(file).items()})
    assert made[0].keys() == made[1].keys() and all(torch.equal(made[0][name], made[1][name]) for name in made[0])


def test_where_nothing_was_compiled_the_methods_do_the_work(tmp_path, monkeypatch):
    base, a, b = tensors(5000, dtype=torch.bfloat16)
    for name, tensor in (("base", base), ("a", a), ("b", b)):
        save_file({"w": tensor}, tmp_path / f"{name}.safetensors")
    paths = [tmp_path / f"{name}.safetensors" for name in ("a", "b")]
    for out, there in (("with", True), ("without", False)):
        if not there:
            monkeypatch.setattr(kernels, "library", lambda: None)
        fuse(*paths, base=tmp_path / "base.safetensors", out=tmp_path / out, method="ties", density=0.4)
    one, other = (load_file(tmp_path / out / "model.safetensors")["w"] for out in ("with", "without"))
    assert float((one == other).float().mean()) > 0.999
    torch.testing.assert_close(one, other)


def test_bytes_are_read_as_torch_reads_them():
    x = torch.randn(64)
    for name in ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
        stored = x.to(getattr(torch, name))
        found = floats(stored.view(torch.uint8).numpy(), DTYPES[name])
        assert np.array_equal(found, stored.float().numpy())


FUSED = r"""
import json, re, sys
from pathlib import Path
from transfuse.fusing.fuse import fuse
a, b, base, out = sys.argv[1:]
for method in ("linear", "slerp", "ties", "dare_ties"):
    based = {} if method in ("linear", "slerp") else {"base": base}
    fuse(a, b, out=f"{out}/{method}", method=method, **based)
peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())  # not that of who started it
print(json.dumps(["torch" in sys.modules, int(peak[1]) / 1024]))
"""


def test_plain_files_are_fused_without_torch_in_little_memory(tmp_path):
    for name, tensor in zip(("base", "a", "b"), tensors(1 << 22, dtype=torch.bfloat16), strict=True):
        save_file({"w": tensor, "v": tensor[:100].clone()}, tmp_path / f"{name}.safetensors")
    paths = [str(tmp_path / f"{name}.safetensors") for name in ("a", "b", "base")]
    done = subprocess.run([sys.executable, "-c", FUSED, *paths, str(tmp_path)], check=True, capture_output=True)
    loaded, megabytes = json.loads(done.stdout)
    assert not loaded and megabytes < 150
