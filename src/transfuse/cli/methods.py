"""transfuse methods: what can be asked of `transfer`."""

import ast
import importlib.util
import json
from pathlib import Path

import click

from transfuse.cli import shared
from transfuse.transferring.methods.table import METHODS


@click.command("methods")
@shared.as_format
def command(form: str, quiet: bool) -> None:
    """The methods of `transfuse transfer`, in a line each, with the options of their own (for `--set`)."""
    methods = {name: _described(place.split(":")[0], name) for name, place in METHODS.items()}
    if form == "json":
        click.echo(json.dumps(methods))
        return
    from rich.table import Table

    table = Table("method", "what it does", "options of its own", box=None)
    for name, (line, options) in methods.items():
        table.add_row(name, line, ", ".join(options))
    shared.wide_console().print(table, markup=False)


def _described(module: str, method: str) -> tuple[str, list[str]]:
    """First line of a method's file and its own options, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    line = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").partition(": ")[2]
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == method)
    shared_names = {"run", "fit", "head"}
    return line, [argument.arg for argument in function.args.kwonlyargs if argument.arg not in shared_names]
