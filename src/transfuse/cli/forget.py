"""transfuse forget: pictures out of a probe."""

import click

from transfuse.cli import shared


@click.command("forget")
@click.argument("model", type=click.Path())
@click.argument("pictures", nargs=-1, required=True, type=click.Path())
@click.option("--skip-unknown", is_flag=True, help="Leave out pictures that were not learnt, instead of stopping.")
@click.option("--as-ridge", is_flag=True, help="Let a logistic head become the ridge head on the same features.")
@click.option("--out", help="Folder of the model that forgot; by default it replaces MODEL.")
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@shared.as_format
def command(
    model: str,
    pictures: tuple[str, ...],
    skip_unknown: bool,
    as_ridge: bool,
    out: str | None,
    trust_code: bool,
    form: str,
    quiet: bool,
) -> None:
    """Take PICTURES, or all pictures in folders, out of the saved probe MODEL: as if it had never learnt them."""
    with shared.running(quiet=quiet) as run:
        from transfuse.transferring.forget import forget

        shared.require_free(out or model)
        result = forget(
            model,
            list(pictures),
            skip_unknown=skip_unknown,
            as_ridge=as_ridge,
            trust_code=trust_code,
            run=run,
            command=shared.command_line(),
        )
        shared.saved(result, out or model, form)
