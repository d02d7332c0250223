"""transfuse check: what is wrong with labelled data; data as the user decided; two data sets compared."""

from pathlib import Path
from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError


@click.command("check")
@click.argument("data", type=click.Path())
@click.option("--source", help="By whose features labels are judged. Default: the built-in network, words, or cells.")
@click.option("--out", type=click.Path(), help="Folder for report.html and findings.csv; with --fix for the new data.")
@click.option("--fix", type=click.Path(), metavar="TABLE", help="Make new data as the column `keep` of TABLE says.")
@click.option("--against", type=click.Path(), metavar="OTHER", help="Compare DATA with OTHER instead: has it drifted?")
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits, folds and intervals.")
@shared.source_options
@shared.data_options
@shared.as_format
def command(
    data: str,
    source: str | None,
    out: str | None,
    fix: str | None,
    against: str | None,
    seed: int,
    form: str,
    quiet: bool,
    **options: Any,
) -> None:
    """What is wrong with the labelled examples in DATA: copies, contradictions, likely wrong labels, bad splits.

    Nothing is changed. --out writes a page and a table; decide in its column `keep` (yes, no, relabel) and give it to
    --fix, which writes new data beside a record of what was done.
    """
    source_options = {name: options.pop(name) for name in shared.SOURCE_OPTIONS}
    _require_sense(out, fix, against)
    with shared.running(quiet=quiet) as run:
        if fix:
            extra, report = _fixed(data, fix, str(out), options, seed, run)
        else:
            from transfuse.core.atomic import require_writable

            if out:
                require_writable(Path(out) / "report.html")
            found = shared.found_source(source, source_options) if source else None
            task = shared.opened_task(data, dict(options), seed, run)
            other = shared.opened_task(against, dict(options), seed, run) if against else None
            extra, report = _looked(task, other, found, out, seed, run)
    shared.show_report(report, form, extra)


def _require_sense(out: str | None, fix: str | None, against: str | None) -> None:
    if fix and against:
        raise UsageError("`--fix` and `--against` are two different things. Give one of them.")
    if fix and not out:
        raise UsageError("`--fix` must come with --out FOLDER, where the new data go. What is there stays as it is.")


def _looked(task: Any, other: Any, source: Any, out: str | None, seed: int, run: Any) -> tuple[dict[str, Any], Any]:
    command = shared.command_line()
    if other is not None:
        from transfuse.checking.drift import drift

        report = drift(task, other, source=source, seed=seed, run=run, command=command)
        return ({"report": str(report.save(Path(out) / "report.html"))} if out else {}), report
    from transfuse.checking.check import PAGE, TABLE, check

    report = check(task, source=source, out=out, seed=seed, run=run, command=command)
    return ({"report": str(Path(out) / PAGE), "findings": str(Path(out) / TABLE)} if out else {}), report


def _fixed(data: str, table: str, out: str, options: dict[str, Any], seed: int, run: Any) -> tuple[dict[str, Any], Any]:
    from transfuse.checking.cleaning import cleaned
    from transfuse.checking.writing import cleaning_report, require_empty, write_data

    require_empty(Path(out))
    task = shared.opened_task(data, options, seed, run)
    result = cleaned(task, table)
    path = write_data(result, Path(out))
    return {"data": str(path)}, cleaning_report(task, result, path, command=shared.command_line())
