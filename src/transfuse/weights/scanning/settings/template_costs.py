"""What rendering a template may cost: nested loops, repeated and doubled texts, estimated on its syntax tree.

An estimate refuses what is plainly endless; what depends on the inputs is left to the limits of `rendering.py`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import nodes

_MOST_STEPS = 10_000_000
_INPUTS = 30  # passes that a loop over the conversation is taken to make
_LARGEST = 10**6
_MOST_DOUBLING = 10**5
_MOST_VISITS = 200_000
_WIDTH = re.compile(r"%[-+ 0#]*\d{6,}|\{[^}]*:[^}]*\d{6,}[^}]*\}")
Told = tuple[str, str, int]


@dataclass(kw_only=True)
class _Walk:
    """Macros by name, which ones are being followed, and how many nodes may still be looked at."""

    macros: "Mapping[str, nodes.Macro]"
    largest: int
    """The largest whole number in the template: what a variable may stand for."""
    followed: tuple[str, ...] = ()
    left: int = _MOST_VISITS


def costs(tree: "nodes.Template") -> Iterator[Told]:
    """Rule, reason and line of whatever would not end."""
    from jinja2 import nodes

    numbers = [abs(node.value) for node in tree.find_all(nodes.Const) if type(node.value) is int]
    largest = max((number for number in numbers if number < 10**30), default=0)
    macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
    yield from _loops(tree, 1, _Walk(macros=macros, largest=largest))
    for macro in macros.values():
        yield from _loops(macro, 1, _Walk(macros={}, largest=largest))
    for node in tree.find_all(nodes.Node):
        if _huge(node):
            yield "template-endless", "The template asks for a text or a number of huge size", node.lineno
    yield from _doublings(tree)


def number(node: "nodes.Expr") -> int | None:
    """The whole number that an expression of constants comes to at most, huge ones cut; None for anything else."""
    from jinja2 import nodes

    if isinstance(node, nodes.Const) and type(node.value) is int:
        return min(abs(node.value), 2**64)
    if isinstance(node, nodes.Neg):
        return number(node.node)
    if isinstance(node, nodes.BinExpr):
        left, right = number(node.left), number(node.right)
        if left is None or right is None:
            return None
        if isinstance(node, nodes.Mul):
            return min(left * right, 2**64)
        if isinstance(node, nodes.Pow):
            return 2**64 if right > 64 else min(left**right, 2**64)
        return min(left + right, 2**64)
    return None


def _loops(node: "nodes.Node", steps: int, walk: _Walk) -> Iterator[Told]:
    """Passes of loops inside loops, macros followed to where they are called."""
    from jinja2 import nodes

    walk.left -= 1
    if walk.left == 0:
        yield "template-endless", "The template's macros call each other without end", node.lineno
    if walk.left <= 0 or (isinstance(node, nodes.Macro) and not walk.followed and walk.macros):
        return
    if isinstance(node, nodes.For):
        steps *= _passes(node, walk.largest)
        if steps > _MOST_STEPS:
            yield "template-endless", f"The template's loops make more than {_MOST_STEPS:,} steps", node.lineno
            return
    for child in node.iter_child_nodes():
        yield from _loops(child, steps, walk)
    name = node.node.name if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) else ""
    if name in walk.macros and name not in walk.followed:
        walk.followed += (name,)
        for child in walk.macros[name].body:
            yield from _loops(child, steps, walk)
        walk.followed = walk.followed[:-1]


def _passes(loop: "nodes.For", largest: int) -> int:
    """How often a loop runs: what its range says, or what a variable there could be."""
    from jinja2 import nodes

    passes = _INPUTS
    for call in [loop.iter, *loop.iter.find_all(nodes.Call)]:
        if isinstance(call, nodes.Call) and _is_range(call):
            for arg in call.args:
                known = number(arg)
                named = isinstance(arg, nodes.Name) and largest > 1000
                passes = max(passes, known if known is not None else min(largest, 10**5) if named else _INPUTS)
    return passes


def _is_range(node: "nodes.Node") -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "range"


def _huge(node: "nodes.Node") -> bool:
    """A factor, a width of a filter or of a format (`%9999999d`, `{:>9999999}`) that makes a text of megabytes."""
    from jinja2 import nodes

    if isinstance(node, nodes.Pow) and (number(node.right) or 0) > 64:
        return True
    if isinstance(node, nodes.Mul | nodes.Pow):
        return max(number(node.left) or 0, number(node.right) or 0) > _LARGEST
    if isinstance(node, nodes.Filter | nodes.Call) and not _is_range(node):
        return any((number(arg) or 0) > _LARGEST for arg in [*node.args, *(pair.value for pair in node.kwargs)])
    return isinstance(node, nodes.Const) and isinstance(node.value, str) and _WIDTH.search(node.value) is not None


def _doublings(tree: "nodes.Template") -> Iterator[Told]:
    """Assignments that make a text of copies of itself or of another: in a loop, or often enough."""
    from jinja2 import nodes

    inside = {id(node) for loop in tree.find_all(nodes.For) for node in loop.find_all(nodes.Assign)}
    growth = 1
    for node in tree.find_all(nodes.Assign):
        if not isinstance(node.node, nodes.BinExpr | nodes.Concat):
            continue
        copies = Counter(_spoken(part) for part in _terms(node.node))
        most = max((count for name, count in copies.items() if name), default=1)
        growth *= max(most, 1)
        own = copies[_spoken(node.target)] if _spoken(node.target) else 0
        if growth > _MOST_DOUBLING or (id(node) in inside and own >= 2):
            yield "template-endless", "The template doubles a text again and again", node.lineno
            return


def _terms(node: "nodes.Node") -> Iterator["nodes.Node"]:
    from jinja2 import nodes

    if isinstance(node, nodes.Concat):
        for part in node.nodes:
            yield from _terms(part)
    elif isinstance(node, nodes.Add | nodes.Mul):
        yield from _terms(node.left)
        yield from _terms(node.right)
    else:
        yield node


def _spoken(node: "nodes.Node") -> str:
    """A variable or a field of a namespace, as it is written."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return node.name
    if isinstance(node, nodes.NSRef):
        return f"{node.name}.{node.attr}"
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    return ""
