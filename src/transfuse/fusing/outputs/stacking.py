"""A regularised linear head on the members' log-probabilities (logits, values), fitted to held-out answers.

Wolpert, "Stacked generalization", Neural Networks 5, 1992; log-probabilities and a multinomial head as in Ting and
Witten, "Issues in stacked generalization", JAIR 10, 1999. The head and the strength of its penalty are
`probing.heads.fit_head`'s. Letters: M members, N examples, C classes.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from transfuse.core.nouns import Kind
from transfuse.fusing.outputs.blending import Array, Blend, side_by_side
from transfuse.probing.heads import fit_head


def stacking(
    p_MNC: Array,
    targets: np.ndarray,
    kind: Kind,
    *,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    head: Literal["auto", "logistic", "ridge"] = "auto",
) -> Blend:
    """The head on M·C numbers of an example.

    `head` says how it is fitted (numbers: always ridge), `groups` which examples never lie in two folds.
    """
    fitted = fit_head(
        side_by_side(p_MNC, kind),
        targets,
        kind,
        method="ridge" if kind == "regression" else head,
        classes=p_MNC.shape[2],
        seed=seed,
        groups=groups,
    )
    # by its temperature, so that heads of different folds mean the same by their logits
    weight_CX, bias_C = fitted.weight_CD / fitted.temperature, fitted.bias_C / fitted.temperature
    return Blend(weight_CX=weight_CX, bias_C=bias_C, facts=(("head", fitted.method), ("strength", fitted.strength)))
