"""A network that answers as early as it is sure: heads at several depths, and the rest is run for what is left.

Teerapittayanon, McDanel, Kung, "BranchyNet", arXiv 1709.01686; confidence is the largest probability, as in Kaya, Hong,
Dumitras, "Shallow-deep networks", arXiv 1810.07052. In evaluation the examples of a batch that have been answered leave
it, so that what follows is not computed for them; in training, and where a graph is traced, all go to the end.
Letters: B examples, C classes, E exits with the last one, D features.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError
from transfuse.sources import bodies, staging
from transfuse.sources.network import head_from


class ExitsBody(nn.Module):
    """A batch to log-probabilities (B, C). The parameters of the trunk are those of `of`."""

    temperature_E: Tensor
    threshold_E: Tensor

    def __init__(self, of: nn.Module, described: Mapping[str, Any]) -> None:
        super().__init__()
        self.of = of
        self.depths = tuple(described["depths"])
        self.channels_last = bodies.gives_channels_last(of)
        count, classes = len(self.depths) + 1, int(described["classes"])
        heads = [nn.Linear(size, classes) for size in described["sizes"][:-1]]
        self.heads = nn.ModuleList([*heads, head_from(described["head"], described["sizes"][-1], classes)])
        self.register_buffer("temperature_E", torch.ones(count))
        self.register_buffer("threshold_E", torch.ones(count))
        # In a tuple, so that the traced views of `of` are not registered as further owners of its parameters.
        self._traced = tuple(staging.segments(of, self.depths))

    def layer_names(self) -> tuple[str, ...]:
        """It is read at its end only."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("A network with exits is read at its end only.")

    def layer_of_parameter(self) -> dict[str, int]:
        """Those of the trunk, the heads above them."""
        inside = {f"of.{name}": layer for name, layer in staging.stage_of_parameter(self.of).items()}
        above = max(inside.values(), default=0) + 1
        return {name: inside.get(name, above) for name, _ in self.named_parameters()}

    def forward(self, x: Tensor) -> Tensor:
        return self.answered(x)[0]

    def answered(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, C), and at which exit each was given, (B,)."""
        if self.training or torch.compiler.is_exporting():
            return self._whole(x)
        left_B = torch.arange(len(x), device=x.device)
        exit_B = torch.full_like(left_B, len(self.depths))
        answers_BC = x.new_empty(0, dtype=torch.float32)
        for place, scores_BC, go in self._walk(x):
            answers_BC = scores_BC.new_empty(len(x), scores_BC.shape[1]) if not place else answers_BC
            sure_B = self._sure(place, scores_BC)
            answers_BC[left_B[sure_B]], exit_B[left_B[sure_B]] = scores_BC[sure_B], place
            left_B = left_B[~sure_B]
            if not len(left_B):
                break
            go[0] = ~sure_B
        return answers_BC, exit_B

    def _walk(self, x: Tensor) -> Any:
        """Exit by exit: its number, its answers, and which rows go on (what the caller puts there)."""
        go: list[Tensor] = [torch.ones(len(x), dtype=torch.bool, device=x.device)]
        for place, segment in enumerate(self._traced):
            x = segment(x)
            yield place, self.scores(place, x), go
            x = x[go[0]]

    def scores(self, place: int, x: Tensor) -> Tensor:
        """Log-probabilities of an exit, from the map there."""
        logits_BC = self.heads[place](self.pooled(x)).float()
        return torch.log_softmax(logits_BC / self.temperature_E[place], 1)

    def pooled(self, x: Tensor) -> Tensor:
        """The features of a map, (B, D)."""
        return bodies.pooled(x, x.ndim, self.channels_last)

    def _sure(self, place: int, scores_BC: Tensor) -> Tensor:
        if place == len(self.depths):
            return torch.ones(len(scores_BC), dtype=torch.bool, device=scores_BC.device)
        return scores_BC.amax(1).exp() >= self.threshold_E[place]

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same, nothing left out."""
        every = []
        for place, segment in enumerate(self._traced):
            x = segment(x)
            every.append(self.scores(place, x))
        answers_BC, exit_B = every[-1], torch.full((len(x),), len(self.depths), device=x.device)
        for place in reversed(range(len(self.depths))):
            sure_B = self._sure(place, every[place])
            answers_BC = torch.where(sure_B[:, None], every[place], answers_BC)
            exit_B = torch.where(sure_B, place, exit_B)
        return answers_BC, exit_B


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> ExitsBody:
    """The body that a builder's `exits` entry describes; `rebuild` makes the trunk."""
    return ExitsBody(rebuild(described["of"]), described)
