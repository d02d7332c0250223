"""transfuse backup: a verified copy of a saved model, a checkpoint or a run somewhere else."""

import click

from transfuse.cli import shared


@click.command("backup")
@click.argument("path", metavar="MODEL", type=click.Path())
@click.argument("url")
@click.option("--keep", type=int, help="Versions kept there; older ones go once the new one is verified.")
@click.option("--quick", is_flag=True, help="Compare lengths instead of reading everything back.")
@shared.as_format
def command(path: str, url: str, keep: int | None, quick: bool, form: str, **options: bool) -> None:
    """Copy MODEL (a saved model, a checkpoint, a run's folder) to URL and read it back.

    URL is a path, or what fsspec reaches: s3://bucket/birds, hf://datasets/me/birds, ssh://host/birds, ... Only what is
    not there is sent; a backup that was killed does not count, and the same command goes on with it.
    """
    with shared.running(quiet=options["quiet"]) as run:
        from transfuse.weights.backups.backup import backup

        report = backup(path, url, keep=keep, quick=quick, run=run)
    shared.show_report(report, form)
