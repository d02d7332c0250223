"""transfuse cache: what is cached, how large it is; clear it."""

import json
import shutil
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.places import cache_folder


@click.command("cache")
@click.option("--clear", is_flag=True, help="Remove everything that is cached. It is made again when needed.")
@shared.as_format
def command(clear: bool, form: str, quiet: bool) -> None:
    """Show what is cached: features, words of texts, verdicts of scans, unfinished runs. All can be made again."""
    from transfuse.sources import cache

    removed = _cleared() if clear else 0
    entries, runs, words, verdicts = cache.entries(), _runs(), _words(), _verdicts()
    total = sum(entry.bytes for entry in entries) + sum(sum(one.values()) for one in (runs, words, verdicts))
    folder = str(cache_folder())
    if form == "json":
        counts = {"entries": len(entries), "vocabularies": len(words), "runs": len(runs), "verdicts": len(verdicts)}
        document = {"folder": folder, **counts, "bytes": total}
        click.echo(json.dumps({**document, "removed_bytes": removed}))
        return
    counted = (
        _counted(entries, "array", "of features"),
        _counted(words, "vocabulary"),
        _counted(runs, "unfinished run"),
        _counted(verdicts, "verdict", "of scans"),
    )
    click.echo(f"{folder}: {', '.join(counted)}, {_size(total).strip()}")
    for entry in entries:
        click.echo(f"  {_size(entry.bytes)}  {_title(entry.description)}")
    for name, size in words.items():
        click.echo(f"  {_size(size)}  words of texts {name[:12]}")
    for name, size in runs.items():
        click.echo(f"  {_size(size)}  unfinished run {name}")
    if clear:
        click.echo(f"Removed {_size(removed).strip()}.")


def _cleared() -> int:
    """Remove features, words and runs; the bytes that became free."""
    from transfuse.sources import cache

    freed = cache.clear() + sum(sum(one.values()) for one in (_runs(), _words(), _verdicts()))
    for folder in (shared.runs_folder(), cache.words_folder(), cache_folder() / "scans"):
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _words() -> dict[str, int]:
    """Bytes of what `builtin:words` learnt of each task's texts; with what killed writers left."""
    from transfuse.sources import cache

    files = (path for path in cache.words_folder().glob("*") if path.is_file())
    return {path.stem: path.stat().st_size for path in sorted(files)}


def _verdicts() -> dict[str, int]:
    """Bytes of what `scan` remembers of each file that it judged."""
    return {path.name: path.stat().st_size for path in (cache_folder() / "scans").glob("*/*.json")}


def _counted(things: Sized, noun: str, rest: str = "") -> str:
    count = len(things)
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and not noun.endswith("ay") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural} {rest}".strip()


def _runs() -> dict[str, int]:
    """Bytes of each unfinished run."""
    folder = shared.runs_folder()
    return {path.name: _bytes(path) for path in sorted(folder.iterdir())} if folder.is_dir() else {}


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(count: int) -> str:
    return f"{count / 1e6:9.1f} MB" if count >= 100_000 else f"{count / 1e3:9.1f} kB"


def _title(description: Mapping[str, Any]) -> str:
    named = ("source", "task", "split", "depth", "precision")
    return ", ".join(f"{name} {str(description[name])[:40]}" for name in named if name in description) or "broken"
