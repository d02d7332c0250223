"""transfuse update: more examples into a probe."""

import click

from transfuse.cli import shared


@click.command("update")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="train", show_default=True, help="Split to learn when DATA has several.")
@click.option("--as-ridge", is_flag=True, help="Let a logistic head become the ridge head on the same features.")
@click.option("--out", help="Folder of the updated model; by default it replaces MODEL.")
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@shared.as_format
def command(
    model: str, data: str, split: str, as_ridge: bool, out: str | None, trust_code: bool, form: str, quiet: bool
) -> None:
    """Add the labelled pictures in DATA to the saved probe MODEL, at once: exactly as if it had been fitted to all."""
    with shared.running(quiet=quiet) as run:
        from transfuse.transferring.update import update

        shared.require_free(out or model)
        result = update(
            model,
            data,
            split=split,
            as_ridge=as_ridge,
            trust_code=trust_code,
            run=run,
            command=shared.command_line(),
        )
        shared.saved(result, out or model, form)
