"""transfuse restore: what was backed up, back again."""

import click

from transfuse.cli import shared


@click.command("restore")
@click.argument("url")
@click.argument("folder", required=False, type=click.Path())
@click.option("--version", help="Its id or the beginning of it, instead of the newest whole one.")
@click.option("--list", "listed", is_flag=True, help="Only show what is there.")
@click.option("--replace", is_flag=True, help="Replace a folder that is there.")
@shared.as_format
def command(
    url: str, folder: str | None, version: str | None, listed: bool, replace: bool, form: str, quiet: bool
) -> None:
    """Bring back what `transfuse backup` copied to URL, every byte compared, as FOLDER or under the name it had."""
    with shared.running(quiet=quiet) as run:
        from transfuse.weights.backups.backup import backups, restore

        report = backups(url) if listed else restore(url, folder, version=version, replace=replace, run=run)
    shared.show_report(report, form)
