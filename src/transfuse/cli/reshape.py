"""transfuse reshape: a trained model in another shape."""

from typing import Any

import click

from transfuse.cli import shared


@click.command("reshape")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path(), required=False)
@click.option("--widen", type=float, help="Units for each one there is, such as 1.5; the answers stay the same.")
@click.option("--deepen", type=float, help="Blocks for each one there is, such as 2; the answers stay the same.")
@click.option("--cut", type=float, help="0..1: share of the blocks to go, those that change the answers least.")
@click.option("--prune", type=float, help="0..1: share of the parameters to go, units that the task misses least.")
@click.option("--low-rank", type=float, help="0..1: share of the body's parameters to go, by layers of lower rank.")
@click.option("--activation", help="relu, gelu, silu, tanh, leaky_relu or elu in place of those that there are.")
@click.option("--head", help="Classes of the new head: how many, or their names with commas between.")
@click.option("--exits", type=int, help="Depths at which it answers as soon as it is sure.")
@click.option("--out", default="reshaped", show_default=True, help="Folder of the saved model and its report.")
@click.option("--name", help="Name of the model.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--trust-code", is_flag=True, help="Run the user's own function that builds the network.")
@shared.data_options
@shared.as_format
def command(
    model: str, data: str | None, head: str | None, out: str, form: str, quiet: bool, seed: int, trust_code: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Change the size or the structure of a saved MODEL; DATA say what matters, and show what it costs.

    Needed by --cut, --prune, --low-rank and --exits; distil from MODEL afterwards, or use `transfuse shrink`.
    """
    own = {way: options.pop(way) for way in ("widen", "deepen", "cut", "prune", "low_rank", "activation", "exits")}
    name = options.pop("name")
    with shared.running(quiet=quiet) as run:
        from transfuse.predicting.folder import load
        from transfuse.reshaping.reshape import reshape

        shared.require_free(out, model)
        before = load(model, trust_code=trust_code)
        task = shared.opened_task(data, options, seed, run) if data else None
        found = reshape(
            before, task, head=_classes(head), name=name, seed=seed, run=run, command=shared.command_line(), **own
        )
        shared.saved(found, out, form)


def _classes(text: str | None) -> Any:
    """`37`, or names with commas between."""
    if text is None:
        return None
    return int(text) if text.isdigit() else [part.strip() for part in text.split(",")]
