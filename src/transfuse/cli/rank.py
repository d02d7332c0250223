"""transfuse rank: which source to start from."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError


@click.command("rank")
@click.argument("data", type=click.Path())
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--depths", default="final", show_default=True, help="final, several or many: how many depths compete.")
@click.option("--examples", type=int, help="At most this many for each source. Default: all training examples.")
@click.option("--prior", "priors", multiple=True, help="SOURCE=FIGURE, such as timm:resnet18=69.8; more is better.")
@click.option("--budget", help="Time limit, such as 10m; the last complete round decides.")
@click.option("--report", type=click.Path(), help="Write the report as .html or .json too.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of splits, folds and subsets.")
@shared.source_options
@shared.data_options
@shared.as_format
def command(
    data: str,
    sources: tuple[str, ...],
    depths: Any,
    examples: int | None,
    priors: tuple[str, ...],
    budget: str | None,
    report: str | None,
    seed: int,
    form: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Which SOURCE to start from for the labelled examples in DATA, without training a network.

    A cross-validated probe and nearest neighbours on frozen features decide; many sources see few examples first.
    """
    source_options = {name: options.pop(name) for name in shared.SOURCE_OPTIONS}
    with shared.running(quiet=quiet, budget=budget) as run:
        from transfuse.ranking.rank import rank
        from transfuse.reporting.files import require_suffix

        if report:
            require_suffix(report)
        figures = _figures(priors)
        found = shared.found_sources(sources, source_options)
        task = shared.opened_task(data, options, seed, run)
        ranked = rank(
            task,
            found,
            depths=depths,
            examples=examples,
            priors=figures,
            seed=seed,
            trust_code=source_options["trust_code"],
            run=run,
            command=shared.command_line(),
        )
    extra = {"report": str(ranked.save(report))} if report else {}
    shared.show_report(ranked, form, extra)


def _figures(texts: tuple[str, ...]) -> dict[str, float]:
    """`SOURCE=FIGURE` pairs; raises `UsageError`."""
    found = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            found[name] = float(value)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"`--prior` must be SOURCE=FIGURE, such as timm:resnet18=69.8, but is '{text}'.")
    return found
