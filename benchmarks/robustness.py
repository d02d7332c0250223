"""What adversarial training buys and costs on scikit-learn's digits, and whether our own attack is strong enough.

    python benchmarks/robustness.py [--size 32] [--eps 0.0314] [--steps 400] [--labels 60] [--examples 1000]
        [--autoattack 100] [--ways standard fgsm pgd trades probe] [--out results.json]

Every way starts from the built-in network under the same probe, takes the same steps at the same rate on the same
pictures, and is measured on the same test pictures. Seconds are those of one processor (user and system time of this
process with one thread), so other work on the machine does not count; validation is part of them, as it is of a
training. AutoAttack needs seconds to minutes for each picture that withstands it, hence fewer of them; own PGD is
measured on the very same ones beside it. Targets: FGSM within 2 points of PGD-7 at no more than twice the time of
standard training; own PGD no more than 3 points above AutoAttack.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import transfuse as tr
from transfuse.cli.demo import digits
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.robust import STEPS, Robustness, sampled, under_attack
from transfuse.reporting.values import cell
from transfuse.transferring.transfer import carried_out

_PGD = f"PGD-{STEPS}"
WAYS: dict[str, dict[str, Any]] = {
    "standard": {"method": "finetune", "interpolate": False},
    "fgsm": {"method": "adversarial", "compare": False},
    "pgd": {"method": "adversarial", "compare": False, "attack": "pgd"},
    "trades": {"method": "adversarial", "compare": False, "attack": "trades"},
    "probe": {"method": "adversarial", "compare": False, "moves": "head"},
}


def trained(source: Source, task: Task, way: str, given: argparse.Namespace) -> tuple[Model, float]:
    """A model, and the seconds of one processor that making it took."""
    options = {**WAYS[way], "steps": given.steps, "rate": given.rate, "patience": 0, "precision": "float32"}
    method = options.pop("method")
    if method == "adversarial":
        options["eps"] = given.eps
    began = time.process_time()
    model, _ = carried_out(source, task, method=method, name=way, run=Run(), options=options)
    return model, time.process_time() - began


def attacked(model: Model, task: Task, given: argparse.Namespace) -> dict[str, Any]:
    """Accuracy as it is and within several radii."""
    found = _lines(model, task, Robustness(eps=given.eps, examples=given.examples))
    return {("clean" if line["eps"] == "0" else f"{_PGD} at {line['eps']}"): line[_PGD] for line in found}


def by_autoattack(model: Model, task: Task, given: argparse.Namespace) -> dict[str, Any]:
    """AutoAttack on fewer pictures, with PGD on the same ones."""
    wanted = Robustness(eps=given.eps, examples=given.autoattack, attack="autoattack")
    line = next(line for line in _lines(model, task, wanted) if line.get("chosen"))
    return {
        f"few: {_PGD}": line[_PGD],
        "few: AutoAttack": line["AutoAttack"],
        "PGD above AutoAttack": line[_PGD]["value"] - line["AutoAttack"]["value"],
    }


def _lines(model: Model, task: Task, wanted: Robustness) -> list[dict[str, Any]]:
    examples = sampled(task.splits["test"], wanted.examples, 0)
    part = under_attack(model, examples, wanted, seed=0, run=Run())
    return list(part.sections[0].content["rows"])


def show(rows: list[dict[str, Any]]) -> None:
    """One column a way, for there are more figures than ways."""
    table = Table("", *(row["way"] for row in rows))
    for name in list(rows[0])[1:]:
        table.add_row(name, *(cell(row[name], name) for row in rows))
    Console(width=200).print(table)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--eps", type=float, default=8 / 255)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--labels", type=int, default=60)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--autoattack", type=int, default=100)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    source, task = tr.source("builtin", size=given.size), digits(given.labels, 0)
    carried_out(source, task, method="probe", name="warm", run=Run(), options={})  # features are in the cache from now
    rows: list[dict[str, Any]] = []
    models: list[Model] = []
    for way in given.ways:
        model, seconds = trained(source, task, way, given)
        first = rows[0]["seconds"] if rows else seconds
        models.append(model)
        row = {"way": way, "seconds": seconds, "times the first": seconds / first}
        rows.append({**row, **attacked(model, task, given)})
        print({name: cell(value, name) for name, value in rows[-1].items()}, flush=True)
    for model, row in zip(models, rows if given.autoattack else (), strict=False):
        row |= by_autoattack(model, task, given)
        print({name: cell(value, name) for name, value in row.items()}, flush=True)
    show(rows)
    if given.out:
        given.out.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
