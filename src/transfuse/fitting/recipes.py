"""The search of a recipe for fine-tuning one source: short trials of the real thing, judged on validation."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Event, Run
from transfuse.searching.search import Found, Report, search
from transfuse.searching.space import Choice, Dimension, Options, Real, Space
from transfuse.searching.strategies import Strategy
from transfuse.training.loop import Diverged
from transfuse.training.options import default_steps
from transfuse.transferring.transfer import carried_out

_SHARE_OF_STEPS = 0.3
"""Length of a trial, of the steps that the training will have."""
_TIE = 1e-3
"""Weight of the loss beside the score, so that equal scores are told apart."""


def space_of(task: Task) -> Space:
    """What is searched."""
    space: dict[str, Any] = {
        "optimizer": Choice(values=("adamw", "sgd")),
        "rate": Real(low=1e-4, high=3e-1, log=True),
        "schedule": Choice(values=("cosine", "linear")),
        "weight_decay": Real(low=1e-4, high=0.3, log=True),
        "layer_decay": Real(low=0.5, high=1.0),
        "batch_norm": Choice(values=("frozen", "adapt")),
        "augmentation": Choice(values=("auto", "none", "light", "strong")),
        "head": Choice(values=("linear", "mlp")),
        "activation": Choice(values=("relu", "gelu", "silu"), when={"head": ("mlp",)}),
    }
    if task.kind == "single-label":
        space["loss"] = Choice(values=("cross_entropy", "focal"))
        space["label_smoothing"] = Real(low=0.0, high=0.2, when={"loss": ("cross_entropy",)})
    return space


def searched(source: Source, task: Task, *, run: Run, options: dict[str, Any], trials: int) -> Found:
    """The best of `trials` short fine-tunings; what `options` gives stays, but for the rate, which is where it starts.

    With checkpoints a killed search goes on where it was. Raises `BudgetError` when not one trial fits into the time.
    """
    fixed = {name: value for name, value in options.items() if name not in ("rate", "steps")}
    space = _still_open(space_of(task), fixed)
    steps = options.get("steps") or default_steps(len(task.splits["train"]))
    effort = max(20, math.ceil(_SHARE_OF_STEPS * steps))

    def score(chosen: Options, effort: int, report: Report) -> float:
        def watch(event: Event) -> None:
            if "score" in event:
                report(event["done"], event["score"])

        wanted = {**fixed, **chosen, "steps": effort, "patience": 0, "validate_every": max(5, effort // 4)}
        try:
            quiet = Run(watch=watch, device=run.device)
            _, outcome = carried_out(source, task, method="finetune", name="trial", run=quiet, options=wanted)
        except Diverged:
            return -math.inf
        if outcome.interrupted:
            raise KeyboardInterrupt
        return max(point["score"] - _TIE * point["loss"] for point in outcome.curves)

    first = {"rate": options.get("rate", 1e-3), "optimizer": "adamw", "head": "linear", "batch_norm": "frozen"}
    return search(
        score,
        space,
        Strategy(
            trials=trials,
            effort=effort,
            first_effort=max(5, effort // 4),
            pruner="halving",
            seed=options.get("seed", 0),
        ),
        first=[{name: value for name, value in first.items() if name in space}],
        identity={"source": source.digest, "task": task.digest, "fixed": {k: str(v) for k, v in fixed.items()}},
        run=run,
    )


def _still_open(space: Space, fixed: Mapping[str, Any]) -> Space:
    """The space without what is fixed, and without what applies only to other values of that."""
    found: dict[str, Dimension] = {}
    for name, dimension in space.items():
        met = all(fixed[other] in values for other, values in dimension.when.items() if other in fixed)
        if name not in fixed and met:
            found[name] = replace(dimension, when={o: v for o, v in dimension.when.items() if o not in fixed})
    return found
