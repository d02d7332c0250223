"""transfuse transfer: one source, one method."""

from pathlib import Path
from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError
from transfuse.training.options import Fit


@click.command("transfer")
@click.argument("source")
@click.argument("data", nargs=-1, required=True, type=click.Path())
@click.option("--method", default="finetune", show_default=True, help="See `transfuse methods`.")
@click.option("--out", default="model", show_default=True, help="Folder of the saved model and its report.")
@click.option("--name", help="Name of the model.")
@click.option("--budget", help="Time limit, such as 10m; steps are cut to keep it.")
@click.option("--head", help="linear, mlp or cosine.")
@click.option("--hidden", type=int, help="Units of the hidden layer of an mlp head.")
@click.option("--activation", help="Of an mlp head: relu, gelu, silu, tanh, leaky_relu or elu.")
@click.option("--dropout", type=float, help="0..1, before the last layer.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the method, such as alpha=0.1.")
@shared.source_options
@shared.data_options
@shared.options_of_dataclass(Fit)
@shared.as_format
def command(
    source: str,
    data: tuple[str, ...],
    method: str,
    out: str,
    name: str | None,
    budget: str | None,
    form: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Adapt SOURCE to the labelled examples in DATA by one METHOD, and measure the result.

    With `--method shared` there are several DATA, one a task, each as it is or as NAME=DATA; `--target` is then given
    once for each of them.
    """
    head = shared.given({part: options.pop(part) for part in ("head", "hidden", "activation", "dropout")})
    fit_options, data_options, source_options = shared.sorted_options(options)
    with shared.running(quiet=quiet, budget=budget, resumable=True) as run:
        from transfuse.transferring.options import arranged
        from transfuse.transferring.transfer import transfer

        shared.require_free(out, source)
        arranged(method, {**head, **fit_options})  # mistakes are told before the data are read
        found = shared.found_source(source, source_options)
        seed = fit_options.get("seed", 0)
        several = [shared.opened_task(one, own, seed, run) for one, own in _each(data, data_options, method)]
        model = transfer(
            found, several if method == "shared" else several[0], method=method, name=name, run=run,
            command=shared.command_line(), **head, **fit_options,
        )  # fmt: skip
        shared.saved(model, out, form)


def _each(data: tuple[str, ...], options: dict[str, Any], method: str) -> list[tuple[str, dict[str, Any]]]:
    """Every DATA with its options: of several each may be NAME=DATA and has a `--target` of its own."""
    if method != "shared":
        if len(data) > 1:
            raise UsageError(
                f"DATA must be one for `--method {method}`, but are {len(data)}. Several are for 'shared'."
            )
        return [(data[0], options)]
    targets: tuple[str, ...] = options["target"]
    if targets and len(targets) != len(data):
        raise UsageError(
            f"`--target` must be given once for each of the {len(data)} DATA, but is {len(targets)} times."
        )
    named = [("", one) if Path(one).exists() else one.rpartition("=")[::2] for one in data]
    return [
        (
            place,
            {**options, **({"name": name} if name else {}), **_own_target(targets, t, [p for _, p in named], options)},
        )
        for t, (name, place) in enumerate(named)
    ]


def _own_target(targets: tuple[str, ...], t: int, places: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """One task's target; in a table the targets of other tasks on the same file are no columns to learn from."""
    if not targets:
        return {}
    from transfuse.tasks.opening import recognised

    others = {target for target, place in zip(targets, places, strict=True) if place == places[t]} - {targets[t]}
    modality = options["modality"] or recognised(places[t], targets[t])[0]
    dropped = tuple(f"{target}=drop" for target in sorted(others)) if modality == "table" else ()
    return {"target": (targets[t],), "roles": (*options["roles"], *dropped)}
