"""The ways to reshape a Model by name: what each is given, and a Model with the change in its builder and the facts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Task
from transfuse.core.runs import Run
from transfuse.reshaping import heads
from transfuse.sources.changes.table import with_change
from transfuse.sources.network import Network
from transfuse.tasks.joining import drawn
from transfuse.training.losses import chosen_loss
from transfuse.training.options import Fit
from transfuse.tuning.sampling import labelled_batches, made_up

EXAMPLES = 512
"""Most training examples by which it is decided what may go."""


@dataclass(frozen=True)
class Given:
    """A Model to be reshaped, and the task that says what it is for."""

    model: Model
    task: Task | None
    seed: int
    run: Run

    @property
    def network(self) -> Network:
        """Body and head."""
        assert isinstance(self.model.network, Network)
        return self.model.network

    @cached_property
    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Training examples with targets, all of one shape. Raises `UsageError` without a task."""
        if self.task is None:
            raise UsageError("What may go is decided on training examples, but there are none: give DATA.")
        found = labelled_batches(self.model, drawn(self.task.splits["train"], self.seed, "reshaping", EXAMPLES))
        shapes = [x.shape[1:] for x, _ in found]
        return [batch for batch in found if batch[0].shape[1:] == max(shapes, key=shapes.count)]

    @property
    def sample(self) -> Tensor:
        """Something that the network takes: training examples, or what is made up in their shape."""
        return self.batches[0][0][:4] if self.task is not None else made_up(self.model, self.seed)


Way = Callable[[Given, Any], tuple[Model, dict[str, Any]]]


def _with(given: Given, found: tuple[Network, dict[str, Any], dict[str, Any]]) -> tuple[Model, dict[str, Any]]:
    network, change, facts = found
    builder = with_change(given.model.builder, change)
    return replace(given.model, network=network.eval().requires_grad_(False), builder=builder), facts


def head(given: Given, value: Any) -> tuple[Model, dict[str, Any]]:
    """Other classes, by their names or their number; rows of those that remain are kept."""
    return heads.swap(given.model, value)


def widen(given: Given, value: float) -> tuple[Model, dict[str, Any]]:
    """So many units for each one, with the same answers."""
    from transfuse.reshaping.widening import widen as widened

    return _with(given, widened(given.network, given.sample, value, seed=given.seed))


def deepen(given: Given, value: float) -> tuple[Model, dict[str, Any]]:
    """So many blocks for each one, with the same answers."""
    from transfuse.reshaping.deepening import deepen as deepened

    return _with(given, deepened(given.network, given.sample, value))


def cut(given: Given, value: float) -> tuple[Model, dict[str, Any]]:
    """Without this share of the blocks that keep the shape: those that change the answers least."""
    from transfuse.reshaping.cutting import cut as shallower

    return _with(given, shallower(given.network, [x for x, _ in given.batches], 1 - value))


def prune(given: Given, value: float) -> tuple[Model, dict[str, Any]]:
    """Without this share of the parameters: units that the task misses least."""
    from transfuse.reshaping.pruning import prune as pruned

    loss = chosen_loss(given.model.kind, Fit())

    def tell(done: int, total: int) -> None:
        given.run.watch({"stage": "pruning", "done": done, "total": total, "text": given.model.name})

    return _with(given, pruned(given.network, given.batches, value, loss, tell=tell))


def low_rank(given: Given, value: float) -> tuple[Model, dict[str, Any]]:
    """Without this share of the body's parameters: layers of lower rank that answer nearest on the examples."""
    from transfuse.reshaping.factoring import factor

    return _with(given, factor(given.network, [x for x, _ in given.batches], 1 - value))


def activation(given: Given, value: str) -> tuple[Model, dict[str, Any]]:
    """Another activation in all of the body."""
    from transfuse.reshaping.activations import exchange

    return _with(given, exchange(given.network, given.sample, value))


def exits(given: Given, value: int) -> tuple[Model, dict[str, Any]]:
    """Heads at so many depths, at which it answers as soon as it is sure."""
    from transfuse.reshaping.exits import early_exits

    if given.task is None:
        raise UsageError("Early exits are solved on training examples, but there are none: give DATA.")
    return early_exits(given.model, given.task, value)


WAYS: Mapping[str, Way] = {
    "head": head,
    "widen": widen,
    "deepen": deepen,
    "cut": cut,
    "prune": prune,
    "low_rank": low_rank,
    "activation": activation,
    "exits": exits,
}
"""In the order in which several are done."""
PRESERVING = ("widen", "deepen")
"""Ways that do not change the answers."""
