"""A full disk, a folder that cannot be written, errors of the disk: is what was there before intact, and is it said?

    python benchmarks/reliability/disk.py [--most 1000] [--only model,fusion]

Five artefacts are each replaced while (1) the disk is full (a small tmpfs; where mounting is not allowed, a limit on
the size of files), (2) the file system is read-only (or the folder, for who is not root), (3) every single call of
write, fsync, rename, open or allocation in turn fails with EIO or ENOSPC by `faults.c` (which needs a C compiler).
`new`: the artefact took its place whole before a later call failed. `partial`: neither the old one nor the new one.
"""

import argparse
import contextlib
import ctypes
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import commands
import numpy as np
import torch
from commands import Ended, make_inputs, run, table, torn

from transfuse.core import atomic
from transfuse.core.errors import TransfuseError
from transfuse.sources import cache
from transfuse.weights.files import write_tensors

_LIBRARY = "TRANSFUSE_FAULTS"
_KINDS = ("write", "fsync", "rename", "open", "allocate")
_SIZE = 2 << 20  # bytes of the full disk
Work = Callable[[Path], int]


def main(arguments: list[str] | None = None) -> int:
    """Let everything fail and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1000, help="Injected failures for each artefact.")
    parser.add_argument("--only", default="tensors,features,folder,model,fusion")
    options = parser.parse_args(arguments)
    if _LIBRARY not in os.environ:
        return _again(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        inputs = make_inputs(root / "inputs")
        for kind in options.only.split(","):
            artefact, earlier, work = _artefacts()[kind]
            before = root / kind
            before.mkdir()
            _require_well(run(earlier, inputs, before, root / "cache"))
            rows.append(_row(f"{kind}: full disk", artefact, before, _on_full_disk(root, before, work, inputs)))
            rows.append(_row(f"{kind}: read-only", artefact, before, _on_read_only(root, before, work, inputs)))
            failing = _failing(root, before, artefact, work, inputs, options.most)
            rows.append(_row(f"{kind}: each call", artefact, before, failing))
    table("failures of the disk", rows)
    return int(any(row[what] for row in rows for what in ("partial", "strays", "no words", "wrong code")))


def _again(arguments: list[str] | None) -> int:
    """Compile the faults and start this script once more with them."""
    with tempfile.TemporaryDirectory() as name:
        library = Path(name) / "faults.so"
        source = Path(__file__).with_name("faults.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
        given = sys.argv[1:] if arguments is None else arguments
        known = {**os.environ, "LD_PRELOAD": str(library), _LIBRARY: str(library)}
        return subprocess.run([sys.executable, __file__, *given], check=False, env=known).returncode


def _artefacts() -> dict[str, tuple[str, Work, Work]]:
    """By name the artefact's path, what makes the earlier one, and what makes the new one."""

    def tensors(value: float) -> Work:
        return lambda inputs: _worded(lambda: write_tensors("w.safetensors", {"a": torch.full((700_000,), value)}))

    def features(value: float) -> Work:
        planned = cache.Planned(path=Path("f.npy"), shape=(700, 1000), description={})

        def fill(arrays: list[np.memmap]) -> dict:
            arrays[0][:] = value
            return {}

        return lambda inputs: _worded(lambda: cache.written([planned], fill))

    def folder(value: int) -> Work:
        def make() -> None:
            with atomic.writing_folder(Path("folder")) as part:
                for name in "abc":
                    (part / name).write_bytes(bytes([value]) * 900_000)

        return lambda inputs: _worded(make)

    return {
        "tensors": ("w.safetensors", tensors(1.0), tensors(2.0)),
        "features": ("f.npy", features(1.0), features(2.0)),
        "folder": ("folder", folder(1), folder(2)),
        "model": ("saved", commands.saving("two"), lambda inputs: _worded(lambda: commands.saving("one")(inputs))),
        "fusion": ("fused", commands._fuse("3"), commands._fuse("1")),
    }


def _worded(work: Callable[[], object]) -> int:
    """The exit code and message of the command line for an error of Python's functions."""
    try:
        work()
    except TransfuseError as error:
        print(f"Error: {error}")
        return 1
    return 0


Trial = tuple[Ended, Path]


def _row(title: str, artefact: str, before: Path, trials: Iterator[Trial]) -> dict[str, object]:
    counted = ("failed", "old", "new", "partial", "strays", "no words", "wrong code")
    row: dict[str, object] = {"what": title, "trials": 0, **dict.fromkeys(counted, 0)}
    wanted = _bytes(before / artefact)
    for ended, here in trials:
        row["trials"] += 1
        row["failed"] += ended.code != 0
        now = _bytes(here / artefact)
        placed = ended.code == 0 or now in _news or "is in its place, whole" in ended.said  # but for its date
        kind = "old" if now == wanted else "new" if placed else "partial"
        broken = torn(here / artefact)
        if broken or kind == "partial":
            print(f"  {title} (code {ended.code}), {broken}:", *ended.said.splitlines()[-3:], sep="\n    ", flush=True)
        row["partial" if broken else kind] += 1
        row["strays"] += bool([p for p in here.rglob(".*") if p.suffix == ".part"])
        row["no words"] += ended.code != 0 and ("Error: " not in ended.said or "Traceback" in ended.said)
        row["wrong code"] += ended.code not in (0, 1)
        if "Traceback" in ended.said or ended.code not in (0, 1):
            print(f"  {title}:", *ended.said.splitlines()[-6:], sep="\n    ")
    return row


_news: list[bytes] = []


def _bytes(path: Path) -> bytes:
    if path.is_file():
        return path.read_bytes()
    return b"".join(file.name.encode() + file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


def _on_full_disk(root: Path, before: Path, work: Work, inputs: Path) -> Iterator[Trial]:
    here = root / "full"
    here.mkdir()
    size = sum(file.stat().st_size for file in before.rglob("*") if file.is_file())
    limit = None
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size + size // 3 + 65536}", "tmpfs", str(here)],
                      check=False, capture_output=True).returncode:  # fmt: skip
        limit = size // 3
    try:
        shutil.copytree(before, here, dirs_exist_ok=True)
        yield run(work, inputs, here, root / "cache", prepare=lambda: _limited(limit)), here
    finally:
        if limit is None:
            subprocess.run(["umount", str(here)], check=True)
        shutil.rmtree(here, ignore_errors=True)


def _limited(limit: int | None) -> None:
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def _on_read_only(root: Path, before: Path, work: Work, inputs: Path) -> Iterator[Trial]:
    here = root / "closed"
    here.mkdir()
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(here)], check=False, capture_output=True
    ).returncode
    try:
        shutil.copytree(before, here, dirs_exist_ok=True)
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(here)], check=True)
        else:
            here.chmod(0o555)
        yield run(work, inputs, here, root / "cache"), here
    finally:
        if mounted:
            subprocess.run(["umount", str(here)], check=True)
        with contextlib.suppress(OSError):
            here.chmod(0o755)
        shutil.rmtree(here, ignore_errors=True)


def _failing(root: Path, before: Path, artefact: str, work: Work, inputs: Path, most: int) -> Iterator[Trial]:
    """Every call of every kind in turn; calls are counted first, in a run that does not fail."""
    library = ctypes.CDLL(os.environ[_LIBRARY])
    here = root / "failing"
    plan = []
    for kind in range(len(_KINDS)):
        shutil.copytree(before, here)

        def counting(inputs: Path, kind: int = kind) -> int:
            code = work(inputs)
            (root / "count").write_text(str(library.counted()))
            return code

        arm = _arming(library, kind, 0, 0, here)
        _require_well(run(counting, inputs, here, root / "cache", prepare=arm))
        count = int((root / "count").read_text())
        plan += [(kind, place, number) for place in range(1, count + 1) for number in (errno.EIO, errno.ENOSPC)]
        _news.append(_bytes(here / artefact))
        shutil.rmtree(here)
    step = max(1, -(-len(plan) // most))
    for kind, place, number in plan[::step]:
        shutil.copytree(before, here)
        yield run(work, inputs, here, root / "cache", prepare=_arming(library, kind, place, number, here)), here
        shutil.rmtree(here)


def _arming(library: ctypes.CDLL, kind: int, place: int, number: int, here: Path) -> Callable[[], None]:
    return lambda: library.arm(kind, place, number, str(here).encode())


def _require_well(ended: Ended) -> None:
    if ended.code:
        raise SystemExit(f"what should have ended well said ({ended.code}):\n{ended.said}")


if __name__ == "__main__":
    sys.exit(main())
