"""Changed bits and truncations in everything that transfuse writes: is each noticed, and what happens then?

    python benchmarks/reliability/flips.py [--trials 1000]

A trial takes one file of one artefact, changes one bit (or cuts the file), and lets the artefact's own reader open it.
Caches must be `rebuilt` with the same contents, everything else `refused` in an error that names the file, or found by
`transfuse verify`; what is `unnoticed` is a failure. A restored file must be read again.
"""

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import commands
import numpy as np
import torch
from commands import make_inputs, measured, table

from transfuse.core.documents import sealed_object
from transfuse.core.errors import TransfuseError
from transfuse.fusing.engine.journal import Finished, Journal
from transfuse.fusing.verify import verify
from transfuse.predicting.folder import load
from transfuse.reporting.files import is_whole
from transfuse.searching import journal as search_journal
from transfuse.sources import cache
from transfuse.training.batches import Activations, Batch, Batches
from transfuse.training.loop import Group, Moves, train
from transfuse.training.options import Fit
from transfuse.tuning import planning
from transfuse.weights.backups import backup as backups
from transfuse.weights.files import is_whole as tensors_are_whole
from transfuse.weights.files import read_whole, write_tensors

Reader = Callable[[Path], str]
"""`same`, `rebuilt`, or `refused: ...` of what lies in a folder."""


@dataclass(frozen=True)
class Artefact:
    """Something that was written, and who reads it."""

    name: str
    folder: Path
    files: tuple[Path, ...]
    read: Reader


def main(arguments: list[str] | None = None) -> int:
    """Change bits and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name, measured("flips"):
        artefacts = _artefacts(Path(name))
        generator = random.Random(0)
        rows = {
            a.name: {"artefact": a.name, "trials": 0, "rebuilt": 0, "refused": 0, "unnoticed": 0} for a in artefacts
        }
        for trial in range(options.trials):
            artefact = artefacts[trial % len(artefacts)]
            file = generator.choice(artefact.files)
            whole = file.read_bytes()
            file.write_bytes(_changed(whole, generator))
            outcome = _outcome(artefact, file)
            file.write_bytes(whole)
            rows[artefact.name]["trials"] += 1
            rows[artefact.name][outcome] += 1
            if outcome == "unnoticed":
                print(f"  unnoticed: {file.name}", flush=True)
        spoilt = [a.name for a in artefacts if a.read(a.folder) != "same"]
    table(f"{options.trials} changed bits or truncations", list(rows.values()))
    total = sum(row["unnoticed"] for row in rows.values())
    print(f"  noticed: {options.trials - total} of {options.trials}; not the same when restored: {spoilt or 'none'}")
    return int(bool(total or spoilt))


def _changed(data: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.1:
        return data[: generator.randrange(len(data))]
    changed = bytearray(data)
    changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def _outcome(artefact: Artefact, file: Path) -> str:
    try:
        found = artefact.read(artefact.folder)
    except TransfuseError as error:
        return "refused" if file.name in str(error) or artefact.folder.name in str(error) else "unnoticed"
    return {"same": "unnoticed", "changed": "refused", "rebuilt": "rebuilt"}[found]


def _artefacts(root: Path) -> list[Artefact]:
    inputs = make_inputs(root / "inputs")
    makers = (_model, _features, _checkpoint, _plan, _words, _report, _fusion_journal, _search_journal, _backup)
    return [maker(root / maker.__name__.strip("_"), inputs) for maker in makers]


def _files(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file())


def _model(root: Path, inputs: Path) -> Artefact:
    """A saved Model: what it answers by is compared when it is opened, the rest by `verify`."""

    def read(folder: Path) -> str:
        load(folder)
        return "same" if verify(folder).summary[0].startswith("Everything") else "changed"

    return Artefact("saved model", inputs / "one", _files(inputs / "one"), read)


def _features(root: Path, inputs: Path) -> Artefact:
    """The feature cache, through the function that extracts what is not there."""
    rows = np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32)
    path, made = cache.path_of(root, {"of": "a benchmark"}), []

    def fill(arrays: list[np.memmap]) -> Mapping[str, float]:
        made.append(1)
        arrays[0][:] = rows
        return {"deviation": 0.125}

    def read(folder: Path) -> str:
        cache._verified.clear()
        before, found = len(made), cache.opened(path)
        if found is None:
            planned = cache.Planned(path=path, shape=rows.shape, description={"source": "x"})
            found = cache.written([planned], fill)[0]
        right = np.array_equal(found[0], rows) and found[1]["deviation"] == 0.125
        return "rebuilt" if right and len(made) > before else "same"

    read(root)
    return Artefact("feature cache", root, _files(root), read)


def _problem() -> tuple[torch.nn.Module, Batches]:
    torch.manual_seed(0)
    x_ND = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    batches = Batches(
        inputs=Activations(x_ND), targets=torch.arange(40) % 2, weights_N=np.ones(40, np.float32), batch_size=8, seed=0
    )
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), batches


def _loss(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(network(batch.x), batch.y)


def _score(network: torch.nn.Module) -> dict[str, float]:
    return {"score": 1.0, "loss": 0.0}


class Killed(BaseException):
    """What stops a run in its middle."""


def _checkpoint(root: Path, inputs: Path) -> Artefact:
    """A training's checkpoint, read by the loop that resumes."""
    from transfuse.core.runs import Run

    def go(watch: Callable[[Mapping], None]) -> object:
        network, batches = _problem()
        everything = Group(names=tuple(name for name, _ in network.named_parameters()))
        fit = Fit(steps=20, rate=0.01, validate_every=10, patience=0)
        run = Run(checkpoints=root, watch=watch, device="cpu")
        return train(
            network, batches, objective=_loss, moves=Moves(groups=(everything,)), validate=_score, fit=fit, run=run
        )

    def stop(event: Mapping) -> None:
        if event["done"] == 12:
            raise Killed

    def read(folder: Path) -> str:
        seen: list[int] = []

        def watch(event: Mapping) -> None:
            seen.append(event["done"])
            raise Killed

        try:
            go(watch)
        except Killed:
            return "same" if seen == [10] else "unnoticed"
        return "unnoticed"

    with contextlib.suppress(Killed):
        go(stop)
    return Artefact("checkpoint", root, _files(root), read)


def _plan(root: Path, inputs: Path) -> Artefact:
    """The plan beside a checkpoint: rate and steps."""
    from transfuse.core import atomic
    from transfuse.core.documents import sealed

    plan = {"fingerprint": "x" * 64, "rate": 0.003, "steps": 48, "trials": [{"rate": 0.003, "loss": 0.5}]}
    atomic.write_text(root / "plan.json", planning.json.dumps(sealed(plan)))

    def read(folder: Path) -> str:
        sealed_object(folder / "plan.json")
        return "same"

    return Artefact("plan of a training", root, _files(root), read)


def _words(root: Path, inputs: Path) -> Artefact:
    """Tensors that are kept to be made again when they are broken: what was learnt of words, Fisher information."""
    tensors = {"a": torch.arange(30.0), "b": torch.ones(3, 4).bfloat16()}
    path = root / "words.safetensors"

    def read(folder: Path) -> str:
        if tensors_are_whole(path):
            return "same"
        write_tensors(path, tensors, {"format": "pt"})
        return "rebuilt" if torch.equal(read_whole(path)[0]["a"], tensors["a"]) else "same"

    read(root)
    return Artefact("tensors of a cache", root, _files(root), read)


def _report(root: Path, inputs: Path) -> Artefact:
    """A result, as JSON and as a page, by `verify`."""
    report = load(inputs / "one")
    del report
    from transfuse.core.nouns import Report

    made = Report(
        title="t", columns=("accuracy",), rows=({"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}},)
    )
    made.save(root / "report.json")
    made.save(root / "report.html")

    def read(folder: Path) -> str:
        return "same" if all(is_whole(folder / name) for name in ("report.json", "report.html")) else "changed"

    return Artefact("reports", root, _files(root), read)


def _fusion_journal(root: Path, inputs: Path) -> Artefact:
    """The journal of a fusion: a line that changed is not believed, its tensor is merged again."""
    root.mkdir()
    journal = Journal(root / "journal.jsonl", "identity")
    wanted = {f"layer{n}": Finished(digest=f"{n:032}", inputs=(f"{n:032}",) * 2) for n in range(5)}

    def make() -> None:
        journal.begin()
        for name, finished in wanted.items():
            journal.add(name, finished)

    def read(folder: Path) -> str:
        found = journal.finished() or {}
        if any(found[name] != wanted.get(name) for name in found):
            return "same"
        return "same" if found == wanted else "rebuilt"

    make()
    return Artefact("journal of a fusion", root, _files(root), read)


def _search_journal(root: Path, inputs: Path) -> Artefact:
    """The journal of a search: refused by name; half a line at its end is a killed writer's, and cut off."""
    study = search_journal.open_study(root, "s", {"a": 1})
    for value in (0.25, 0.5, 0.75):
        trial = study.ask()
        trial.suggest_float("rate", 0.0, 1.0)
        study.tell(trial, value)
    wanted, whole = [trial.params for trial in study.trials], (root / "journal.jsonl").read_bytes()

    def read(folder: Path) -> str:
        data = (folder / "journal.jsonl").read_bytes()
        found = search_journal.open_study(folder, "s", {"a": 1})
        if data == whole:
            return "same" if [trial.params for trial in found.trials] == wanted else "changed"
        return "rebuilt" if whole.startswith(data) or whole.startswith(data[: data.rfind(b"\n") + 1]) else "same"

    return Artefact("journal of a search", root, (root / "journal.jsonl",), read)


def _backup(root: Path, inputs: Path) -> Artefact:
    """Copies and lists of a backup, by `restore`."""
    backups.backup(inputs / "one", root)

    def read(folder: Path) -> str:
        target = folder.parent / "restored"
        backups.restore(folder, target, replace=True)
        return "same" if commands.state(target) == commands.state(inputs / "one") else "unnoticed"

    return Artefact("backup", root, _files(root), read)


if __name__ == "__main__":
    sys.exit(main())
