"""base + λ·Σ w·(x − base). Ilharco et al., "Editing models with task arithmetic", arXiv 2212.04089.

A negative weight is negation: what the fine-tuning taught is taken away. Letters: P parents.
"""

import numpy as np

from transfuse.fusing.weights.shares import PerParent, shares


def task_arithmetic(
    gram_PP: np.ndarray | None, *, weight: PerParent = (1.0,), scale: float = 1.0, normalize: bool = False
) -> np.ndarray:
    """Coefficients of the task vectors; `scale` is the paper's λ (0.3 to 0.5 for many tasks)."""
    return scale * shares(weight, normalize)
