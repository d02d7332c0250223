"""transfuse demo: the main job on data and a source that come with the packages, nothing downloaded."""

import click
import numpy as np

from transfuse.cli import shared


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


def digits(labels: int, seed: int) -> object:
    """scikit-learn's digits with `labels` examples a class to learn from (a quarter of them to validate on)."""
    from sklearn.datasets import load_digits

    from transfuse.core.randomness import key
    from transfuse.tasks.images import task_from_splits

    data = load_digits()
    pictures, y = (data.images * (255 / 16)).round().astype(np.uint8), data.target
    generator = np.random.default_rng(key(seed, "demo"))
    order = generator.permutation(len(y))
    rank = np.empty(len(y), dtype=int)
    for digit in range(10):
        mine = order[y[order] == digit]
        rank[mine] = np.arange(len(mine))
    held = max(1, labels // 4)
    places = {"train": rank < labels - held, "valid": (rank >= labels - held) & (rank < labels), "test": rank >= labels}
    splits = {name: (pictures[chosen], y[chosen]) for name, chosen in places.items()}
    return task_from_splits(splits, classes=[str(digit) for digit in range(10)], name="digits", seed=seed)
