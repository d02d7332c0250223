"""transfuse verify: is a model or a report still what was written?"""

import click

from transfuse.cli import shared


@click.command("verify")
@click.argument("path", type=click.Path())
@shared.as_format
def command(path: str, form: str, quiet: bool) -> None:
    """Recompute the digests of what lies at PATH: a saved model, a fused one and its parents, a report.

    Ends with 1 when any differs.
    """
    from transfuse.fusing.verify import verify

    report = verify(path)
    shared.show_report(report, form)
    if len(report.summary) > 1:
        click.get_current_context().exit(1)
