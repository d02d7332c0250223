"""transfuse split: a model for each group of classes."""

import json

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError


@click.command("split")
@click.argument("model", type=click.Path())
@click.option("--group", "groups", multiple=True, required=True, help="NAME=CLASS,CLASS: a model for these classes.")
@click.option("--out", default="parts", show_default=True, help="Folder with a folder for each group.")
@click.option("--trust-code", is_flag=True, help="Run the user's own function that builds the network.")
@shared.as_format
def command(model: str, groups: tuple[str, ...], out: str, trust_code: bool, form: str, quiet: bool) -> None:
    """Part a saved MODEL by its classes: each part answers as the whole does, given that the class is one of its own.

    `transfuse join` makes one model of them again.
    """
    from transfuse.predicting.folder import load
    from transfuse.predicting.several import save
    from transfuse.reshaping.heads import split

    shared.require_free(out, model)
    parts = split(load(model, trust_code=trust_code), _classes(groups))
    folder = save(parts, out)
    if form == "json":
        click.echo(json.dumps({str(folder / name): list(part.classes) for name, part in parts.items()}))
        return
    for name, part in parts.items():
        click.echo(f"{folder / name}: {len(part.classes)} classes ({', '.join(part.classes[:10])})")


def _classes(texts: tuple[str, ...]) -> dict[str, list[str]]:
    """`NAME=CLASS,CLASS`; raises `UsageError`."""
    found = {}
    for text in texts:
        name, separator, classes = text.partition("=")
        if not separator or not name or not classes:
            raise UsageError(f"`--group` must be given as NAME=CLASS,CLASS, but is '{text}'.")
        if name in found:
            raise UsageError(f"`--group` must be given once for each name, but '{name}' stands there twice.")
        found[name] = [part.strip() for part in classes.split(",")]
    return found
