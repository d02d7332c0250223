"""What a step costs under each loss of distillation, against the student alone: live, and with kept answers.

OMP_NUM_THREADS=1 python benchmarks/distilling_cost.py DATA [--steps 20] [--rounds 3] [--methods kd dkd ...]

CPU-seconds of one thread from the end of one step to the end of the next, the preparing of batches included, the first
three and the last (which validates) left out; all ways one after the other in a round, the least of the rounds. Kept
answers are computed before: `before the first step` tells what that and everything else that is done once takes, in
the first round. Teacher: the built-in source; student: `mobilenetv3_small_050` from random weights at 64 px.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

import transfuse as tr
from distilling import SIZE, STUDENT
from transfuse.core.runs import Run
from transfuse.distilling.losses.table import LOSSES
from transfuse.distilling.sums import parsed
from transfuse.distilling.terms import INNER, POOLED, needs

_FIRST = 3


@dataclass
class Clock:
    """The least that a step took, and what the first round did before its first step."""

    least: float = math.inf
    before: float = math.nan
    ticks: list[float] = field(default_factory=list)

    def watch(self, event: Any) -> None:
        """Note the end of a step."""
        if event["stage"] == "training":
            self.ticks.append(time.process_time())

    def take(self, work: Callable[[Run], Any]) -> None:
        """One training more."""
        self.ticks.clear()
        started = time.process_time()
        work(Run(watch=self.watch))
        steps = self.ticks[_FIRST:-1]
        self.least = min(self.least, (steps[-1] - steps[0]) / (len(steps) - 1))
        if math.isnan(self.before):
            self.before = self.ticks[0] - started


def main() -> None:
    """Print one line a way."""
    given = _arguments()
    torch.set_num_threads(1)
    ways = _ways(given)
    clocks = {name: Clock() for name in ways}
    for _ in range(given.rounds):
        for name, work in ways.items():
            clocks[name].take(work)
    alone = clocks["student alone"].least
    print(f"Milliseconds a step of 32 examples, {given.steps} steps, least of {given.rounds}")
    for name, clock in clocks.items():
        print(
            f"{name:<24}{1000 * clock.least:>8.1f}{clock.least / alone:>8.3f} times the student alone"
            f"{clock.before:>8.2f} s before the first step"
        )


def _ways(given: argparse.Namespace) -> dict[str, Callable[[Run], Any]]:
    task, student = tr.task(given.data), tr.source(STUDENT, size=SIZE)
    teacher = tr.transfer("builtin", task, method="probe", depths="final")  # a plain head, as simkd wants it
    fit: dict[str, Any] = {"steps": given.steps, "rate": 1e-3, "patience": 0, "validate_every": given.steps}
    found: dict[str, Callable[[Run], Any]] = {
        "student alone": lambda run: tr.transfer(student, task, method="scratch", run=run, **fit)
    }
    for method in given.methods:
        inner = needs(parsed(method)) & (INNER | POOLED)
        for way, views in (("live", 0),) if inner else (("live", 0), ("kept", 8)):
            found[f"{method}, {way}"] = lambda run, method=method, views=views: tr.distill(
                teacher, student, task, method=method, views=views, compare=False, run=run, **fit
            )
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(LOSSES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
