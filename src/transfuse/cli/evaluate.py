"""transfuse evaluate: how good is it really?"""

from typing import Any

import click

from transfuse.cli import shared


@click.command("evaluate")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="test", show_default=True, help="Split to read when DATA has several.")
@click.option("--outside", type=click.Path(), help="Inputs that belong to no class: how well are they noticed?")
@click.option("--robust", is_flag=True, help="Also under attack, and under noise and damage.")
@click.option("--eps", type=float, help="Radius of attacks in pixels of 0..1. [default: 8/255 up to 64 pixels a side]")
@click.option("--norm", type=click.Choice(["linf", "l2"]), help="What eps bounds: every pixel, or the picture.")
@click.option("--attack", type=click.Choice(["pgd", "autoattack"]), help="pgd is quick, autoattack is what counts.")
@click.option("--robust-examples", "attacked", type=int, help="At most so many are attacked. [default: 1000]")
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
    robust: bool,
    eps: float | None,
    norm: str | None,
    attack: str | None,
    attacked: int | None,
    encode: str | None,
    report: str | None,
    seed: int,
    trust_code: bool,
    form: str,
    quiet: bool,
    **columns: Any,
) -> None:
    """Measure the saved MODEL on the labelled examples in DATA: every metric, with n and an interval."""
    wanted = shared.given({"eps": eps, "norm": norm, "attack": attack, "examples": attacked})
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
            robust=wanted or robust,
            encode=encode,
            seed=seed,
            trust_code=trust_code,
            run=run,
            command=shared.command_line(),
            **{**columns, "target": list(columns["target"]) or None},
        )
    extra = {"report": str(found.save(report))} if report else {}
    shared.show_report(found, form, extra)
