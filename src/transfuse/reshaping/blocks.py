"""The blocks of a body: those that add to what they are given, and other layers that give back the shape they take.

`residual`: input + branches, each of which can be silenced. `projected`: a sum of branches of another shape, such as
the first block of a stage of a ResNet. `layer`: one of several alike that keep the shape, such as BERT's.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from transfuse.reshaping.branches import Graph
from transfuse.reshaping.calls import Called, called_once
from transfuse.sources.changes.blocks import first_of, without_store
from transfuse.tracing.walking import traced

Form = Literal["residual", "projected", "layer"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of a body."""

    path: str
    form: Form
    silencing: tuple[str, ...] = ()
    """Parameters, by their names in the body, without which a residual block adds nothing."""

    @property
    def stage(self) -> str:
        """The path of what holds it."""
        return self.path.rpartition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks of a body, in the order in which they run."""

    blocks: tuple[Block, ...]
    calls: Mapping[str, Called] = field(repr=False)
    """What modules were given and gave on the sample."""
    graph: Graph = field(repr=False)

    def of(self, *forms: Form) -> list[Block]:
        """Those of these forms."""
        return [block for block in self.blocks if block.form in forms]


def blocks_of(body: nn.Module, sample: Tensor) -> Blocks:
    """The innermost blocks of a body. Raises `Untraceable`."""
    graph, calls = Graph(traced(body, sample)), called_once(body, sample)
    alike = _alike(body)
    found: dict[str, Block] = {}
    for path, call in calls.items():  # inner modules end before those around them
        module = body.get_submodule(path)
        if isinstance(module, nn.Sequential | nn.ModuleList) or _holds(path, found):
            continue
        block = _block(path, module, call, graph)
        if block is None and call.keeps_shape and path in alike:
            block = Block(path=path, form="layer")
        if block is not None:
            found[path] = block
    return Blocks(blocks=tuple(found.values()), calls=calls, graph=graph)


def _holds(path: str, found: Mapping[str, Block]) -> bool:
    return any(inner.startswith(f"{path}.") for inner in found)


def _block(path: str, module: nn.Module, call: Called, graph: Graph) -> Block | None:
    if call.keeps_shape and (branches := graph.branches(path)):
        silencing = [graph.silencing(branch, path) for branch in branches]
        if None not in silencing:
            names = tuple(dict.fromkeys(name for names in silencing for name in names or []))
            if silent(module, [name.removeprefix(f"{path}.") for name in names], call):
                return Block(path=path, form="residual", silencing=names)
    if not call.keeps_shape and graph.summed(path) and is_composite(module):
        return Block(path=path, form="projected")
    return None


def silent(module: nn.Module, names: list[str], call: Called) -> bool:
    """Whether a block without these parameters gives back what it gave, if that is what it is given: by running it."""
    state = dict(module.named_parameters())
    quiet = {name: torch.zeros_like(state[name]) for name in names}
    output = first_of(call.output)
    given, named = without_store(call.given[1:], call.named)
    with torch.no_grad():
        again = torch.func.functional_call(module, quiet, (output.clone(), *given), named)
    return torch.equal(first_of(again), output)


def is_composite(module: nn.Module) -> bool:
    """Whether several modules inside have parameters."""
    return sum(next(m.parameters(recurse=False), None) is not None for m in module.modules()) > 1


def _alike(body: nn.Module) -> set[str]:
    """Paths of composite modules of which a container holds several of one class."""
    found: set[str] = set()
    for path, container in body.named_modules():
        if isinstance(container, nn.Sequential | nn.ModuleList):
            named = {name: module for name, module in container.named_children() if is_composite(module)}
            counts = Counter(type(module) for module in named.values())
            prefix = f"{path}." if path else ""
            known = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
            found |= {
                f"{prefix}{name}"
                for name, module in named.items()
                if counts[type(module)] > 1 or isinstance(module, known)
            }
    return found
