"""What a probe keeps so that its head can be updated and can forget: see `probing/learnt.py`.

Letters: N examples, D features, C classes or target columns.
"""

import math

import numpy as np

from transfuse.core.nouns import Task
from transfuse.probing.basis import deviations_D
from transfuse.probing.heads import Head
from transfuse.probing.learnt import WIDEST, Learnt, coded
from transfuse.probing.moments import moments
from transfuse.training.losses import class_factors, example_weights, raw_weights
from transfuse.training.options import Fit
from transfuse.tuning.starting import Probed, fitted


def remembered(found: Probed, task: Task, fit: Fit) -> Learnt | None:
    """The sums behind a probe's head, float64 throughout; None where there are more than `WIDEST` features.

    Where the head is logistic, the ridge head on the same features is fitted beside it: the sums determine that one.
    """
    if found.x_ND.shape[1] > WIDEST:
        return None
    ridge = found.head if found.head.method == "ridge" else fitted(found.x_ND, task, fit, "ridge")
    train = task.splits["train"]
    weights_N = example_weights(task, fit)
    targets_NC = coded(train.targets, task.kind, len(task.classes))
    sums = moments(found.x_ND, targets_NC, weights_N.astype(np.float64), exact=True)
    return Learnt(
        kind=task.kind,
        moments=sums,
        scale_D=deviations_D(sums),
        strength=ridge.strength,
        temperature=ridge.temperature,
        losses=_losses(ridge, found.head),
        solver=found.head.method,
        digests=train.digests,
        targets=train.targets,
        weights_N=weights_N,
        factors_C=class_factors(task, fit),
        unit=float(raw_weights(task, fit).mean()),
        precision=found.precision,
    )


def _losses(*heads: Head) -> dict[str, float]:
    return {head.method: head.score for head in heads if math.isfinite(head.score)}
