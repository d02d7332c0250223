"""transfuse demo: the main job on data and a source that come with the packages, nothing downloaded."""

import click

from transfuse.cli import shared
from transfuse.core.nouns import Task


@click.command("demo")
@click.option("--out", default="demo", show_default=True, help="Folder of the saved model and its report.")
@click.option("--labels", default=20, show_default=True, help="Labelled examples a class.")
@click.option("--budget", default="150s", show_default=True)
@click.option("--seed", default=0, show_default=True)
@shared.as_format
def command(out: str, labels: int, budget: str, seed: int, form: str, quiet: bool) -> None:
    """Handwritten digits, 20 labels a class: the built-in source against the same network from scratch."""
    with shared.running(quiet=quiet, budget=budget) as run:
        from transfuse.fitting.fit import fit

        shared.require_free(out)
        task = digits(labels, seed)
        model = fit(
            task,
            sources=["builtin"],
            budget=budget,
            seed=seed,
            run=run,
            name="handwritten digits",
            command=shared.command_line(),
        )
        shared.saved(model, out, form)


def digits(labels: int, seed: int) -> Task:
    """scikit-learn's digits with `labels` examples a class to learn from (a quarter of them to validate on)."""
    from sklearn.datasets import load_digits

    from transfuse.tasks.images.opening import open_images

    data = load_digits()
    count, known = len(data.target), 10 * labels
    return open_images(
        (data.images / 16.0, data.target),
        kind="single-label",
        valid=0.25 * known / count,
        test=1 - known / count,
        seed=seed,
        name="handwritten digits",
    )
