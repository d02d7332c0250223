"""transfuse verify: is a fused model still what was written?"""

import click

from transfuse.cli import shared


@click.command("verify")
@click.argument("folder", type=click.Path())
@shared.as_format
def command(folder: str, form: str, quiet: bool) -> None:
    """Recompute the digests of the fused model in FOLDER and of its parents; ends with 1 when any differs."""
    from transfuse.fusing.verify import verify

    report = verify(folder)
    shared.show_report(report, form)
    if len(report.summary) > 1:
        click.get_current_context().exit(1)
