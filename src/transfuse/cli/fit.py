"""transfuse fit: the main job."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.training.options import Fit


@click.command("fit")
@click.argument("data", type=click.Path())
@click.option("--source", "sources", multiple=True, help="A source; give it again for more. None: the default.")
@click.option("--budget", default="10m", show_default=True, help="Time for everything, such as 90s, 10m, 1h30m.")
@click.option("--out", default="model", show_default=True, help="Folder of the saved model and its report.")
@click.option("--finetune/--no-finetune", default=True, help="Stop after the probes.")
@click.option("--baseline/--no-baseline", default=True, help="Train from scratch too, to know what transfer bought.")
@click.option("--refit", is_flag=True, help="Train the chosen model again on validation examples as well.")
@click.option("--search", default=0, show_default=True, help="Trials of a search for the recipe of the fine-tuning.")
@click.option("--source-data", type=click.Path(), help="Labelled examples of another population: do they help?")
@click.option("--unlabelled", type=click.Path(), help="Rows of the same columns without labels, for tables.")
@click.option("--remember", is_flag=True, help="Keep in a probe what `update` and `forget` need: personal data.")
@click.option("--name", help="Name of the model.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the fine-tuning, such as layer_decay=0.7.")
@shared.source_options
@shared.data_options
@shared.options_of_dataclass(Fit)
@shared.as_format
def command(data: str, sources: tuple[str, ...], budget: str, out: str, form: str, quiet: bool, **options: Any) -> None:
    """The best model for your labelled examples in DATA, within a budget, with proof.

    DATA is a folder of class folders (pictures, sounds or .txt files), a CSV / JSON lines / Parquet table with a column
    of paths, of texts, or of plain values, an .npy / .npz file or a saved `datasets` directory.
    """
    picked = {
        name: options.pop(name)
        for name in ("finetune", "baseline", "refit", "search", "source_data", "unlabelled", "remember", "name")
    }
    fit_options, data_options, source_options = shared.sorted_options(options)
    with shared.running(quiet=quiet, budget=budget, resumable=True) as run:
        from transfuse.fitting.fit import fit

        seed = fit_options.get("seed", 0)
        shared.require_free(out, *sources)
        found = shared.found_sources(sources, source_options)  # mistakes are told before the data are read
        task = shared.opened_task(data, data_options, seed, run)
        model = fit(
            task,
            sources=found or _defaults(source_options, task.modality),
            budget=budget,
            seed=seed,
            trust_code=source_options["trust_code"],
            run=run,
            command=shared.command_line(),
            options=fit_options,
            **picked,
        )
        shared.saved(model, out, form)


def _defaults(options: dict[str, Any], modality: Any) -> list[Any] | None:
    """The default sources with the preprocessing that was given; None where `fit` takes them as they are."""
    from transfuse.fitting.fit import DEFAULT_SOURCES

    return shared.found_sources(DEFAULT_SOURCES[modality], options) if any(options.values()) else None
