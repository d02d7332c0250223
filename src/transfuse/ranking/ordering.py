"""The order of candidates: mean of their ranks by probe, by nearest neighbours and, where known, by prior.

A prior orders only the candidates that have one, among the places that these have by evidence; one without a prior
keeps its place. Letters: M candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from transfuse.measuring.metrics import higher_is_better
from transfuse.ranking.looking import Look
from transfuse.ranking.priors import Prior


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A candidate with its place among those that saw the same examples."""

    look: Look
    mean_rank: float
    """1 is best by every vote."""


def ordered(looks: Sequence[Look], priors: Mapping[str, Prior]) -> list[Placed]:
    """Best first; on a tie the better probe, then the one given first. All looks are at the same examples."""
    probe_M, neighbours_M = (_ranks(looks, which) for which in ("probe", "neighbours"))
    votes_M = (probe_M + neighbours_M) / 2
    known = np.array([look.source.name in priors for look in looks])
    if known.sum() > 1:
        values = np.array([priors[look.source.name].value for look, has in zip(looks, known, strict=True) if has])
        by_evidence_M = rankdata(np.lexsort((probe_M, votes_M)).argsort())
        places = np.interp(rankdata(-values), np.arange(1, len(values) + 1), np.sort(by_evidence_M[known]))
        votes_M[known] = (2 * votes_M[known] + places) / 3
    order = np.lexsort((probe_M, np.round(votes_M, 9)))
    return [Placed(look=looks[place], mean_rank=float(votes_M[place])) for place in order]


def _ranks(looks: Sequence[Look], which: str) -> np.ndarray:
    """(M,), 1 is best; equal ones share a rank, and what is undefined is last."""
    values_M = np.array([getattr(look, which)["value"] for look in looks], dtype=float)
    better = 1.0 if higher_is_better(looks[0].metric) else -1.0
    return rankdata(-np.where(np.isnan(values_M), -np.inf, better * values_M))
