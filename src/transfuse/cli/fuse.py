"""transfuse fuse: the weights of several models into one."""

from typing import Any

import click

from transfuse.cli import shared

_SETTINGS = ("weight", "density", "epsilon", "gamma")


@click.command("fuse")
@click.argument("parents", nargs=-1, type=click.Path())
@click.option("--out", help="Folder of the result; without it, the preflight only.")
@click.option("--base", type=click.Path(), help="What the parents were fine-tuned from.")
@click.option("--method", default="linear", show_default=True, help="linear, slerp, task_arithmetic, ties, ...")
@click.option("--recipe", type=click.Path(), help="mergekit's YAML, instead of all of these.")
@click.option("--on", type=click.Path(), help="Labelled examples: keep the result only if it beats its parents.")
@click.option("--weight", type=float, multiple=True, help="Once for all parents, or once for each.")
@click.option("--density", type=float, multiple=True, help="0..1: share of the differences kept; once or for each.")
@click.option("--epsilon", type=float, multiple=True, help="Of della; once or for each.")
@click.option("--gamma", type=float, multiple=True, help="Of breadcrumbs; once or for each.")
@click.option("--scale", type=float, help="λ: how much of what was merged is added to the base.")
@click.option("--t", type=float, help="0..1: of slerp, from the first parent to the second.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the method, such as normalize=false.")
@click.option("--statistics", multiple=True, type=click.Path(), help="Fisher information or Gram matrices, for each.")
@click.option("--tokenizer", help="Of other vocabularies: union, base, or the path of the parent that has the tokens.")
@click.option("--rank", type=int, help="Of adapters merged without a base; by default all their ranks together.")
@click.option("--dtype", help="Of the result: float32, bfloat16, float16, ...")
@click.option("--seed", type=int, default=0, show_default=True, help="Of random masks.")
@click.option("--compat", type=click.Choice(["published", "mergekit"]), help="Whose definitions.")
@click.option("--missing", type=click.Choice(["refuse", "copy", "drop"]), default="refuse", show_default=True)
@click.option("--force", is_flag=True, help="Merge unrelated parents too.")
@click.option("--replace", is_flag=True, help="Replace an older result in the folder.")
@click.option("--threads", type=int, help="Tensors at work at once; by default the processor's cores.")
@click.option("--trust-code", is_flag=True, help="Open models that were built by the user's own function.")
@shared.as_format
def command(parents: tuple[str, ...], settings: tuple[str, ...], form: str, quiet: bool, **options: Any) -> None:
    """Merge the weights of PARENTS (files, folders, saved models), file to file in constant memory."""
    with shared.running(quiet=quiet) as run:
        from transfuse.fusing.fuse import fuse

        own = {name: _listed(options.pop(name)) for name in _SETTINGS}
        own |= {name: options.pop(name) for name in ("scale", "t")}
        given = {**shared.given(own), **shared.assignments(settings)}
        report = fuse(*parents, run=run, command=shared.command_line(), **options, **given)
    shared.show_report(report, form)


def _listed(values: tuple[float, ...]) -> float | list[float] | None:
    """One number for all, a list for each, or nothing."""
    return None if not values else values[0] if len(values) == 1 else list(values)
