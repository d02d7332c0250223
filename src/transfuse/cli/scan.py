"""transfuse scan: may I open this file that a stranger sent me?"""

import collections
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from transfuse.cli import shared
from transfuse.core.atomic import write_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from transfuse.weights.scanning.findings import Finding, Judgement, Verdict

_WORDS = {"accept": ("accept", "green"), "ask": ("ask", "yellow"), "reject": ("REJECT", "red")}
_TOLD: "dict[Verdict, str]" = {
    "accept": "may be opened",
    "ask": "would run code: you decide",
    "reject": "must not be opened",
}
_EXIT = {"accept": 0, "ask": 3, "reject": 1}
_ACCEPTED_SHOWN = 20
_FINDINGS_SHOWN = 3


@click.command("scan")
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option("--strict", is_flag=True, help="Ask picklescan as well; it can only make a verdict graver.")
@click.option("--sarif", "sarif_file", type=click.Path(), help="Also write the findings for code-scanning pages.")
@click.option("--seconds", type=click.IntRange(1), default=30, show_default=True, help="At most, of one file.")
@click.option("--memory", type=click.FloatRange(0.25), default=2.0, show_default=True, help="GiB at most.")
@click.option("--no-cache", is_flag=True, help="Judge anew what was judged before.")
@shared.as_format
def command(
    paths: tuple[str, ...],
    strict: bool,
    sarif_file: str | None,
    seconds: int,
    memory: float,
    no_cache: bool,
    form: str,
    quiet: bool,
) -> None:
    """Judge the files and folders in PATHS by their bytes; nothing in them is opened or run.

    Ends with 0 when all may be opened, 3 when opening some would run code that may be meant (a person decides), 1 when
    some must not be opened, 2 when the command is mistaken.
    """
    import transfuse
    from transfuse.core.runs import Run
    from transfuse.reporting.progress import watching
    from transfuse.weights.libraries import outdated
    from transfuse.weights.scanning.findings import worst
    from transfuse.weights.scanning.sarif import sarif
    from transfuse.weights.scanning.scan import scan

    with watching(quiet=quiet) as watch:
        found = scan(
            *paths, strict=strict, memory=int(memory * 2**30), seconds=seconds, cache=not no_cache, run=Run(watch=watch)
        )
    for sentence in outdated().values():
        click.echo(f"Warning: {sentence}", err=True)
    if sarif_file:
        write_text(Path(sarif_file), json.dumps(sarif(found, transfuse.__version__, Path.cwd()), indent=1))
    if form == "json":
        click.echo(json.dumps([{**dataclasses.asdict(one), "verdict": one.verdict} for one in found], indent=1))
    else:
        _show(found)
    verdict = worst([finding for judgement in found for finding in judgement.findings])
    click.get_current_context().exit(_EXIT[verdict])


def _show(found: "Sequence[Judgement]") -> None:
    from rich.console import Console

    console = Console()
    accepted = [judgement for judgement in found if judgement.verdict == "accept"]
    others = [judgement for judgement in found if judgement.verdict != "accept"]
    for judgement in (*accepted[:_ACCEPTED_SHOWN], *others):
        for part in _lines(judgement):
            console.print(part, highlight=False, soft_wrap=True)
    if len(accepted) > _ACCEPTED_SHOWN:
        console.print(f"and {len(accepted) - _ACCEPTED_SHOWN} more that may be opened", style="dim")
    counts = collections.Counter(judgement.verdict for judgement in found)
    parts = [f"{counts[verdict]} {text}" for verdict, text in _TOLD.items() if counts[verdict]]
    console.print(", ".join(parts) or "There is no file in it.")


def _lines(judgement: "Judgement") -> "list[RenderableType]":
    from rich.text import Text

    from transfuse.reporting.terminal import safe

    word, colour = _WORDS[judgement.verdict]
    head = Text.assemble((f"{word:<7}", colour), safe(judgement.path), (f"  {judgement.kind}", "dim"))
    lines: list[RenderableType] = [head]
    for finding in judgement.findings[:_FINDINGS_SHOWN]:
        lines.append(Text(f"        {finding.reason}{_place(finding)}"))
    if len(judgement.findings) > _FINDINGS_SHOWN:
        lines.append(Text(f"        and {len(judgement.findings) - _FINDINGS_SHOWN} more findings", style="dim"))
    if judgement.findings:
        lines.append(Text(f"        {judgement.findings[0].advice}", style="dim"))
    return lines


def _place(finding: "Finding") -> str:
    parts = [f"byte {finding.byte}" if finding.byte is not None else "", finding.where]
    told = " of ".join(part for part in parts if part)
    return f" ({told})" if told else ""
