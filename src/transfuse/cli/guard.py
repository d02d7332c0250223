"""transfuse guard: a saved model learns which inputs are unlike those it learnt from."""

from typing import Any

import click

from transfuse.cli import shared


@click.command("guard")
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("--out", required=True, help="Folder of the guarded model; MODEL itself replaces it.")
@click.option(
    "--score",
    type=click.Choice(["auto", "energy", "probability", "mahalanobis", "neighbours", "none"]),
    default="auto",
    show_default=True,
    help="By which strangers are told. `neighbours` keeps training features: personal data where the examples are.",
)
@click.option("--share", type=float, default=0.01, show_default=True, help="0..1: ordinary inputs that may be refused.")
@click.option("--encode", help="Make pictures coarser from now on: jpeg:75, bits:4, median:3, gaussian:1.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the splits.")
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@shared.data_options
@shared.as_format
def command(
    model: str, data: str, out: str, score: str, share: float, encode: str | None, seed: int, trust_code: bool,
    form: str, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Teach the saved MODEL to tell inputs that are unlike DATA, for `predict --ood`.

    The training split says which sizes are ordinary, the validation split how high the score of an ordinary input may
    be. Models that this version made are guarded already; this is for older ones, another score or another share.
    """
    with shared.running(quiet=quiet) as run:
        from transfuse.predicting.folder import load
        from transfuse.predicting.guarding import described, guard

        shared.require_free(out)
        opened = load(model, trust_code=trust_code)
        wanted = {**options, "modality": options["modality"] or opened.modality, "kind": options["kind"] or opened.kind}
        task = shared.opened_task(data, wanted, seed, run)
        found = guard(opened, task, score=score, share=share, encode=encode, run=run)
        extra = {"model": str(found.save(out))}
    shared.show_report(described(found), form, extra)
