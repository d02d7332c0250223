"""Greedy soup (see `searching.greedy`): the mean of the weights of several trainings from one start.

Wortsman et al., "Model soups", arXiv 2203.05482, recipe 1, by the score on the validation split.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

import transfuse
from transfuse.core.nouns import Model, Step, Task
from transfuse.evaluating.assessing import assess
from transfuse.fitting.candidates import Candidate
from transfuse.predicting.predict import logits
from transfuse.probing.calibrating import temperature
from transfuse.searching.greedy import greedy


def souped(trained: Sequence[Candidate], task: Task) -> Candidate | None:
    """The soup of candidates that share source and method, best first; None when no second ingredient helps."""
    started = time.monotonic()
    ordered = sorted(trained, key=lambda c: c.score, reverse=True)
    kept, best = greedy(ordered, ordered[0], lambda parts: _mixed(parts, task), lambda mix: mix.score)
    if len(kept) < 2:
        return None
    step = replace(best.model.provenance, seconds=round(time.monotonic() - started, 3))
    return replace(best, model=replace(best.model, provenance=step))


def _mixed(parts: Sequence[Candidate], task: Task) -> Candidate:
    first = parts[0]
    network = copy.deepcopy(first.model.network)
    network.load_state_dict(_average([part.model.network for part in parts]))
    valid = task.splits["valid"]
    warmth = 1.0
    if task.kind != "regression":
        raw_NC = logits(network, valid.items, first.model.preprocessing)
        warmth = temperature(raw_NC, valid.targets, task.kind)
    model: Model = replace(
        first.model,
        name=f"soup of {len(parts)} trainings of {first.source.name}",
        network=network,
        temperature=warmth,
        provenance=Step(
            verb="fuse",
            method="greedy_soup",
            options={"found": {**first.facts, "ingredients": [part.name for part in parts]}},
            inputs=tuple(part.model.provenance for part in parts),
            version=transfuse.__version__,
        ),
    )
    return replace(first, name=model.name, method="soup", model=model, curves=(), validation=assess(model, valid))


def _average(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Means of all floating tensors; others are the first network's."""
    states = [network.state_dict() for network in networks]
    return {
        name: sum((state[name] for state in states[1:]), tensor) / len(states) if tensor.is_floating_point() else tensor
        for name, tensor in states[0].items()
    }
