"""How the source's examples and the target's differ, and what could be done to the pictures so that they differ less.

Letters: N examples of the source, M of the target.
"""

from dataclasses import replace

import numpy as np

from transfuse.checking.drift import large, looks_apart
from transfuse.core.digests import of_many
from transfuse.core.nouns import DataWarning, Preprocessing, Source, Task
from transfuse.measuring.intervals import interval
from transfuse.probing.aligning import FEWEST, Ratio
from transfuse.tasks.joining import taken

_LOOKED_AT = 400
"""Pictures of each population by which their looks are compared."""


def drift(ratio: Ratio, population: Task, task: Task, *, by: str) -> DataWarning:
    """How surely the populations are told apart, what the weights leave, and what can be seen, largest first."""
    lines = about_weights(ratio, population, task)
    if task.modality == "image":
        lines += [
            f"{row['statistic']}: {row['source']:g} there, {row['target']:g} here"
            f" ({row['standardised']['value']:+.1f} standard deviations)"
            for row in _looks(population, task)
            if large(row)
        ]
    message = f"How the source's examples and the target's differ (features of {by})."
    return DataWarning(code="drift", message=message, places=tuple(lines), severity="note")


def about_weights(ratio: Ratio, population: Task, task: Task) -> list[str]:
    """How surely the populations are told apart, and how many examples' say the weights leave."""
    n, m = len(population.splits["train"]), len(task.splits["train"])
    if min(n, m) < FEWEST:
        return [f"importance weights: equal, since a population has fewer than {FEWEST} examples ({n} there, {m} here)"]
    told = _told_apart(ratio, n, m, task.seed)
    return [
        f"told apart out of fold: AUC {told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f}, n = {n + m})",
        f"importance weights: {n} examples count like {ratio.effective:.0f} of equal weight",
        *(["they hardly overlap in these features: weights can say little"] if told["low"] > 0.99 else []),
    ]


def _told_apart(ratio: Ratio, n: int, m: int, seed: int) -> dict[str, float]:
    p_N = 1 / (1 + np.exp(-np.clip(ratio.odds, -50, 50)))
    domain_N = np.repeat([0, 1], [n, m])
    return interval("single-label", "auc", domain_N, np.stack([1 - p_N, p_N], axis=1), seed=seed)


def cropped(source: Source, population: Task, task: Task) -> Source | None:
    """The source on pictures cropped to the ink, where the object fills another share of the picture; else None."""
    prepared = source.preprocessing
    if not isinstance(prepared, Preprocessing) or prepared.crop == "ink":
        return None
    filled = next(row for row in _looks(population, task) if row["statistic"] == "filled")
    if not large(filled):
        return None
    return replace(
        source,
        name=f"{source.name}, cropped to the ink",
        preprocessing=replace(prepared, crop="ink"),
        digest=of_many([source.digest, "crop ink"]),
    )


def _looks(population: Task, task: Task) -> list[dict]:
    generator = np.random.default_rng(task.seed)
    parts = []
    for one in (population, task):
        train = one.splits["train"]
        count = min(_LOOKED_AT, len(train))
        parts.append(taken(train, np.sort(generator.choice(len(train), count, replace=False))).items)
    return looks_apart(parts[0], parts[1], ("source", "target"), task.seed)
