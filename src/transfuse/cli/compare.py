"""transfuse compare: two models on the same examples."""

from typing import Any

import click

from transfuse.cli import shared


@click.command("compare")
@click.argument("model_a", type=click.Path())
@click.argument("model_b", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--split", default="test", show_default=True)
@click.option("--seed", type=int, default=0, help="Of the bootstrap.")
@click.option("--trust-code", is_flag=True, help="Open models that were built by the user's own function.")
@shared.column_options
@shared.as_format
def command(
    model_a: str,
    model_b: str,
    data: str,
    split: str,
    seed: int,
    trust_code: bool,
    form: str,
    quiet: bool,
    **columns: Any,
) -> None:
    """Measure MODEL_A and MODEL_B on the same labelled examples, with the paired difference."""
    with shared.running(quiet=quiet) as run:
        from transfuse.evaluating.compare import compare

        options = {**columns, "target": list(columns["target"]) or None}
        found = compare(model_a, model_b, data, split=split, seed=seed, trust_code=trust_code, run=run, **options)
    shared.show_report(found, form)
