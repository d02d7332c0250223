"""The line between where a network started and where training took it (WiSE-FT, arXiv 2109.01903)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from transfuse.training.averaging import copied
from transfuse.training.loop import Validate
from transfuse.weights.interpolating import interpolate

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))


def keep_best_between(network: nn.Module, origin: Mapping[str, Tensor], validation: Validate) -> dict[str, Any]:
    """Load the best θ(α) = (1−α)·θ_origin + α·θ_tuned by validation into the network; a tie keeps the tuned end.

    Returns the sweep: `alpha` kept and the `curve` of (alpha, score, loss).
    """
    tuned = copied(network)
    curve = []
    for alpha in ALPHAS:
        network.load_state_dict(interpolate(origin, tuned, alpha))
        metrics = validation(network)
        curve.append({"alpha": alpha, "score": metrics["score"], "loss": metrics["loss"]})
    best = max(curve, key=lambda point: (point["score"], -point["loss"], point["alpha"]))
    network.load_state_dict(interpolate(origin, tuned, best["alpha"]))
    return {"alpha": best["alpha"], "curve": curve}
