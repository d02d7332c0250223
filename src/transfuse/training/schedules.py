"""Learning rates as a function of the step: 0..1, to be multiplied by the peak rate."""

import math

from transfuse.core.tables import chosen


def rate_at(step: int, steps: int, *, schedule: str, warm_up: float) -> float:
    """Share of the peak rate at a step: a linear rise over `warm_up` of the steps, then the schedule.

    Cosine to zero as in SGDR without restarts (Loshchilov and Hutter, arXiv 1608.03983).
    """
    chosen("schedule", schedule, ("cosine", "linear", "constant"))
    rising = round(steps * warm_up)
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - progress if schedule == "linear" else 1.0
