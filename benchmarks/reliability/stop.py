"""Ctrl-C and SIGTERM at random moments of the long commands: do they end at once and cleanly, and go on afterwards?

    python benchmarks/reliability/stop.py [--trials 10] [--only transfer,fuse]

A command must end within five seconds with code 130 or 143, without a traceback, leave a whole artefact (the best so
far, the earlier one, or none) and nothing temporary but what the same command goes on from.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from commands import COMMANDS, SOURCE, Command, line, make_inputs, measured, moments, run, strays, table, torn

LIMIT = 5.0  # seconds
_FIT = (
    "--size",
    "32",
    "--quiet",
    "--precision",
    "float32",
    "--steps",
    "60",
    "--rate",
    "0.003",
    "--augmentation",
    "none",
)
STOPPED = {
    "transfer": COMMANDS["train"],
    "fit": Command(
        name="fit",
        work=line("fit", "IN/photos", "--source", SOURCE, "--out", "model", "--budget", "5m", *_FIT),
        earlier=None,
        artefact="model",
    ),
    "fuse": COMMANDS["fuse"],
    "distill": COMMANDS["distil"],
    "rank": COMMANDS["extract"],
}


def main(arguments: list[str] | None = None) -> int:
    """Stop them and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--only", default=",".join(STOPPED))
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        inputs = make_inputs(root / "inputs")
        for one in options.only.split(","):
            with measured(one):
                rows.append(_trials(one, STOPPED[one], root, inputs, options.trials))
    table(f"{options.trials} stops each, SIGINT and SIGTERM in turn", rows)
    return int(
        any(row[what] for row in rows for what in ("late", "wrong code", "traceback", "torn", "strays", "not on"))
    )


def _trials(name: str, command: Command, root: Path, inputs: Path, count: int) -> dict[str, object]:
    first = root / f"{name}-first"
    first.mkdir()
    whole = run(command.work, inputs, first, first / "cache")
    if whole.code:
        raise SystemExit(f"'{name}' said ({whole.code}):\n{whole.said}")
    counted = ("stopped", "best kept", "late", "wrong code", "traceback", "torn", "strays", "not on")
    row = {
        "command": name,
        "trials": count,
        "seconds": round(whole.seconds, 1),
        "slowest end": 0.0,
        **dict.fromkeys(counted, 0),
    }
    for place, moment in enumerate(moments(count, 0.95 * whole.seconds, len(name))):
        here, number = root / "here", (signal.SIGINT, signal.SIGTERM)[place % 2]
        here.mkdir()
        ended = run(command.work, inputs, here, here / "cache", after=max(moment, 0.05), number=number)
        row["stopped"] += ended.code != 0
        row["best kept"] += ended.code != 0 and (here / command.artefact).exists() and name != "rank"
        row["slowest end"] = round(max(row["slowest end"], ended.after), 2)
        row["late"] += ended.after > LIMIT
        row["wrong code"] += ended.code not in (0, 128 + number)
        row["traceback"] += "Traceback" in ended.said
        row["torn"] += bool(torn(here / command.artefact))
        row["strays"] += bool([path for path in here.rglob(".*") if path.suffix == ".part"])
        again = run(command.work, inputs, here, here / "cache") if name != "fit" else None
        row["not on"] += again is not None and (again.code != 0 or bool(strays(here, here / "cache")))
        if ended.code not in (0, 128 + number) or "Traceback" in ended.said:
            print(f"  {name} at {moment:.2f} s ended with {ended.code}:", *ended.said.splitlines()[-12:], sep="\n    ")
        shutil.rmtree(here)
    return row


if __name__ == "__main__":
    sys.exit(main())
