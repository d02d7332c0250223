"""Jinja templates (chat templates) judged by their syntax tree; nothing is rendered here (`rendering.py` does that).

Two dangers: reaching into Python through attributes (CVE-2024-34359), and loops or texts that never end, which
Jinja's sandbox does not limit (nested `range` ran 60 s and took 2.9 GB in transformers 5.23).
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.settings.template_costs import costs
from transfuse.weights.scanning.words import names

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

_LONGEST = 2**20
_HIDDEN = names(
    """
    mro func_globals func_code gi_frame gi_code cr_frame cr_code ag_frame ag_code f_globals f_builtins f_locals
    f_back tb_frame popen subclasses
    """
)
_PYTHON = names(
    """
    os sys subprocess builtins importlib popen system eval exec compile open getattr setattr globals locals vars
    __import__ __builtins__
    """
)
_PIECE = re.compile(r"^_+$|__")
_DUNDER = re.compile(r"^__\w*|\w*__$|\{[^}]*[.\[]_")
_ADVICE = "Write a template of your own; the weights themselves do not need it."


def template(text: str, where: str = "") -> Iterator[Finding]:
    """Findings of one template, each rule once."""
    if len(text) > _LONGEST:
        raise refused("template-length", f"A template of {len(text):,} characters is longer than any chat.", where)
    from jinja2 import TemplateSyntaxError

    try:
        tree = _environment().parse(text)
        found = [*_names(tree), *costs(tree)]
    except TemplateSyntaxError as error:
        reason = f"The template cannot be read: {str(error.message)[:120]} (line {error.lineno})."
        yield Finding(verdict="reject", rule="template-syntax", reason=reason, where=where, advice=_ADVICE)
        return
    except RecursionError:
        raise refused("template-depth", "The template is nested too deeply.", where, advice=_ADVICE) from None
    told = set[str]()
    for rule, reason, line in found:
        if rule not in told:
            told.add(rule)
            reason = f"{reason} (line {line})."
            yield Finding(verdict="reject", rule=rule, reason=reason, where=where, advice=_ADVICE)


def _environment() -> "Environment":
    """Jinja as transformers has it: loop controls, and the tag around what the model itself says."""
    from jinja2 import Environment, ext, nodes
    from jinja2.parser import Parser

    class Generation(ext.Extension):
        tags = {"generation"}  # noqa: RUF012 - Jinja's own way

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols", "jinja2.ext.i18n", Generation])


Told = tuple[str, str, int]


def _names(tree: "nodes.Template") -> Iterator[Told]:
    """Attributes, keys, filters and names by which a template leaves its sandbox."""
    from jinja2 import nodes

    for node in tree.find_all(nodes.Node):
        line = node.lineno
        if isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
            yield "template-file", "The template takes in another file", line
        elif isinstance(node, nodes.Getattr) and (node.attr.startswith("_") or node.attr in _HIDDEN):
            yield "template-attribute", f"The template reaches into Python by '.{node.attr[:60]}'", line
        elif isinstance(node, nodes.Getitem) and _computed(node.arg):
            yield "template-attribute", "The template puts together the name of what it reaches into", line
        elif isinstance(node, nodes.Filter) and node.name == "attr":
            yield "template-attribute", "The template reaches into Python by the filter 'attr'", line
        elif isinstance(node, nodes.Filter) and node.name in ("map", "selectattr", "rejectattr") and _reaches(node):
            yield "template-attribute", f"The template reaches into Python by the filter '{node.name}'", line
        elif isinstance(node, nodes.Const) and isinstance(node.value, str) and _DUNDER.search(node.value.strip()):
            if len(node.value.strip("_ ")) > 0:
                yield "template-name", f"The template names '{node.value.strip()[:60]}', a part of Python", line
        elif isinstance(node, nodes.Name) and node.ctx == "load" and node.name in _PYTHON:
            yield "template-name", f"The template uses '{node.name}' of Python", line
        elif isinstance(node, nodes.Name) and node.name == "lipsum":
            yield "template-endless", "The template makes up texts of any length", line


def _computed(arg: "nodes.Expr") -> bool:
    """Whether a key is put together from pieces one of which is an underscore, or of single characters."""
    from jinja2 import nodes

    if not isinstance(arg, nodes.BinExpr | nodes.Concat | nodes.Filter | nodes.Call):
        return False
    texts = [part.value for part in arg.find_all(nodes.Const) if isinstance(part.value, str)]
    joins = isinstance(arg, nodes.Filter) and arg.name in ("join", "format", "reverse", "replace")
    return (
        joins
        or any("_" in text or "%c" in text for text in texts if len(text.strip("_")) < 3)
        or any(_PIECE.search(text) for text in texts)
    )


def _reaches(node: "nodes.Filter") -> bool:
    """Whether a filter over a list takes an attribute whose name is hidden or computed, or is `attr` itself."""
    from jinja2 import nodes

    given = list(node.args[:1]) + [pair.value for pair in node.kwargs if pair.key == "attribute"]
    for arg in given:
        if not isinstance(arg, nodes.Const):
            return True
        if isinstance(arg.value, str) and (arg.value == "attr" or any(p.startswith("_") for p in arg.value.split("."))):
            return True
    return False
