"""kill -9 at random moments: is what is there always the old artefact or the new one, and does the same command go on?

    python benchmarks/reliability/kill.py [--trials 20] [--only train,fuse]

A trial puts the earlier artefact in place, starts the command, kills it at a random moment of its usual length,
compares what is there by digest, and runs the same command to its end. `torn`: a folder is not as its list of digests
says, or a file cannot be read; `mixed`: neither the old nor the new one; `not resumed`: the same command afterwards
does not end with the very bytes of an uninterrupted run; `strays`: anything temporary is left after that next start.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from commands import COMMANDS, Command, available, make_inputs, measured, moments, run, state, strays, table, torn

from transfuse.sources import cache as features


def main(arguments: list[str] | None = None) -> int:
    """Run the trials and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--only", default=",".join(COMMANDS))
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        inputs = make_inputs(root / "inputs")
        for one in options.only.split(","):
            if not available(one):
                print(f"  ({one}: this version of transfuse has no such command)")
                continue
            with measured(one):
                rows.append(_trials(COMMANDS[one], root, inputs, options.trials))
    table(f"kill -9 at {options.trials} random moments each", rows)
    return int(any(row[what] for row in rows for what in ("torn", "mixed", "not resumed", "strays")))


def _trials(command: Command, root: Path, inputs: Path, count: int) -> dict[str, object]:
    old, wanted = root / f"{command.name}-old", root / f"{command.name}-new"
    before = None
    if command.earlier is not None:
        old.mkdir()
        _require_well(run(command.earlier, inputs, old, old / "cache"))
        before = state(old / command.artefact)
    wanted.mkdir()
    whole = run(command.work, inputs, wanted, wanted / "cache")
    _require_well(whole)
    after = state(wanted / command.artefact)
    counted = ("killed", "old", "new", "torn", "mixed", "not resumed", "strays")
    found = {"command": command.name, "trials": count, "seconds": round(whole.seconds, 2), **dict.fromkeys(counted, 0)}
    for done, moment in enumerate(moments(count, whole.seconds, len(command.name))):
        if done and done % 10 == 0:
            print(f"  {done} trials: {found}", flush=True)
        here = root / "here"
        here.mkdir()
        if command.earlier is not None:
            _copied(old / command.artefact, here / command.artefact)
        ended = run(command.work, inputs, here, here / "cache", after=moment)
        now = state(here / command.artefact)
        found["killed"] += ended.code == -9
        found["torn"] += _torn(command, here)
        kind = "old" if now == before else "new" if now == after else "mixed"
        if kind == "mixed" and command.earlier is None and not _torn(command, here):
            kind = "old"  # some of the features, each of them whole
        found[kind] += 1
        _require_well(run(command.work, inputs, here, here / "cache"))
        found["not resumed"] += state(here / command.artefact) != after
        found["strays"] += bool(strays(here, here / "cache"))
        shutil.rmtree(here)
    return found


def _torn(command: Command, here: Path) -> bool:
    """Whether a reader would find something broken."""
    if command.name == "extract":
        return any(features.opened(path) is None for path in (here / command.artefact).glob("*.npy"))
    if command.name == "convert":
        from transfuse.weights.files import read_tensors

        return not read_tensors(here / command.artefact)
    return bool(torn(here / command.artefact))


def _copied(path: Path, to: Path) -> None:
    shutil.copytree(path, to) if path.is_dir() else shutil.copyfile(path, to)


def _require_well(ended: object) -> None:
    if ended.code:
        raise SystemExit(f"a command that should have ended well said ({ended.code}):\n{ended.said}")


if __name__ == "__main__":
    sys.exit(main())
