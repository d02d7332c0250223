"""The report of a fusion: every tensor's fate, how the parents are related, what it needs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from transfuse.core.nouns import DataWarning, Report, Section
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.kinship import DOUBTFUL, Kinship
from transfuse.fusing.planning import Plan
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.masks import BLOCK
from transfuse.fusing.weights.options import form_of
from transfuse.weights.headers import spoken_shape


def needs(recipe: Recipe, plan: Plan, checkpoints: Mapping[str, Checkpoint], threads: int) -> dict[str, int]:
    """Bytes of disk and of memory (beside what the libraries take) that the fusion needs, about."""
    disk = sum(work.nbytes for work in plan.works)
    held = sum(e.tensor.nbytes for c in checkpoints.values() for e in c.entries.values() if e.tensor is not None)
    each = [0]
    for work in plan.works:
        if work.fate == "merged":
            count = work.entries[0].count
            whole = form_of(recipe.method, work.options, recipe.compat) in ("whole", "rows-gram")
            each.append((count if whole else min(count, BLOCK)) * 4 * (2 * len(work.entries) + 4))
    return {"disk": disk, "memory": held + sum(sorted(each)[-threads:])}


def told(
    recipe: Recipe,
    plan: Plan,
    related: Sequence[Kinship],
    needed: Mapping[str, int],
    *,
    found: Sequence[str] = (),
    command: str = "",
) -> Report:
    """The report; `found` are sentences about what was done, first."""
    counts = Counter((work.fate, work.reason) for work in plan.works)
    rows: list[dict[str, Any]] = [
        {"fate": fate, "why": why, "tensors": n, "elements": _elements(plan, fate, why)}
        for (fate, why), n in counts.items()
    ]
    rows += [{"fate": "dropped", "why": why, "tensors": n} for why, n in Counter(w for _, w in plan.dropped).items()]
    size = f"It takes {needed['disk'] / 1e6:,.1f} MB on the disk and about {needed['memory'] / 1e6:,.0f} MB of memory."
    return Report(
        title=f"{recipe.method} of {len(recipe.paths)} checkpoint{'' if len(recipe.paths) == 1 else 's'}",
        columns=("fate", "why", "tensors", "elements"),
        rows=tuple(rows),
        summary=(*found, *plan.notes, size),
        sections=(*([_kin(related)] if related else []), _fates(plan)),
        warnings=tuple(_doubts(related)),
        command=command,
    )


def _elements(plan: Plan, fate: str, why: str) -> int:
    return sum(w.entries[0].count for w in plan.works if (w.fate, w.reason) == (fate, why))


def _kin(related: Sequence[Kinship]) -> Section:
    rows = [
        {"a": k.a, "b": k.b, "cosine": round(k.cosine, 4), "distance": round(k.distance, 4), "tensors": k.tensors}
        for k in related
    ]
    return Section(
        kind="table",
        title="How the parents are related",
        content={"columns": ["a", "b", "cosine", "distance", "tensors"], "rows": rows},
        note="Medians over tensors of the cosine of the weights, and of |a - b| / |b|, on samples.",
    )


def _fates(plan: Plan) -> Section:
    rows = [
        {"tensor": w.name, "shape": spoken_shape(w.shape).strip("()"), "fate": w.fate, "why": w.reason}
        for w in plan.works
    ]
    rows += [{"tensor": name, "shape": "", "fate": "dropped", "why": why} for name, why in plan.dropped]
    return Section(
        kind="table", title="Every tensor", content={"columns": ["tensor", "shape", "fate", "why"], "rows": rows}
    )


def _doubts(related: Sequence[Kinship]) -> list[DataWarning]:
    return [
        DataWarning(
            code="distant-parents",
            message=f"'{k.a}' and '{k.b}' are far apart (cosine {k.cosine:.2f}): their mean may be worse than both.",
        )
        for k in related
        if k.cosine < DOUBTFUL
    ]
