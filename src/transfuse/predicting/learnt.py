"""The sums behind a probe's head as one file beside the model's tensors.

Letters: N examples, D features, C classes or target columns, P = D (D + 1) / 2 pairs of features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.nouns import Kind
from transfuse.probing.learnt import Learnt
from transfuse.probing.moments import Moments
from transfuse.weights.files import read_tensors, write_tensors

LEARNT = "learnt.safetensors"
_SUMS = ("shift_D", "sum_D", "target_sum_C", "target_squares_C", "cross_DC")
_OTHERS = ("targets", "weights_N", "scale_D", "factors_C")


def write_learnt(path: Path, learnt: Learnt) -> None:
    """Write the arrays, the symmetric one by its upper half, as float64."""
    arrays = {name: getattr(learnt.moments, name) for name in _SUMS}
    arrays |= {name: getattr(learnt, name) for name in _OTHERS}
    arrays["gram_P"] = learnt.moments.gram_DD[np.triu_indices(len(learnt.scale_D))]
    arrays["digests"] = np.frombuffer(bytes.fromhex("".join(learnt.digests)), np.uint8).reshape(-1, 32)
    write_tensors(path, {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})


def read_learnt(path: Path, kind: Kind, facts: Mapping[str, Any]) -> Learnt:
    """What `write_learnt` wrote, with the facts that stand in the model's document."""
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    d = len(arrays["scale_D"])
    gram_DD = np.zeros((d, d))
    gram_DD[np.triu_indices(d)] = arrays["gram_P"]
    sums = Moments(
        rows=len(arrays["digests"]),
        weight=float(facts["weight"]),
        shift_D=arrays["shift_D"],
        sum_D=arrays["sum_D"],
        gram_DD=gram_DD + np.triu(gram_DD, 1).T,
        target_sum_C=arrays["target_sum_C"],
        target_squares_C=arrays["target_squares_C"],
        cross_DC=arrays["cross_DC"],
    )
    return Learnt(
        kind=kind,
        moments=sums,
        scale_D=arrays["scale_D"],
        strength=float(facts["strength"]),
        temperature=float(facts["temperature"]),
        losses=dict(facts["losses"]),
        solver=str(facts["solver"]),
        digests=tuple(row.tobytes().hex() for row in arrays["digests"]),
        targets=arrays["targets"],
        weights_N=arrays["weights_N"],
        factors_C=arrays["factors_C"],
        unit=float(facts["unit"]),
        precision=str(facts["precision"]),
    )


def facts_of(learnt: Learnt) -> dict[str, Any]:
    """The plain values, for the model's document."""
    names = ("strength", "temperature", "solver", "unit", "precision", "losses")
    return {**{name: getattr(learnt, name) for name in names}, "weight": learnt.moments.weight}
