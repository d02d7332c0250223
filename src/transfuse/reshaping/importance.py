"""What each unit is worth to the task: the change of the loss when it goes, to first order.

Molchanov et al., "Importance estimation for neural network pruning", arXiv 1906.10771, equation 8: the square of the
sum of gradient times weight over what makes the unit, here over every tensor of the traced graph that does (weights,
biases, norms), added up over batches. Normalisation stays as in evaluation.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from torch import Tensor, nn

from transfuse.reshaping.resizing import Anatomy
from transfuse.training.losses import Loss


def importance(
    network: nn.Module, anatomy: Anatomy, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> dict[int, np.ndarray]:
    """For units by number, (n,): squared first-order change of the mean loss. The network is left as it was."""
    parameters = dict(network.named_parameters())
    places = _places(anatomy, parameters)
    found = {number: np.zeros(units.size) for number, units in enumerate(anatomy.units)}
    moving = {name: parameter.requires_grad for name, parameter in parameters.items()}
    network.eval().requires_grad_(True)
    for x, y in batches:
        network.zero_grad(set_to_none=True)
        loss(network(x), y).mean().backward()
        for number, own in places.items():
            found[number] += _change(own, parameters, anatomy.units[number].size) ** 2
    network.zero_grad(set_to_none=True)
    for name, parameter in parameters.items():
        parameter.requires_grad_(moving[name])
    return found


_Place = tuple[str, int, np.ndarray]
"""A tensor, an axis, and which unit each position of it belongs to (-1: none)."""


def _places(anatomy: Anatomy, parameters: Mapping[str, Tensor]) -> dict[int, list[_Place]]:
    """Where units are made: not where layers sum over them, which is told by what they sum."""
    return {
        number: [
            (name, axis, anatomy.orders.members(anatomy.axes[name][axis], number))
            for name, axis in units.tensors
            if name in parameters and (name, axis) not in anatomy.roles.summed_by
        ]
        for number, units in enumerate(anatomy.units)
    }


def _change(places: Iterable[_Place], parameters: Mapping[str, Tensor], size: int) -> np.ndarray:
    total = np.zeros(size)
    for name, axis, members in places:
        weight = parameters[name]
        if weight.grad is None:
            continue
        product = (weight.detach() * weight.grad).double()
        along = product.movedim(axis, 0).flatten(1).sum(1).numpy() if product.ndim > 1 else product.numpy()
        inside = members >= 0
        total += np.bincount(members[inside], weights=along[inside], minlength=size)
    return total
