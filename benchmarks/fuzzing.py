"""Mutated files through the parsers of `transfuse scan`: a judgement comes out, whatever goes in.

    python benchmarks/fuzzing.py --parser all --count 100000 [--seed 0]

Every input is an ordinary file with one to eight changes: bytes flipped, set or drawn from what the format knows;
pieces cut, doubled, moved between files; lengths set to what breaks parsers. Prints how many inputs were judged how,
the slowest, the growth of memory, and every exception, of which there must be none. One process, one thread; HDF5,
whose library in C crashes, in the scan's own process.
"""

import argparse
import bz2
import collections
import functools
import gzip
import io
import lzma
import pickle
import pickletools
import random
import resource
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_stream
from transfuse.weights.scanning.scan import Judge

sys.path.insert(0, str(Path(__file__).parent))
from fuzzing_seeds_formats import ISOLATED, SEEDS

_NUMBERS = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
Mutation = Callable[[random.Random, bytearray, list[bytes]], None]


def _flip(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _set(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    data[draw.randrange(len(data))] = draw.randrange(256)


def _instruction(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    data[draw.randrange(len(data))] = ord(draw.choice(pickletools.opcodes).code.encode("latin-1"))


def _cut(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    start = draw.randrange(len(data))
    del data[start : start + draw.choice((1, 2, 4, 30, len(data)))]


def _double(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    start = draw.randrange(len(data))
    data[start:start] = data[start : start + draw.randrange(1, 200)]


def _number(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    start, size = draw.randrange(len(data)), draw.choice((1, 2, 4, 8))
    value = (draw.choice(_NUMBERS) + draw.choice((0, 0, -1, 1))) % 256**size
    data[start : start + size] = value.to_bytes(size, draw.choice(("little", "big")))


def _borrow(draw: random.Random, data: bytearray, seeds: list[bytes]) -> None:
    other = draw.choice(seeds)
    start, place = draw.randrange(len(other)), draw.randrange(len(data))
    data[place : place + draw.choice((0, 8, 60))] = other[start : start + draw.randrange(1, 200)]


_MUTATIONS: tuple[Mutation, ...] = (_flip, _set, _instruction, _cut, _double, _number, _borrow)


def mutated(draw: random.Random, seeds: list[bytes]) -> bytes:
    """One ordinary file, changed."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        if data:
            draw.choice(_MUTATIONS)(draw, data, seeds)
    return bytes(data)


def _pickles() -> list[bytes]:
    import numpy as np

    values: list[Any] = [
        {"a": [1, 2.5, "text", b"x", None, True, (1, (2, {3}))], "f": frozenset({1}), "long": 10**40},
        [collections.OrderedDict(a=1), collections.Counter("ab"), bytearray(b"ab"), 1 + 2j],
        {"w": np.arange(6.0).reshape(2, 3), "s": np.float32(1), "r": np.zeros(2, "i4,f8"), "o": np.array([None, "x"])},
        argparse.Namespace(lr=0.1),
    ]
    return [pickle.dumps(value, protocol) for value in values for protocol in range(6)]


def _torch() -> list[bytes]:
    import torch

    values = [
        {"w": torch.arange(12.0).reshape(3, 4), "b": torch.zeros(3, dtype=torch.int8)},
        collections.OrderedDict(p=torch.nn.Parameter(torch.ones(2)), f8=torch.ones(4).to(torch.float8_e5m2)),
        {"sparse": torch.eye(3).to_sparse(), "q": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)},
        torch.nn.Linear(2, 2),
    ]
    return [_saved(value, new) for value in values for new in (True, False)]


def _saved(value: Any, new: bool) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=new)
    return stream.getvalue()


def _scripts() -> list[bytes]:
    import torch

    found = []
    for module in (torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Tanh())):
        stream = io.BytesIO()
        torch.jit.save(torch.jit.script(module), stream)
        found.append(stream.getvalue())
    return found


def _numpy() -> list[bytes]:
    import numpy as np

    found = []
    for array in (
        np.arange(6.0),
        np.zeros((2, 3), "U4"),
        np.zeros(2, "i4,(2,)f8"),
        np.array([{"a": 1}, None], dtype=object),
    ):
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        found.append(stream.getvalue())
    for write in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        write(stream, a=np.arange(3), b=np.array(["x"]))
        found.append(stream.getvalue())
    return found


def _joblib() -> list[bytes]:
    import joblib
    import numpy as np

    found = []
    for compression in (0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)):
        stream = io.BytesIO()
        joblib.dump({"x": np.arange(40.0), "o": np.array([None, "a"], dtype=object)}, stream, compress=compression)
        found.append(stream.getvalue())
    return found


_INNER = {"a/b.txt": b"text\n" * 9, "w.pkl": pickle.dumps([1, {"a": 2}], 4), "empty": b""}


def _zips() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.mkdir("a")
            for name, data in _INNER.items():
                archive.writestr(name, data)
            with archive.open("large", "w", force_zip64=True) as member:
                member.write(b"text")
        found.append(stream.getvalue())
    return found


def _tars() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            for name, data in {**_INNER, "long" * (10 if form == tarfile.USTAR_FORMAT else 60): b"x"}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        found.append(stream.getvalue())
    return found


def _compressed() -> list[bytes]:
    inner = [_pickles()[4], _zips()[0], b"text\n" * 30]
    makers = (gzip.compress, bz2.compress, lzma.compress, zlib.compress, _old_lzma)
    return [maker(data) for maker in makers for data in inner]


def _old_lzma(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


PARSERS: dict[str, tuple[str, Callable[[], list[bytes]]]] = {
    "pickle": ("w.pkl", _pickles),
    "unmarked": ("w", _pickles),
    "torch": ("w.pt", _torch),
    "torchscript": ("w.pt", _scripts),
    "numpy": ("w", _numpy),
    "joblib": ("w.joblib", _joblib),
    "zip": ("w.zip", _zips),
    "tar": ("w.tar", _tars),
    "compressed": ("w", _compressed),
    **{name: (name, lambda make=make: [make()]) for name, make in {**SEEDS, **ISOLATED}.items()},
}
"""Parser: the name that its files go by, and what makes its ordinary files."""


def run(parser: str, seeds: list[bytes], count: int, seed: int) -> Iterator[tuple[str, float, bytes]]:
    """(what came out, seconds, input) for each of `count` inputs.

    What comes out is a verdict; `stumbled: ...` where the last net caught an exception; or the exception itself.
    """
    judge = _in_child if parser in ISOLATED else _judged
    for number in range(count):
        data = mutated(random.Random(f"{seed} {number}"), seeds)
        began = time.perf_counter() if parser in ISOLATED else time.process_time()
        try:
            judgement = judge(PARSERS[parser][0], data)
            stumbled = [one.reason for one in judgement.findings if one.reason.startswith(_LAST_NET)]
            outcome = f"stumbled: {stumbled[0][:90]}" if stumbled else judgement.verdict
        except Exception as error:
            outcome = f"raised {type(error).__name__}: {error}"
        ended = time.perf_counter() if parser in ISOLATED else time.process_time()
        yield outcome, ended - began, data


def _judged(name: str, data: bytes) -> Judgement:
    return judge_stream(io.BytesIO(data), len(data), Path(name))


@functools.cache
def _child() -> tuple[Any, Path]:
    return Judge(memory=2 * 2**30, seconds=30, strict=False), Path(tempfile.mkdtemp())


_LAST_NET = "It cannot be read to the end"


def _in_child(name: str, data: bytes) -> Judgement:
    """By the process with limits, as `scan` does it: the library in C may crash or hang there."""
    judge, folder = _child()
    (folder / name).write_bytes(data)
    return judge.judge_file(folder / name)


def main() -> int:
    """Run one parser, or all, and print what happened."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--parser", choices=["all", *sorted(PARSERS)], required=True)
    reader.add_argument("--count", type=int, default=10_000)
    reader.add_argument("--seed", type=int, default=0)
    options = reader.parse_args()
    warnings.simplefilter("ignore")
    wanted = sorted(PARSERS) if options.parser == "all" else [options.parser]
    return max(fuzzed(parser, options.count, options.seed) for parser in wanted)


def fuzzed(parser: str, count: int, seed: int) -> bool:
    """Run one parser and print; whether anything was raised."""
    seeds = PARSERS[parser][1]()
    seconds, slowest, outcomes = 0.0, (0.0, b""), collections.Counter[str]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for outcome, took, data in run(parser, seeds, count, seed):
        outcomes[outcome] += 1
        seconds += took
        slowest = max(slowest, (took, data))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    raised = any(outcome.startswith("raised") for outcome in outcomes)
    verdicts = {verdict: outcomes.pop(verdict, 0) for verdict in ("accept", "ask", "reject")}
    print(f"{parser}: {count} inputs, seed {seed}, {seconds:.0f} s")
    print(f"  {verdicts}; slowest {slowest[0]:.3f} s ({len(slowest[1])} bytes); memory grew by {grown:.0f} MiB")
    print(f"  refused by the last net: {sum(outcomes.values())} {outcomes.most_common(5) or ''}", flush=True)
    return raised


if __name__ == "__main__":
    sys.exit(main())
