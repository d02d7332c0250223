"""Seeded, stratified splits in which groups stay together.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011, "On the stratification of multi-label data"), with
groups as units: the rarest label is dealt out first. We give each unit to the part that has received the smallest share
of what it should hold, summed over the unit's labels and its size (the paper: of the rarest label alone); a label that
training does not have yet goes there. Single examples with one label are then dealt out stratum by stratum with exact
quotas. What lies where depends on the seed and on the examples' own keys, never on their order.
Letters: N examples; U units; S strata or labels; P parts.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from transfuse.core.nouns import Kind
from transfuse.core.randomness import key

_BINS = 10  # strata of a regression target, by quantiles


def split(
    shares: Sequence[float],
    targets: np.ndarray,
    kind: Kind,
    keys: Sequence[str],
    seed: int,
    units: np.ndarray | None = None,
) -> np.ndarray:
    """The part (index into `shares`) of each of N examples: int64 (N,).

    `shares` sum to 1, the first one is the training part. `keys`: what an example is, such as its digest.
    `units` (N,): examples with the same number stay together.
    """
    units = np.arange(len(keys)) if units is None else np.unique(units, return_inverse=True)[1]
    labels_NS = _indicators(targets, kind)
    unit_labels_US = _summed(labels_NS, units)
    order = _order(keys, units, seed)
    sizes = np.bincount(units)
    parts_U = np.full(len(sizes), -1)
    wanted_PS = np.outer(shares, unit_labels_US.sum(axis=0))
    alone = (sizes == 1) & (unit_labels_US.sum(axis=1) == 1)
    contents_US = np.concatenate([unit_labels_US, sizes[:, None]], axis=1)
    _deal_iteratively(parts_U, np.flatnonzero(~alone), contents_US, np.asarray(shares), order)
    for part in range(len(shares)):
        wanted_PS[part] -= unit_labels_US[parts_U == part].sum(axis=0)
    _deal_strata(parts_U, np.flatnonzero(alone), unit_labels_US, wanted_PS, order)
    return parts_U[units]


def joined(count: int, pairs: np.ndarray, groups: Sequence[str | None] | None = None) -> np.ndarray:
    """Numbers (N,) that are equal for examples joined by pairs (M, 2) or by a group; no group joins nothing."""
    links = [np.asarray(pairs, np.int64).reshape(-1, 2)]
    if groups is not None:
        first: dict[str, int] = {}
        links.append(
            np.array(
                [(first.setdefault(group, row), row) for row, group in enumerate(groups) if group is not None], np.int64
            ).reshape(-1, 2)
        )
    ends = np.concatenate(links)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _indicators(targets: np.ndarray, kind: Kind) -> np.ndarray:
    """Which strata an example belongs to, float64 (N, S): its class, its labels, or its bin of quantiles."""
    if kind == "multi-label":
        none = targets.sum(axis=1, keepdims=True) == 0
        return np.concatenate([targets, none], axis=1).astype(np.float64)
    strata = targets if kind == "single-label" else _bins(targets[:, 0])
    _, index = np.unique(strata, return_inverse=True)
    return np.eye(index.max() + 1)[index]


def _bins(values: np.ndarray) -> np.ndarray:
    count = min(_BINS, max(1, len(values) // 10))
    return np.digitize(values, np.unique(np.quantile(values, np.linspace(0, 1, count + 1)[1:-1])))


def _summed(labels_NS: np.ndarray, units: np.ndarray) -> np.ndarray:
    summed = np.zeros((units.max() + 1, labels_NS.shape[1]))
    np.add.at(summed, units, labels_NS)
    return summed


def _order(keys: Sequence[str], units: np.ndarray, seed: int) -> np.ndarray:
    """Rank of each unit in a random order that depends on the seed and on what the unit holds."""
    first: dict[int, str] = {}
    for unit, name in zip(units.tolist(), keys, strict=True):
        first[unit] = min(first.get(unit, name), name)
    random = [(key(seed, "split", first[unit]), first[unit], unit) for unit in range(len(first))]
    ranks = np.empty(len(first), np.int64)
    ranks[[unit for _, _, unit in sorted(random)]] = np.arange(len(first))
    return ranks


def _deal_iteratively(
    parts_U: np.ndarray, todo: np.ndarray, contents_US: np.ndarray, shares_P: np.ndarray, order: np.ndarray
) -> None:
    """Deal out units of several examples or labels, changing `parts_U`. The last column of contents is the size."""
    total_S = np.maximum(contents_US.sum(axis=0), 1)
    lacking_PS = np.ones((len(shares_P), len(total_S)))  # share of what a part should hold that it has not received
    todo = todo[np.lexsort((order[todo], -contents_US[todo, -1]))]
    while len(todo):
        open_S = contents_US[todo, :-1].sum(axis=0)
        rarest = int(np.argmin(np.where(open_S > 0, open_S, np.inf)))
        having = contents_US[todo, rarest] > 0
        for unit in todo[having]:
            new = ((contents_US[unit] > 0) & (lacking_PS[0] == 1)).any()
            part = 0 if new else int(np.argmax((lacking_PS @ contents_US[unit]).round(9)))
            parts_U[unit] = part
            lacking_PS[part] -= contents_US[unit] / (shares_P[part] * total_S)
        todo = todo[~having]


def _deal_strata(
    parts_U: np.ndarray, todo: np.ndarray, labels_US: np.ndarray, wanted_PS: np.ndarray, order: np.ndarray
) -> None:
    """Deal out single examples: each stratum in its random order, the parts after the first get rounded quotas.

    What rounding leaves over is carried to the next stratum, so that many small classes still fill every part.
    """
    todo = todo[np.argsort(order[todo])]
    stratum_of = labels_US[todo].argmax(axis=1)
    carried_P = np.zeros(len(wanted_PS))
    for stratum in np.unique(stratum_of):
        members = todo[stratum_of == stratum]
        left = len(members) - (1 if wanted_PS[0, stratum] > 0 and not _has(parts_U, labels_US, stratum) else 0)
        start = 0
        for part in range(1, len(wanted_PS)):
            exact = wanted_PS[part, stratum] + carried_P[part]
            quota = int(min(max(round(exact), 0), max(left - start, 0)))
            carried_P[part] = np.clip(exact - quota, -0.5, 0.5)
            parts_U[members[start : start + quota]] = part
            start += quota
        parts_U[members[start:]] = 0


def _has(parts_U: np.ndarray, labels_US: np.ndarray, stratum: int) -> bool:
    return bool(((parts_U == 0) & (labels_US[:, stratum] > 0)).any())
