"""transfuse evaluate: how good is it really?"""

from typing import Any

import click

from transfuse.cli import shared


@click.command("evaluate")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="test", show_default=True, help="Split to read when DATA has several.")
@click.option("--outside", type=click.Path(), help="Inputs that belong to no class: how well are they noticed?")
@click.option(
    "--encode", help="Make pictures coarser first (jpeg:75, bits:4, median:3, gaussian:1): what does it cost?"
)
@click.option("--report", type=click.Path(), help="Write the report as .html or .json too.")
@click.option("--seed", type=int, default=0, help="Of the bootstrap.")
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@shared.column_options
@shared.as_format
def command(
    model: str,
    data: str,
    split: str,
    outside: str | None,
    encode: str | None,
    report: str | None,
    seed: int,
    trust_code: bool,
    form: str,
    quiet: bool,
    **columns: Any,
) -> None:
    """Measure the saved MODEL on the labelled examples in DATA: every metric, with n and an interval."""
    with shared.running(quiet=quiet) as run:
        from transfuse.evaluating.evaluate import evaluate
        from transfuse.reporting.files import require_suffix

        if report:
            require_suffix(report)
        found = evaluate(
            model,
            data,
            split=split,
            outside=outside,
            encode=encode,
            seed=seed,
            trust_code=trust_code,
            run=run,
            command=shared.command_line(),
            **{**columns, "target": list(columns["target"]) or None},
        )
    extra = {"report": str(found.save(report))} if report else {}
    shared.show_report(found, form, extra)
