"""transfuse shrink: a trained model in several smaller sizes."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.training.options import Fit


@click.command("shrink")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--to", default="2x,4x,8x", show_default=True, help="Sizes (4x: a quarter) or times (3ms), with commas.")
@click.option("--method", default="", help="Losses of distillation, such as 'kd + 0.5*at'.")
@click.option("--trials", default=4, show_default=True, help="Shapes tried for each size.")
@click.option("--no-compare", is_flag=True, help="Do not teach the same shapes from random weights as well.")
@click.option(
    "--out", default="ladder", show_default=True, help="Folder of the saved models, one a size, and the report."
)
@click.option("--budget", help="Time limit, such as 10m, shared by the sizes.")
@click.option("--trust-code", is_flag=True, help="Run the user's own function that builds the network.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the training, such as batch_size=16.")
@shared.data_options
@shared.options_of_dataclass(Fit)
@shared.as_format
def command(
    model: str, data: str, to: str, method: str, trials: int, no_compare: bool, out: str, budget: str | None,
    trust_code: bool, form: str, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Make a saved MODEL smaller without losing what it knows about DATA: reshaped, then taught by the whole.

    Accuracy with its interval against parameters and milliseconds stands in the report, as a picture too.
    """
    options |= dict.fromkeys(shared.SOURCE_OPTIONS)
    fit_options, data_options, _ = shared.sorted_options(options)
    with shared.running(quiet=quiet, budget=budget, resumable=True) as run:
        from transfuse.fitting.shrinking.limits import limits
        from transfuse.fitting.shrinking.shrink import shrink
        from transfuse.predicting.folder import load

        limits(to)  # mistakes are told before the data are read
        shared.require_free(out, model)
        whole = load(model, trust_code=trust_code)
        task = shared.opened_task(data, data_options, fit_options.get("seed", 0), run)
        found = shrink(
            whole, task, to=to, method=method, trials=trials, compare=not no_compare, trust_code=trust_code, run=run,
            command=shared.command_line(), **fit_options,
        )  # fmt: skip
        shared.saved(found, out, form)
