"""transfuse fuse: the weights of several models, their predictions, or the features of several sources, into one."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError
from transfuse.core.runs import Run

_SETTINGS = ("weight", "density", "epsilon", "gamma")
_OF_WEIGHTS = (*_SETTINGS, "base", "recipe", "scale", "t", "statistics", "dtype", "compat", "force", "threads")


@click.command("fuse")
@click.argument("parents", nargs=-1, type=click.Path())
@click.option("--out", help="Folder of the result; without it, the preflight only.")
@click.option("--base", type=click.Path(), help="What the parents were fine-tuned from.")
@click.option(
    "--method",
    default="linear",
    show_default=True,
    help="linear, slerp, task_arithmetic, ties, greedy_soup, ...; of predictions average, caruana, stacking.",
)
@click.option("--recipe", type=click.Path(), help="mergekit's YAML, instead of all of these.")
@click.option("--on", type=click.Path(), help="Labelled examples: keep the result only if it beats its parents.")
@click.option(
    "--align",
    type=click.Choice(["none", "weights", "activations"]),
    default="none",
    show_default=True,
    help="Bring saved models that were trained apart into one order of units first.",
)
@click.option("--target", multiple=True, help="Target column of a table given by --on; again for more columns.")
@click.option(
    "--search",
    type=click.Choice(["alpha", "lambda", "layers", "soup"]),
    help="Search coefficients on half of the validation examples of --on; the other half judges.",
)
@click.option("--trials", type=int, help="Of the search.")
@click.option("--features", help="Fuse what sources see instead: concat, product, add, gated, attention or all.")
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
def command(
    parents: tuple[str, ...], settings: tuple[str, ...], features: str | None, form: str, quiet: bool, **options: Any
) -> None:
    """Merge PARENTS into one model.

    Weights (files, folders, saved models of one architecture) are merged file to file in constant memory; predictions
    are those of saved models of any architecture, which become one model that asks them all. With --features, PARENTS
    are sources such as timm:resnet18, whose features are fused on the examples of --on.
    """
    if features is not None:
        _fuse_features(parents, features, form, quiet, options)
        return
    with shared.running(quiet=quiet) as run:
        from transfuse.fusing.fuse import fuse

        own = {name: _listed(options.pop(name)) for name in _SETTINGS}
        own |= {name: options.pop(name) for name in ("scale", "t")}
        given = {**shared.given(own), **shared.assignments(settings)}
        options["on"] = _task(options["on"], options.pop("target"), run)
        report = fuse(*parents, run=run, command=shared.command_line(), **options, **given)
    shared.show_report(report, form)


def _task(on: str | None, target: tuple[str, ...], run: Run) -> Any:
    """The task of `--on` and its target columns; without these the path."""
    if not target:
        return on
    if on is None:
        raise UsageError("`--target` must go with --on, labelled examples, but is given alone.")
    from transfuse.tasks.opening import open_task

    return open_task(on, target=list(target), seed=0, run=run)


def _fuse_features(parents: tuple[str, ...], kind: str, form: str, quiet: bool, options: dict[str, Any]) -> None:
    unused = [name for name in _OF_WEIGHTS if options.get(name)]
    if unused:
        raise UsageError(f"`{unused[0]}` is for fusing weights, which `features` does not do. Leave one of them out.")
    if not options["out"] or not options["on"]:
        raise UsageError("`features` must go with --on DATA, labelled examples, and --out FOLDER.")
    with shared.running(quiet=quiet) as run:
        from transfuse.fitting.fusing_features import fuse_features
        from transfuse.tasks.opening import open_task

        shared.require_free(options["out"], *parents)
        task = open_task(options["on"], target=list(options["target"]) or None, seed=options["seed"], run=run)
        model = fuse_features(
            parents,
            task,
            kind=kind,
            seed=options["seed"],
            trust_code=options["trust_code"],
            run=run,
            command=shared.command_line(),
        )
        shared.saved(model, options["out"], form)


def _listed(values: tuple[float, ...]) -> float | list[float] | None:
    """One number for all, a list for each, or nothing."""
    return None if not values else values[0] if len(values) == 1 else list(values)
