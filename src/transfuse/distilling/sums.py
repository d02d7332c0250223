"""Sums of losses as a user writes them: `kd`, `kd + 0.5*at`, `labels + 2*dist(temperature=4)`.

A factor multiplies a method as its paper weighs it (`losses.table.PUBLISHED`), so that `0.5*at` is half of the
published attention transfer. `labels` is the loss of the labels; unless it stands in the sum, it has the weight that
the paper of the first method gives it.
"""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from transfuse.core.checking import require_kinds
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.core.tables import chosen, resolve, unknown
from transfuse.distilling.losses.table import LOSSES, PUBLISHED, loss_of

LABELS = "labels"


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss of a sum."""

    name: str
    weight: float
    """The whole factor, the published one included."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.weight:g}*{self.name}" + (f"({given})" if given else "")


@dataclass(frozen=True, kw_only=True)
class Sum:
    """What is minimised."""

    labels: float
    terms: tuple[Term, ...]

    def __str__(self) -> str:
        own = [f"{self.labels:g}*{LABELS}"] if self.labels else []
        return " + ".join([*own, *map(str, self.terms)])


def parsed(text: str) -> Sum:
    """The sum that a text describes.

    >>> str(parsed("kd + 0.5*at"))
    '0.1*labels + 0.9*kd + 500*at'

    Raises `UsageError` for another form, `UnknownName` for a loss or an option that does not exist.
    """
    found = [_factor(part, text) for part in _parts(_tree(text), text)]
    labels = [weight for weight, name, _ in found if name == LABELS]
    terms = [
        Term(name=name, weight=weight * PUBLISHED[name].loss, options=_options(name, options))
        for weight, name, options in found
        if name != LABELS
    ]
    if not terms:
        raise _wrong(text)
    return Sum(labels=sum(labels) if labels else PUBLISHED[terms[0].name].labels, terms=tuple(terms))


def usual(kind: Kind, mutual: bool) -> Sum:
    """What is minimised unless the user says: `kd`; by students that learn together both parts with weight 1."""
    if not mutual:
        return parsed("kd")
    options = {} if kind == "regression" else {"temperature": 1.0}
    return Sum(labels=1.0, terms=(Term(name="kd", weight=1.0, options=options),))


def require_losses(wanted: Sum, kind: Kind) -> None:
    """Raise `UsageError` for a loss, or an option of one, that makes no sense for a kind of task."""
    for term in wanted.terms:
        loss = loss_of(term.name, kind)
        known = [p.name for p in inspect.signature(loss).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for option in term.options:
            if option not in known:
                raise UsageError(f"`{option}` of '{term.name}' must not be given for a {kind} task.")


def _tree(text: str) -> ast.expr:
    try:
        return ast.parse(str(text).replace("·", "*").strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise _wrong(text) from None


def _parts(node: ast.expr, text: str) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_parts(node.left, text), *_parts(node.right, text)]
    return [node]


def _factor(node: ast.expr, text: str) -> tuple[float, str, dict[str, Any]]:
    weight = 1.0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        number, node = (node.left, node.right) if isinstance(node.left, ast.Constant) else (node.right, node.left)
        value = number.value if isinstance(number, ast.Constant) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong(text)
        weight = float(value)
    options: dict[str, Any] = {}
    if isinstance(node, ast.Call) and not node.args:
        options = {str(keyword.arg): _literal(keyword.value, text) for keyword in node.keywords}
        node = node.func
    if not isinstance(node, ast.Name):
        raise _wrong(text)
    return weight, chosen("loss of distillation", node.id, [*LOSSES, LABELS]), options


def _literal(node: ast.expr, text: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise _wrong(text) from None


def _options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options, when the loss has them and they are of the kinds that its signature says."""
    loss = resolve(LOSSES, name, "loss of distillation")
    known = [p.name for p in inspect.signature(loss).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in given:
        if option not in known:
            raise unknown(f"option of '{name}'", option, known)
    require_kinds(given, get_type_hints(vars(loss)["__init__"] if isinstance(loss, type) else loss))
    for option, value in given.items():
        if option in ("temperature", "tau") and value <= 0:
            raise UsageError(f"`{option}` of '{name}' must be above 0, but is {value}.")
    return dict(given)


def _wrong(text: str) -> UsageError:
    return UsageError(
        f"`method` must be a sum such as kd, kd + 0.5*at or labels + 2*dist(temperature=4), but is {text!r}."
    )
