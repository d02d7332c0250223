"""Writers and readers of the same artefacts at once: does a reader ever see a part of one state and a part of another?

    python benchmarks/reliability/readers.py [--reads 10000] [--processes 8]

Half of the processes write, half read, three kinds of artefact in turn: a file of tensors, an entry of the feature
cache, a folder of several files. Everything in one state is one number, so a torn read has two, or an error.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from commands import table

from transfuse.core import atomic, sums
from transfuse.core.errors import ModelError
from transfuse.sources import cache
from transfuse.weights.files import read_tensors, write_tensors

KINDS = ("tensors", "features", "folder")


def main(arguments: list[str] | None = None) -> int:
    """Let them run and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=8)
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        root, ended, told = Path(name), context.Event(), context.Queue()
        for kind in KINDS:
            write(kind, root, 0)
        half = options.processes // 2
        writers = [context.Process(target=_write, args=(root, number + 1, ended)) for number in range(half)]
        each = -(-options.reads // half)
        readers = [context.Process(target=_read, args=(root, number, each, told)) for number in range(half)]
        began = time.monotonic()
        for process in (*writers, *readers):
            process.start()
        found = [told.get() for _ in readers]
        ended.set()
        for process in (*writers, *readers):
            process.join()
        left = [path.name for path in root.rglob(".*.part")]
    rows = []
    for kind in KINDS:
        counts, states, wrong = zip(*(one[kind] for one in found), strict=True)
        row = {"artefact": kind, "reads": sum(counts), "states seen": len(set().union(*states))}
        rows.append({**row, "torn": sum(map(len, wrong))})
    table(f"{half} writers and {half} readers, {time.monotonic() - began:.0f} s", rows)
    torn = [text for one in found for kind in KINDS for text in one[kind][2]]
    print(
        f"  torn: {len(torn)} of {sum(row['reads'] for row in rows)}; strays left: {len(left)}", *torn[:3], sep="\n  "
    )
    return int(bool(torn or left or any(p.exitcode for p in (*writers, *readers))))


def _write(root: Path, writer: int, ended: object) -> None:
    torch.set_num_threads(1)
    number = writer
    while not ended.is_set():
        for kind in KINDS:
            write(kind, root, number)
        number += 1000
        time.sleep(0.002)


def _read(root: Path, reader: int, count: int, told: object) -> None:
    torch.set_num_threads(1)
    found = {kind: [0, set(), []] for kind in KINDS}
    for number in range(count):
        kind = KINDS[(number + reader) % len(KINDS)]
        found[kind][0] += 1
        try:
            values = read(kind, root)
        except Exception as error:
            found[kind][2].append(f"{kind}: {type(error).__name__}: {error}")
            continue
        found[kind][1] |= set(values)
        if len(set(values)) != 1:
            found[kind][2].append(f"{kind}: {sorted(set(values))[:4]}")
    told.put(found)


def write(kind: str, root: Path, number: int) -> None:
    """One state of an artefact."""
    if kind == "tensors":
        write_tensors(root / "w.safetensors", {f"t{n}": torch.full((4000,), float(number)) for n in range(3)})
    elif kind == "features":
        cache.written(
            [cache.Planned(path=root / "f.npy", shape=(300, 40), description={"number": number})], _filled(number)
        )
    else:
        with atomic.writing_folder(root / "folder") as part:
            for name in "abc":
                (part / name).write_text(f"{number} " * 2000)
            (part / sums.SUMS).write_bytes(sums.of_part(part))


def _filled(number: int) -> cache.Fill:
    def fill(arrays: Sequence[np.memmap]) -> Mapping[str, float]:
        arrays[0][:] = number
        return {}

    return fill


def read(kind: str, root: Path) -> list[float]:
    """Every number in an artefact."""
    if kind == "tensors":
        return [float(v) for tensor in read_tensors(root / "w.safetensors").values() for v in (tensor[0], tensor[-1])]
    if kind == "features":
        found = cache.opened(root / "f.npy")
        if found is None:
            raise FileNotFoundError("the entry is not there or broken")
        array, said = found
        return [float(said["number"]), *(float(v) for v in (array[0, 0], array.min(), array.max()))]

    def numbers() -> list[float]:
        sums.require(root / "folder", "abc", ModelError)
        return [float(text) for name in "abc" for text in (root / "folder" / name).read_text().split()]

    return atomic.steady(root / "folder", numbers)


if __name__ == "__main__":
    sys.exit(main())
