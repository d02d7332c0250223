"""Training stopped by kill -9 after every one of its steps: do resumed runs end with the very same bits?

    python benchmarks/reliability/resume.py [--steps 48] [--every 1] [--workers 0,1,2]

A network of timm (batch norms, dropout) is fine-tuned on photographs with shuffling and augmentation, validated and
saved every four steps. Weights, validation history and the examples and views of every step must be those of the
uninterrupted run. Workers are threads that prepare the coming batches (`Run.workers`).
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from commands import SOURCE, make_inputs, measured, run, state, table

from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.sources.references import find
from transfuse.tasks.opening import open_task
from transfuse.training import loop
from transfuse.transferring.transfer import carried_out
from transfuse.weights.files import write_tensors


def main(arguments: list[str] | None = None) -> int:
    """Stop at every step and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--every", type=int, default=1, help="Stop after every n-th step.")
    parser.add_argument("--workers", default="0,1,2")
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        inputs = make_inputs(root / "inputs")
        wanted = _ended(_trained(options.steps, 1, None), inputs, root / "whole")
        for workers in map(int, options.workers.split(",")):
            with measured(f"{workers} workers"):
                rows.append(_stopped(options.steps, options.every, workers, inputs, root, wanted))
    table(f"kill -9 after each step of a run of {options.steps} steps", rows)
    return int(any(row[what] for row in rows for what in ("other weights", "other metrics", "other order")))


def _stopped(steps: int, every: int, workers: int, inputs: Path, root: Path, wanted: dict) -> dict[str, object]:
    row = {"workers": workers, "stops": 0, "other weights": 0, "other metrics": 0, "other order": 0}
    for stop in range(1, steps, every):
        here = root / "here"
        killed = _run(_trained(steps, workers, stop), inputs, here)
        if killed.code != -signal.SIGKILL:
            raise SystemExit(f"the run was not killed:\n{killed.said}")
        found = _ended(_trained(steps, workers, None), inputs, here)
        row["stops"] += 1
        print(f"  {row}", file=sys.stderr, flush=True)
        row["other weights"] += found["weights"] != wanted["weights"]
        row["other metrics"] += found["history"] != wanted["history"]
        if found["weights"] != wanted["weights"]:
            row["first"] = row.get("first", "") + f" {stop}"
        row["other order"] += any(wanted["order"][step] != order for step, order in found["order"].items())
        shutil.rmtree(here)
    return row


def _trained(steps: int, workers: int, stop: int | None) -> Callable[[Path], int]:
    """A training as work for a child, which kills itself after the step `stop`."""

    def work(inputs: Path) -> int:
        order: dict[str, object] = {}

        def watch(event: dict) -> None:
            if event["stage"] == "training" and event["done"] == stop and event.get("text") != "resumed":
                os.kill(os.getpid(), signal.SIGKILL)

        before = loop._Loop._step

        def step(self, batch) -> None:
            order[str(self.progress["step"])] = [batch.index_B.tolist(), batch.view_B.tolist()]
            before(self, batch)

        loop._Loop._step = step
        run = Run(checkpoints=Path("runs"), watch=watch, workers=workers, device="cpu")
        options = {
            "steps": steps, "rate": 0.003, "augmentation": "light", "dropout": 0.2, "precision": "float32",
            "validate_every": 4, "patience": 0, "batch_size": 12, "seed": 0,
        }  # fmt: skip
        task, source = open_task(inputs / "photos", seed=0), find(SOURCE, size=32)
        _, outcome = carried_out(source, task, method="finetune", name="resumed", run=run, options=options)
        write_tensors("weights", outcome.network.state_dict())
        Path("found.json").write_text(json.dumps({"order": order, "history": plain(outcome.curves)}))
        return 0

    return work


def _run(work: Callable[[Path], int], inputs: Path, here: Path) -> object:
    here.mkdir(exist_ok=True)
    return run(work, inputs, here, here / "cache")


def _ended(work: Callable[[Path], int], inputs: Path, here: Path) -> dict:
    ended = _run(work, inputs, here)
    if ended.code:
        raise SystemExit(f"a training that should have ended well said ({ended.code}):\n{ended.said}")
    found = json.loads((here / "found.json").read_text())
    return {**found, "weights": state(here / "weights")}


if __name__ == "__main__":
    sys.exit(main())
