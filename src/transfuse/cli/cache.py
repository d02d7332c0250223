"""transfuse cache: what is cached, how large it is; clear it."""

import json
from collections.abc import Mapping
from typing import Any

import click

from transfuse.cli import shared


@click.command("cache")
@click.option("--clear", is_flag=True, help="Remove everything that is cached. It is made again when needed.")
@shared.as_format
def command(clear: bool, form: str, quiet: bool) -> None:
    """Show what is cached: features and unfinished runs. Everything in it can be made again."""
    from transfuse.sources import cache

    removed = cache.clear() if clear else 0
    entries = [] if clear else cache.entries()
    total = sum(entry.bytes for entry in entries)
    document = {
        "folder": str(cache.default_folder()),
        "entries": len(entries),
        "bytes": total,
        "removed_bytes": removed,
    }
    if form == "json":
        click.echo(json.dumps(document))
        return
    click.echo(f"{document['folder']}: {len(entries)} entries, {total / 1e6:.1f} MB")
    for entry in entries:
        click.echo(f"  {entry.bytes / 1e6:9.1f} MB  {_title(entry.description)}")
    if clear:
        click.echo(f"Removed {removed / 1e6:.1f} MB.")


def _title(description: Mapping[str, Any]) -> str:
    named = ("source", "task", "split", "depth", "precision")
    return ", ".join(f"{name} {str(description[name])[:40]}" for name in named if name in description) or "broken"
