"""What moves in a fine-tuning: rates that decay towards the input, batch norms on purpose."""

from typing import Literal

from torch import nn

from transfuse.sources.depths import DeepBody
from transfuse.sources.staging import stage_of_parameter
from transfuse.training.loop import Group, Moves

BatchNorm = Literal["frozen", "adapt"]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def layerwise(network: nn.Module, *, decay: float, batch_norm: BatchNorm, prefix: str = "body.") -> Moves:
    """All layers move, each stage's rate `decay` times that of the stage above it; the head at the full rate.

    `batch_norm="frozen"` normalises by the source's statistics, as at prediction; `adapt` by those of the batch, whose
    running means replace the source's.
    """
    body = network.get_submodule(prefix[:-1])
    if isinstance(body, DeepBody):
        prefix, body = f"{prefix}of.", body.of
    stages = {prefix + name: stage for name, stage in stage_of_parameter(body).items()}
    deepest = max(stages.values(), default=0) + 1
    by_depth: dict[int, list[str]] = {}
    for name, _ in network.named_parameters():
        by_depth.setdefault(stages.get(name, deepest), []).append(name)
    groups = tuple(
        Group(names=tuple(names), rate_scale=decay ** (deepest - stage)) for stage, names in sorted(by_depth.items())
    )
    return Moves(groups=groups, still=batch_norms(network) if batch_norm == "frozen" else ())


def batch_norms(network: nn.Module) -> tuple[str, ...]:
    """Names of all batch-norm layers."""
    return tuple(name for name, module in network.named_modules() if isinstance(module, _BATCH_NORMS))
