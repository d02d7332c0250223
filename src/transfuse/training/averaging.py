"""An exponential moving average of a network's weights: what is validated and kept."""

import torch
from torch import Tensor, nn


class Average:
    """Averaged copies of every floating tensor of a network, batch-norm statistics too.

    The decay warms up as (1 + n) / (10 + n), so that the first weights do not linger
    (Polyak and Juditsky 1992; the warm-up is TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the averages towards the network's present weights."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        current = network.state_dict()
        floating = [name for name, tensor in current.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.tensors[name] for name in floating], [current[name] for name in floating], share)
        for name in current.keys() - floating:
            self.tensors[name].copy_(current[name])


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Copies of all tensors of a network."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
