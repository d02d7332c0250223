"""The choice among what was made: the simplest model that is within noise of the best one."""

from collections.abc import Sequence

import numpy as np

from transfuse.evaluating.compare import difference
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.progress import Decision
from transfuse.measuring.intervals import paired
from transfuse.sources.texts.words import counts_words

SIMPLEST_FIRST = (
    "unchanged",
    "words",
    "probe",
    "fused_probe",
    "product",
    "trees",
    "add",
    "gated",
    "attention",
    "finetune",
    "soup",
    "scratch",
    "pretrained",
)
"""Counted words, one frozen network, several, one that was trained, several trainings; scratch learnt none."""
_NOISE = 0.84
"""Probability that the leader is better, below which it is not: one standard error of the paired difference."""


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The highest validation score; of equal ones the simplest method, then the lower loss.

    Losses do not choose between methods: training has stopped, and temperatures were fitted, where the validation loss
    was lowest, which flatters what was trained longest.
    """
    return max(candidates, key=lambda c: (c.score[0], -_place(c), c.score[1]))


def chosen(candidates: Sequence[Candidate]) -> tuple[Candidate, Decision]:
    """The simplest candidate that the leader does not beat by more than noise, by paired differences.

    They are those on the validation split, and for two frozen sources on the training split too, out of fold.
    """
    leader = best(candidates)
    simpler = [[c for c in candidates if _manner(c) == method] for method in SIMPLEST_FIRST[: _place(leader)]]
    said = [f"{leader.name} leads with {leader.score[0]:.4f} on {len(leader.validation.examples)} validation examples"]
    for candidate in (best(alike) for alike in simpler if alike):
        gap = _gap(leader, candidate)
        sure = gap["probability_better"]
        said.append(
            f"ahead of {candidate.name} by {gap['value']:+.4f} on {gap['n']:.0f} (better with probability {sure:.2f})"
        )
        if sure < _NOISE:
            return candidate, _decision(said, f"{candidate.name}: simpler, and within noise of the leader.")
    return leader, _decision(said, f"{leader.name}.")


def proven_worse(candidate: Candidate, leader: Candidate) -> bool:
    """Whether the paired interval on the validation split lies below 0."""
    return difference(candidate.validation, leader.validation, name=candidate.deciding)["high"] < 0


def _gap(a: Candidate, b: Candidate) -> dict[str, float]:
    parts = [(a.validation, b.validation)]
    if a.out_of_fold is not None and b.out_of_fold is not None:
        parts.append((a.out_of_fold, b.out_of_fold))
    groups = [group for one, _ in parts for group in one.examples.groups or ()]
    return paired(
        a.validation.kind,
        a.deciding,
        np.concatenate([one.targets for one, _ in parts]),
        np.concatenate([one.outputs_NC for one, _ in parts]),
        np.concatenate([other.outputs_NC for _, other in parts]),
        groups=groups or None,
    )


def _place(candidate: Candidate) -> int:
    return SIMPLEST_FIRST.index(_manner(candidate))


def _manner(candidate: Candidate) -> str:
    return "words" if counts_words(candidate.source) else candidate.method


def _decision(said: list[str], words: str) -> Decision:
    return Decision(question="Which model is given?", evidence="; ".join(said) + ".", decision=words)
