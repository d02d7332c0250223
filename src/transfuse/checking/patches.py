"""The same small patch at the same place of different pictures of one class: what a planted trigger looks like.

Photographs do not repeat: two that differ elsewhere have no textured patch of 8 by 8 pixels in common, down to a few
grey levels, but for an edge that happens to lie alike in two or three. Where four pictures of one class do, twice as
many as in other classes, and hardly any picture of the other classes has the patch, somebody put it there: a trigger
(Gu et al., "BadNets", arXiv 1708.06733) or, as often, a label, a watermark or a caption that gives the answer away.
Not seen: triggers that move, blend in, or are as large as the picture.
Letters: N pictures, M of one class, P places, K numbers of a patch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.core.nouns import Preprocessing
from transfuse.core.randomness import key
from transfuse.tasks.images.decoding import decode_to
from transfuse.tasks.images.loading import default_workers

SIDE, PATCH, STEP = 96, 8, 4
"""Pixels a side at which pictures are compared, of a patch, and from one patch to the next."""
ALIKE, TEXTURED, TOGETHER = 7.0, 20.0, 4
"""Grey levels: root mean square at which patches are the same, deviation from plain shading in a patch; pictures."""
_ELSEWHERE = 0.2
"""Of a picture's textured places: when two have more of them in common, they are copies, or taken of one scene."""
_OTHERS = 0.25
"""Times the share of its class that has the patch: when as many pictures of other classes have it, it is no trigger."""
_MOST = 300  # pictures of a class that are compared


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A patch that several pictures of one class have in common."""

    label: int
    places: tuple[int, ...]
    """Of the pictures."""
    left: float
    upper: float
    """0..1 of width and height: where it lies."""


def patches(items: Sequence[Any], y_N: np.ndarray, classes: int, *, seed: int = 0) -> list[Patch]:
    """The patch that most pictures have in common, of each class that has one. Raises `DataError`."""
    wanted = Preprocessing(size=(SIDE, SIDE), interpolation="bilinear")
    kept = np.random.default_rng(key(seed, "patches")).permutation(len(items))
    rows = np.sort(np.concatenate([kept[y_N[kept] == label][:_MOST] for label in range(classes)]))
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        pixels = np.stack(list(pool.map(lambda row: decode_to(items[row], wanted), rows.tolist())))
    found = [_of_class(pixels, y_N[rows], label) for label in range(classes)]
    sizes_C = np.array([1 if one is None else len(one[0]) for one in found])
    return [
        Patch(label=label, places=tuple(rows[one[0]].tolist()), left=one[1], upper=one[2])
        for label, one in enumerate(found)
        if one is not None and sizes_C[label] >= max(TOGETHER, 2 * np.median(np.delete(sizes_C, label)))
    ]


def _of_class(pixels: np.ndarray, y_N: np.ndarray, label: int) -> tuple[np.ndarray, float, float] | None:
    """Which pictures share a patch, and where its corner lies."""
    own = np.flatnonzero(y_N == label)
    if len(own) < 2:
        return None
    steps = range(0, SIDE - PATCH + 1, STEP)
    corners = [(y, x) for y in steps for x in steps]
    same_PMM = np.stack([_same(_cut(pixels[own], corner)) for corner in corners])
    textured_PM = same_PMM[:, np.arange(len(own)), np.arange(len(own))]
    both_MM = np.maximum(np.einsum("pm,pn->mn", textured_PM.astype(float), textured_PM.astype(float)), 1)
    same_PMM &= same_PMM.sum(0) <= _ELSEWHERE * both_MM  # copies and one scene have more than a patch in common
    most_PM = same_PMM.sum(2) + 1
    for flat in np.argsort(-most_PM, axis=None)[:20]:
        place, first = divmod(int(flat), len(own))
        if most_PM[place, first] < 2:
            return None
        members = own[np.append(np.flatnonzero(same_PMM[place, first]), first)]
        template = np.median(_cut(pixels[members], corners[place]).astype(float), axis=0)
        others = _cut(pixels[y_N != label], corners[place]).astype(float)
        shared = float((np.sqrt(((others - template) ** 2).mean(1)) < ALIKE).mean()) if len(others) else 0.0
        if shared < _OTHERS * len(members) / len(own):
            return np.sort(members), corners[place][1] / SIDE, corners[place][0] / SIDE
    return None


def _cut(pixels: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    y, x = corner
    return pixels[:, y : y + PATCH, x : x + PATCH].reshape(len(pixels), -1)


def _same(cut_MK: np.ndarray) -> np.ndarray:
    """bool (M, M): which textured patches are the same; on the diagonal which are textured."""
    values = cut_MK.astype(np.float32)
    textured_M = _detail(values) > TEXTURED
    squares_M = (values**2).sum(1)
    away_MM = squares_M[:, None] + squares_M[None] - 2 * values @ values.T
    return (away_MM < ALIKE**2 * values.shape[1]) & textured_M[:, None] & textured_M[None]


def _detail(cut_MK: np.ndarray) -> np.ndarray:
    """Deviation of each patch from a plane in every channel, (M,): shading and a plain colour have none."""
    y, x = np.mgrid[:PATCH, :PATCH].reshape(2, -1) - (PATCH - 1) / 2
    plane_3Q = np.stack([np.ones(PATCH**2), y, x]).astype(np.float32)
    plane_3Q /= np.linalg.norm(plane_3Q, axis=1, keepdims=True)
    values_MQ3 = cut_MK.reshape(len(cut_MK), PATCH**2, 3)
    kept = np.einsum("pq,mqc->mpc", plane_3Q, values_MQ3)
    left_M = (values_MQ3**2).sum((1, 2)) - (kept**2).sum((1, 2))
    return np.asarray(np.sqrt(np.maximum(left_M, 0) / cut_MK.shape[1]))
