"""On labelled examples: the task a fusion is judged by, and its coefficients searched on a part of it.

One half of the validation split, drawn by class and seed, is searched on; the other half judges the result, so that
coefficients are never judged by what chose them. The test split is left alone. Letters: N examples, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Model, Section, Task
from transfuse.core.runs import Run
from transfuse.core.tables import resolve
from transfuse.evaluating.assessing import split_of
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.coefficients.methods import SEARCHES, TRIALS, Judge, Searched, Worth
from transfuse.fusing.engine import writing
from transfuse.fusing.models import require_alike
from transfuse.fusing.planning import Missing, Work, planned
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.statistics.batches import same_statistics, with_batch_statistics
from transfuse.measuring.metrics import PRIMARY, higher_is_better, measure
from transfuse.predicting.folder import load
from transfuse.predicting.predict import activated, logits
from transfuse.probing.calibrating import temperature
from transfuse.tasks.joining import taken
from transfuse.tasks.opening import open_task
from transfuse.tasks.splitting import split
from transfuse.weights.matching import load_into

_BATCHES = 16
"""Of training examples by which a trial estimates the statistics of batch normalisation."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A fusion ready to be carried out and judged."""

    recipe: Recipe
    task: Task
    """Its validation split is what judges."""
    rivals: tuple[str, ...]
    """All saved Models that the result must beat."""
    anew: bool
    """Whether statistics of batch normalisation are to be estimated anew."""
    temperature: float | None = None
    """Of the result, where a search has found it; otherwise the mean of the parents'."""
    sections: tuple[Section, ...] = ()
    summary: tuple[str, ...] = ()


def tuned(
    recipe: Recipe,
    checkpoints: Mapping[str, Checkpoint],
    on: Any,
    *,
    search: str | None,
    trials: int | None,
    missing: Missing,
    trust_code: bool,
    run: Run,
) -> Tuned:
    """The recipe with its coefficients searched, when a search is wanted. Raises `UsageError` for other classes."""
    task = open_task(on, seed=0, run=run)
    rivals = tuple(path for path, checkpoint in checkpoints.items() if checkpoint.document is not None)
    first = recipe.slices[0].parts[0].path
    anew = not same_statistics(checkpoints.values())
    model = load(first, trust_code=trust_code)
    split_of(task, "valid", model)
    if search is None:
        return Tuned(recipe=recipe, task=task, rivals=rivals, anew=anew)
    require_alike({path: checkpoints[path].document or {} for path in rivals})
    searched_on, judged_on = halves(task)
    seen = replace(task, splits={**task.splits, "valid": searched_on})
    judge = _judge(recipe, model, checkpoints, seen, missing, anew, run)
    found: Searched = resolve(SEARCHES, search, "search")(
        recipe, judge, trials=trials or TRIALS[search], seed=recipe.seed, run=run
    )
    sentence = (
        f"Searched ({search}, {len(found.rows)} trials, n = {len(searched_on)} validation examples): {found.found}."
        f" The other {len(judged_on)} judge."
    )
    return Tuned(
        recipe=found.recipe,
        task=replace(task, splits={**task.splits, "valid": judged_on}),
        rivals=rivals,
        anew=anew,
        temperature=found.worth.temperature,
        sections=(_section(found, PRIMARY[task.kind]),),
        summary=(sentence,),
    )


def halves(task: Task) -> tuple[Examples, Examples]:
    """The validation split in two, by class and seed; examples of one group stay together."""
    valid = task.splits["valid"]
    if len(valid) < 4:
        raise UsageError(f"The validation split must hold at least 4 examples to be halved, but has {len(valid)}.")
    units = None if valid.groups is None else np.unique(np.array(valid.groups, dtype=str), return_inverse=True)[1]
    part_N = split([0.5, 0.5], valid.targets, task.kind, valid.digests, task.seed, units)
    return taken(valid, np.flatnonzero(part_N == 0)), taken(valid, np.flatnonzero(part_N == 1))


def _judge(
    recipe: Recipe,
    model: Model,
    checkpoints: Mapping[str, Checkpoint],
    task: Task,
    missing: Missing,
    anew: bool,
    run: Run,
) -> Judge:
    """What the fusion of a recipe is worth on the task's validation split; `model` is what holds its tensors."""
    valid = task.splits["valid"]
    given = {part.statistics for part in recipe.slices[0].parts if part.statistics}
    statistics = {path: open_checkpoint(path) for path in given}

    def judge(recipe: Recipe) -> Worth:
        plan = planned(recipe, checkpoints, statistics, missing=missing)
        bytes_of = writing.in_memory(recipe, plan)
        load_into(model.network, {work.name: _tensor(bytes_of[work.name], work) for work in plan.works})
        if anew:
            with_batch_statistics(model, task, batches=_BATCHES)
        raw_NC = logits(model.network, valid.items, model.preprocessing, run=run)
        warmth = temperature(raw_NC, valid.targets, model.kind)
        outputs_NC = activated(raw_NC, model.kind, temperature=warmth, target_scale=model.target_scale)
        found = measure(model.kind, valid.targets, outputs_NC)
        primary = PRIMARY[model.kind]
        sign = 1.0 if higher_is_better(primary) else -1.0
        return Worth(
            metric=sign * found[primary],
            likelihood=-found["rmse" if model.kind == "regression" else "log_loss"],
            temperature=warmth,
        )

    return judge


def _tensor(data: np.ndarray, work: Work) -> torch.Tensor:
    return torch.from_numpy(data).view(work.dtype.torch).reshape(work.shape)


def _section(found: Searched, metric: str) -> Section:
    columns = list(dict.fromkeys(name for row in found.rows for name in row))
    return Section(
        kind="table",
        title="What the search tried",
        content={"columns": columns, "rows": [dict(row) for row in found.rows]},
        note=f"metric: {metric}, of errors their negative; likelihood: mean, at the best temperature. More is better.",
    )
