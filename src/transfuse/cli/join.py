"""transfuse join: models for different classes into one."""

import json

import click

from transfuse.cli import shared


@click.command("join")
@click.argument("models", nargs=-1, required=True, type=click.Path())
@click.option("--out", default="joined", show_default=True, help="Folder of the model.")
@click.option("--trust-code", is_flag=True, help="Run the user's own function that builds a network.")
@shared.as_format
def command(models: tuple[str, ...], out: str, trust_code: bool, form: str, quiet: bool) -> None:
    """One model of several saved MODELS for different classes; of parts of one model the whole again, exactly."""
    from transfuse.predicting.folder import load, save
    from transfuse.reshaping.heads import join

    shared.require_free(out, *models)
    joined, facts = join([load(model, trust_code=trust_code) for model in models])
    folder = save(joined, out)
    if form == "json":
        click.echo(json.dumps({"model": str(folder), "classes": list(joined.classes), **facts}))
        return
    exact = "one trunk: answers as the parts do, exactly" if facts["one_trunk"] else "several trunks side by side"
    click.echo(f"{folder}: {len(joined.classes)} classes; {exact}")
