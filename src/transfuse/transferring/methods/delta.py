"""delta: fine-tuning whose inner feature maps stay close to the source's, channel by channel.

Li et al., "DELTA: Deep Learning Transfer using Feature Map with Attention", arXiv 1901.09229:
½·Σ C/(H·W)·a_c·‖map − map_source‖² with attention a_c, plus β/2·‖w‖² on the head. Changed: the attention of a channel
is how much the probe's loss on the training split rises when the channel is put to zero, measured in one pass over a
sample instead of one fine-tuning a filter; the mean over the batch replaces the sum, so that `alpha` does not depend
on the batch size. `attention="equal"` gives the paper's behavioural form without attention.

Relations: `l2sp` compares weights, this compares what they compute.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.bodies import gives_channels_last
from transfuse.sources.depths import spread
from transfuse.sources.opening import open_source
from transfuse.sources.staging import at_depths
from transfuse.training.batches import Batch
from transfuse.training.options import Fit
from transfuse.transferring.methods.finetune import tuned
from transfuse.transferring.methods.l2sp import half_squared_norm
from transfuse.tuning.moving import BatchNorm
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Start, require_pictures, start
from transfuse.tuning.tune import Workbench, workbench


def delta(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    alpha: float = 0.01,
    beta: float = 0.01,
    attention: Literal["channels", "equal"] = "channels",
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """Fine-tune with `alpha` on the distance of the feature maps at every depth and `beta` on the size of the head."""
    require_pictures(source, "delta")
    begin = start(source, task, head=head, fit=fit, run=run)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    if not begin.opened.depths:
        raise UsageError(f"delta compares inner maps, but '{source.name}' cannot be cut into stages. Use `l2sp`.")
    maps_of = Maps(begin.opened.body, begin.opened.depths)
    maps_of_source = Maps(open_source(source, seed=fit.seed).body.requires_grad_(False), begin.opened.depths)
    weights = channel_attention(begin, bench, maps_of) if attention == "channels" else None

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            _, maps_source = maps_of_source(batch.x)
        features_BD, maps = maps_of(batch.x)
        distance = map_distance(maps, maps_source, weights) / len(batch.y)
        penalty = alpha * distance + beta * half_squared_norm(begin.network.head.parameters())
        return bench.weighted(begin.network.head(features_BD), batch) + penalty

    return tuned(
        begin, bench, fit=fit, run=run, head=head, layer_decay=layer_decay, batch_norm=batch_norm,
        interpolate=interpolate, objective=objective, method="delta",
    )  # fmt: skip


class Maps:
    """What a body computes at four depths, in one pass: features (B, D), and maps (B, C, ...) with channels second."""

    def __init__(self, body: nn.Module, depths: Sequence[str]) -> None:
        self.body, self.traced = body, at_depths(body, spread(depths, 4))
        self.channels_last = gives_channels_last(body)

    def __call__(self, x_Bchw: Tensor) -> tuple[Tensor, list[Tensor]]:
        features_BD, maps = self.raw(x_Bchw)
        return features_BD, self.turned(maps)

    def raw(self, x_Bchw: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features, and the very maps that they were computed from, channels wherever the network has them."""
        self.body.to(x_Bchw.device)
        *maps, features_BD = self.traced(x_Bchw)
        return features_BD, maps

    def turned(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps with channels second: tokens (B, T, C) and maps (B, h, w, C) are turned."""
        return [m.movedim(-1, 1) if m.ndim == 3 or (m.ndim == 4 and self.channels_last) else m for m in maps]


def map_distance(maps: Sequence[Tensor], maps_source: Sequence[Tensor], attention: Sequence[Tensor] | None) -> Tensor:
    """Sum over depths of the distance between maps (B, C, ...).

    With attention (one (C,) tensor a depth): ½·Σ C/(H·W)·a_c·‖·‖²; without: the behavioural form ½·Σ‖·‖².
    """
    total = maps[0].new_zeros(())
    for depth, (now, then) in enumerate(zip(maps, maps_source, strict=True)):
        squares_BC = (now - then).flatten(2).pow(2).sum(2)
        if attention is None:
            total = total + 0.5 * squares_BC.sum()
            continue
        channels, places = now.shape[1], now[0, 0].numel()
        total = total + 0.5 * channels / places * (squares_BC * attention[depth].to(now.device)).sum()
    return total


def channel_attention(begin: Start, bench: Workbench, maps_of: Maps, sample: int = 32) -> list[Tensor]:
    """Softmax over channels of how much the loss rises without each channel, at every depth.

    First-order: the rise is −gradient·activation, one backward pass for all channels (Molchanov et al., 1611.06440).
    """
    count = min(sample, len(bench.train_inputs))
    batch = bench.batches(Fit(batch_size=count)).at(0)
    begin.network.eval()
    with torch.enable_grad():
        features_BD, maps = maps_of.raw(batch.x)
        loss = bench.weighted(begin.network.head(features_BD), batch)
        gradients = torch.autograd.grad(loss, maps)
    pairs = zip(maps_of.turned(gradients), maps_of.turned(maps), strict=True)
    rises = [-(g * m).flatten(2).sum(2).mean(0).detach() for g, m in pairs]
    return [torch.softmax(rise / rise.abs().max().clamp(min=1e-12), dim=0) for rise in rises]
