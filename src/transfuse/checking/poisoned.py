"""Everything that speaks for poisoned examples, as one value, and the section of the report about it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.checking.patches import Patch, patches
from transfuse.checking.poisoning import SIGNS, Signs, signs
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
    """The figures of every class, the accused ones first."""
    shared = {patch.label: len(patch.places) for patch in poison.patches}
    order = sorted(
        range(len(task.classes)), key=lambda label: (-shared.get(label, 0), -_strangers(poison, label), label)
    )
    rows = [_row(task, poison, label, shared) for label in order[:_SHOWN]]
    return Section(
        kind="table", title="Signs of poisoning", content={"columns": list(rows[0]), "rows": rows}, note=NOTE
    )


def sentence(task: Task, poison: Poison) -> str:
    """What is accused, in words."""
    accused = ", ".join(f"'{task.classes[patch.label]}'" for patch in poison.patches)
    if not accused:
        return "No signs of poisoning were found; triggers that move, blend in, or are in few pictures are not seen."
    return (
        f"Signs of poisoning, or of something else that gives the answer away: pictures of {accused} have a small patch"
        " in common. Look before you decide."
    )


NOTE = (
    "A class is accused when four pictures or more, twice as many as in other classes, have one patch in common that"
    " other classes lack: that found nearly all of 6 to 13 planted pictures of 64, none of 2 or 3, and accused none of"
    " 20 clean sets of photographs (95 % interval 0 to 17 %). Clustering (silhouette of a smaller part), spectral"
    " (outliers) and neighbours (share of examples among strangers) are told to compare and accuse nobody: on frozen"
    " features they cannot tell a small trigger from what clean classes have. A sign is no proof, and nothing is"
    " removed."
)


def _strangers(poison: Poison, label: int) -> float:
    return float(np.nan_to_num(poison.signs.figures["neighbours"][label]))


def _row(task: Task, poison: Poison, label: int, shared: dict[int, int]) -> dict[str, Any]:
    row: dict[str, Any] = {"class": task.classes[label]}
    if task.modality == "image":
        row["pictures with one patch"] = shared.get(label, 0)
    for name in SIGNS:
        figure = float(poison.signs.figures[name][label])
        row[name] = round(figure, 3) if np.isfinite(figure) else None
    return row
