"""Hostile inputs at prediction time: each gets a reason, in seconds and in bounded memory, and never stops the others.

    python benchmarks/hostile_inputs.py --pictures MODEL --sounds MODEL --texts MODEL --tables MODEL [--out OUT.json]

MODELs are saved models of each kind. Every input of `tests/predicting/hostile.py` is asked for twice in a process of
its own that may take 60 seconds: alone, and (`beside`) after a good one of the same kind, which must be answered. The
peak is of memory that the process takes beyond what it had when it began, the model loaded.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "predicting"))
import hostile

import transfuse as tr

LIMIT = 60.0  # seconds


def asked(model: Any, item: Any, queue: Any) -> None:
    """What a process of its own answers."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        answer = model.predict([item])[-1]
    except BaseException as error:  # whatever it is, it is told
        answer = {"rejected": False, "crash": f"{type(error).__name__}: {error}"[:200]}
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    queue.put((answer, time.perf_counter() - started, peak))


def measured(kind: str, model: Any, item: Any, name: str) -> dict[str, Any]:
    """One row: the reason, seconds, MiB."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=asked, args=(model, item, queue))
    child.start()
    try:
        answer, seconds, peak = queue.get(timeout=LIMIT)
    except Exception:  # nothing came: it hangs, or died
        answer, seconds, peak = {"rejected": False, "crash": "no answer"}, LIMIT, float("nan")
    child.kill()
    child.join()
    said = answer.get("reason") or answer.get("crash") or f"ANSWERED {answer.get('class', answer.get('values'))}"
    row = {"kind": kind, "input": name, "rejected": answer["rejected"], "seconds": round(seconds, 2)}
    return {**row, "MiB": round(peak), "reason": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for kind in ("pictures", "sounds", "texts", "tables"):
        parser.add_argument(f"--{kind}")
    parser.add_argument("--out", type=Path)
    options = vars(parser.parse_args())
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("pictures", "sounds", "texts", "tables"):
            if options[kind]:
                model = tr.load(options[kind])
                more = {"large": True} if kind == "pictures" else {}
                for path in getattr(hostile, kind)(Path(folder) / kind, **more):
                    found.append(measured(kind, model, path, path.name[:20]))
                if kind == "tables":
                    columns = model.preprocessing.columns
                    like = {
                        c.name: c.values[0] if c.values else c.mean
                        for c in sorted(columns, key=lambda c: c.role != "numeric")
                    }
                    found += [measured("rows", model, row, str(place)) for place, row in enumerate(hostile.rows(like))]
    table = Table(title="hostile inputs")
    for column in ("kind", "input", "rejected", "seconds", "MiB", "reason"):
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(str(value)[:150] for value in row.values()))
    Console(width=200).print(table)
    refused = sum(row["rejected"] for row in found)
    print(f"{refused} of {len(found)} refused with a reason; slowest {max(r['seconds'] for r in found)} s; most memory "
          f"{np.nanmax([r['MiB'] for r in found])} MiB beyond the start.")  # fmt: skip
    if options["out"]:
        options["out"].write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
