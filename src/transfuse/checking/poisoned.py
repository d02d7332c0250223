"""Everything that speaks for poisoned examples, as one value, and the section of the report about it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.checking.patches import Patch, patches
from transfuse.checking.poisoning import ALPHA, SIGNS, Signs, signs
from transfuse.checking.seeing import Everything
from transfuse.core.nouns import Section, Task

_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Poison:
    """What was looked for among examples of one label each."""

    signs: Signs
    patches: tuple[Patch, ...]


def poison_of(task: Task, every: Everything, x_ND: np.ndarray, *, seed: int = 0) -> Poison | None:
    """None where examples have no single label. Missing cells of rows count as ordinary ones."""
    if task.kind != "single-label":
        return None
    y_N, classes = every.examples.targets, len(task.classes)
    there = np.isfinite(x_ND)
    count_D = np.maximum(there.sum(0), 1)
    x_ND = np.where(there, x_ND, np.where(there, x_ND, 0).sum(0) / count_D)
    found = patches(every.examples.items, y_N, classes, seed=seed) if task.modality == "image" else []
    return Poison(signs=signs(x_ND, y_N, classes, seed=seed), patches=tuple(found))


def section(task: Task, poison: Poison) -> Section:
    """The figures of every class that is accused, and of the highest others."""
    p_SC = np.stack([poison.signs.p[name] for name in SIGNS])
    shared = {patch.label: len(patch.places) for patch in poison.patches}
    order = sorted(range(len(task.classes)), key=lambda label: (-shared.get(label, 0), p_SC[:, label].min(), label))
    rows = [_row(task, poison, label, shared) for label in order[:_SHOWN]]
    return Section(
        kind="table", title="Signs of poisoning", content={"columns": list(rows[0]), "rows": rows}, note=NOTE
    )


def sentence(task: Task, poison: Poison) -> str:
    """What is accused, in words."""
    accused = [task.classes[patch.label] for patch in poison.patches]
    grouped = {task.classes[label] for name in SIGNS for label in poison.signs.suspicious(name).tolist()}
    if not accused and not grouped:
        return "No class shows signs of poisoning; triggers that move, blend in, or are in few pictures are not seen."
    told = [f"pictures of {_listed(accused)} have a small patch in common"] if accused else []
    told += [f"{_listed(sorted(grouped))} stand out among the classes"] if grouped else []
    return f"Signs of poisoning, or of something that gives the answer away: {'; '.join(told)}. Look before you decide."


NOTE = (
    "A class is accused when four pictures or more, twice as many as in other classes, have one patch in common that"
    f" other classes lack, or when a figure is above what the other classes foretell (p below {ALPHA}, all figures and"
    f" classes counted in). Where clean classes are alike, the figures accuse {ALPHA:.0%} of clean data sets; where one"
    " class is unlike the others for a good reason, they accuse it wrongly. A sign is no proof, and nothing is removed."
)


def _row(task: Task, poison: Poison, label: int, shared: dict[int, int]) -> dict[str, Any]:
    seen = poison.signs
    row: dict[str, Any] = {"class": task.classes[label]}
    if task.modality == "image":
        row["pictures with one patch"] = shared.get(label, 0)
    for name in SIGNS:
        figure = float(seen.figures[name][label])
        row[name] = round(figure, 3) if np.isfinite(figure) else None
        row[f"p ({name})"] = round(float(seen.p[name][label]), 4)
    return row


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
