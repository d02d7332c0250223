"""Small whole commands of transfuse, each in a forked child that has everything imported, so that a trial is short.

Every command writes one artefact into the folder where it runs and keeps its cache in another.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a child of a process with threads could not be forked
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from transfuse.cli import distill, fit, fuse, main, rank, transfer  # noqa: F401 - imported before the forks
from transfuse.core import digests, sums
from transfuse.distilling import distill as _distilling  # noqa: F401
from transfuse.fitting import fit as _fitting  # noqa: F401
from transfuse.fusing import finishing as _finishing  # noqa: F401
from transfuse.predicting.folder import load, save
from transfuse.ranking import rank as _ranking  # noqa: F401
from transfuse.sources.images import timm_networks as _timm  # noqa: F401
from transfuse.sources.references import find as _find  # noqa: F401
from transfuse.transferring.methods import finetune as _finetune  # noqa: F401

SOURCE = "random:timm:test_resnet"
_COMMON = ("--size", "32", "--quiet")
_TRAINED = (*_COMMON, "--rate", "0.003", "--augmentation", "light", "--precision", "float32", "--dropout", "0.2",
            "--validate-every", "4", "--patience", "0", "--batch-size", "12")  # fmt: skip
_COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "eel": (60, 60, 200)}
_TIMES = ("seconds", "seconds_an_example", "created", "time", "ms", "made")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One piece of work with one artefact."""

    name: str
    work: Callable[[Path], int]
    """What the child does, given the folder of the inputs; its exit code."""
    earlier: Callable[[Path], int] | None
    """What makes the artefact that is there before; None when there is none."""
    artefact: str
    """Path below the working folder, or below the cache for features."""
    resumes: bool = True


def line(*arguments: str) -> Callable[[Path], int]:
    """A command line as work; `IN/` stands for the folder of the inputs."""

    def work(inputs: Path) -> int:
        try:
            main.main([argument.replace("IN/", f"{inputs}/") for argument in arguments])
        except SystemExit as ending:
            return int(ending.code or 0)
        return 0

    return work


def saving(name: str) -> Callable[[Path], int]:
    """Python's own `save` of a Model."""

    def work(inputs: Path) -> int:
        save(load(inputs / name), "saved")
        return 0

    return work


def _train(seed: int, steps: int = 48) -> Callable[[Path], int]:
    return line(
        "transfer", SOURCE, "IN/photos", "--out", "model", *_TRAINED, "--steps", str(steps), "--seed", str(seed)
    )


def _distill(seed: int, steps: int = 32) -> Callable[[Path], int]:
    how = [part for part in _TRAINED if part not in ("--dropout", "0.2")]
    return line("distill", "IN/one", SOURCE, "IN/photos", "--out", "student", "--no-compare", "--views", "2", *how,
                "--steps", str(steps), "--seed", str(seed))  # fmt: skip


def _fuse(weight: str) -> Callable[[Path], int]:
    weights = ("--weight", weight, "--weight", "1")
    return line("fuse", "IN/one", "IN/two", "--out", "fused", "--replace", *weights, "--quiet", "--force")


COMMANDS = {
    command.name: command
    for command in (
        Command(name="train", work=_train(0), earlier=_train(1, 8), artefact="model"),
        Command(
            name="extract",
            work=line("rank", "IN/photos", SOURCE, "--depths", "several", *_COMMON),
            earlier=None,
            artefact="cache/features",
        ),
        Command(name="fuse", work=_fuse("1"), earlier=_fuse("3"), artefact="fused"),
        Command(name="distil", work=_distill(0), earlier=_distill(1, 8), artefact="student"),
        Command(
            name="convert",
            work=line("convert", "IN/large.pt", "converted.safetensors"),
            earlier=line("convert", "IN/small.pt", "converted.safetensors"),
            artefact="converted.safetensors",
        ),
        Command(name="save", work=saving("one"), earlier=saving("two"), artefact="saved"),
    )
}


def available(name: str) -> bool:
    """Whether this version of transfuse has the command."""
    return name != "convert" or "convert" in main.COMMANDS


def make_inputs(folder: Path, each: int = 12) -> Path:
    """Photographs of three colours, two Models and two torch files."""
    generator = np.random.default_rng(0)
    for name, colour in _COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(each):
            pixels = np.clip(np.array(colour) + generator.normal(0, 40, (32, 32, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{name}{number}.png")
    for seed, name in enumerate(("one", "two")):
        made = line("transfer", SOURCE, "IN/photos", "--out", name, *_TRAINED, "--steps", "8", "--seed", str(seed))
        ended = run(made, folder, folder, folder / "cache")
        if ended.code:
            raise SystemExit(f"the inputs could not be made: {ended.said}")
    tensors = {f"layer{n}": torch.from_numpy(generator.normal(size=(500, 1000)).astype(np.float32)) for n in range(8)}
    torch.save(tensors, folder / "large.pt")
    torch.save({"layer0": tensors["layer0"]}, folder / "small.pt")
    save_file(tensors, folder / "large.safetensors")
    return folder


@dataclass(frozen=True)
class Ended:
    """What became of a child."""

    code: int
    """Exit code, or minus the signal."""
    seconds: float
    said: str
    after: float = 0.0
    """Seconds from the signal to the end."""


def run(
    work: Callable[[Path], int],
    inputs: Path,
    here: Path,
    cache: Path,
    *,
    after: float | None = None,
    number: int = signal.SIGKILL,
    prepare: Callable[[], None] = lambda: None,
) -> Ended:
    """Fork a child that does the work in the folder `here`; send it a signal `after` seconds, when given."""
    said = cache.parent / "said.txt"
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(work, inputs, here, cache, said, prepare)
    sent = began
    if after is not None:
        time.sleep(after)
        sent = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)
    _, status = os.waitpid(child, 0)
    ended = time.monotonic()
    told = said.read_text(errors="replace") if said.exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), ended - began, told, ended - sent)


def _child(work: Callable, inputs: Path, here: Path, cache: Path, said: Path, prepare: Callable[[], None]) -> None:
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(here)
        os.environ["TRANSFUSE_CACHE"] = str(cache)
        torch.set_num_threads(1)
        prepare()
        code = work(inputs)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def state(path: Path) -> str | None:
    """What an artefact says, by digest: every byte of files, of a Model all but what things took; None: not there."""
    if not path.exists():
        return None
    if path.is_file():
        return digests.of_file(path)
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith(".") and file.name not in _TOLD:
            found[file.name] = _said_by(file)
    return digests.of_value(found) if found else None


def _said_by(file: Path) -> str:
    """The digest of a file without what tells how it was made: seconds, and what was measured beside a feature."""
    if file.name == "model.json":
        return digests.of_value(_without_times(json.loads(file.read_text())))
    if file.suffix == ".npy":
        return digests.of_bytes(np.load(file, allow_pickle=False).tobytes())
    return digests.of_file(file)


_TOLD = (sums.SUMS, "report.html", "report.json", "README.md", "fusion.json")
"""Files that tell seconds and dates; that they are whole is compared by the list of digests."""


def _without_times(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_times(item) for name, item in value.items() if name not in _TIMES}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def torn(path: Path) -> list[str]:
    """What is not as a folder's own list of digests says, of every Model below a path."""
    return [line for found in path.rglob(sums.SUMS) for line in sums.changes(found.parent)] if path.is_dir() else []


def strays(*folders: Path) -> list[str]:
    """What only a writer that is at work may have: temporaries, locks, workplaces, unfinished runs."""
    found = [
        path
        for folder in folders
        for path in folder.rglob(".*")
        if path.suffix in (".part", ".lock", ".fusing", ".tmp")
    ]
    runs = [path for folder in folders for path in folder.glob("runs/*")]
    return [path.name for path in (*found, *runs)]


@contextlib.contextmanager
def measured(what: str) -> Iterator[None]:
    """Say how long a part took."""
    began = time.monotonic()
    yield
    print(f"  ({what}: {time.monotonic() - began:.0f} s)", flush=True)


def table(title: str, rows: list[Mapping[str, object]]) -> None:
    """Print rows under their names."""
    print(title)
    names = list(rows[0]) if rows else []
    cells = [names, *[[str(row[name]) for name in names] for row in rows]]
    widths = [max(len(row[place]) for row in cells) for place in range(len(names))]
    for row in cells:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    sys.stdout.flush()


def moments(count: int, seconds: float, seed: int) -> list[float]:
    """Random moments of some work."""
    generator = random.Random(seed)
    return [generator.uniform(0.0, seconds) for _ in range(count)]
