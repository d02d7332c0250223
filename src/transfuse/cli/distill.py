"""transfuse distill: a student learns from a teacher's answers."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError
from transfuse.training.options import Fit


@click.command("distill")
@click.argument("teacher")
@click.argument("student")
@click.argument("data", type=click.Path())
@click.option(
    "--method",
    default="kd",
    show_default=True,
    help="Losses, added up, such as 'kd + 0.5*at' or 'labels + dist(temperature=4)': kd, dkd, dist, logit_std, ctkd,"
    " gkd; on inner layers fitnet, at, sp, rkd, cc, pkt, nst, crd, mgd, simkd, ofa.",
)
@click.option("--teacher", "others", multiple=True, help="One more teacher; they answer by their mean probabilities.")
@click.option("--views", default=8, show_default=True, help="Of each example, whose answers are kept; 0 asks anew.")
@click.option("--tap", "taps", multiple=True, help="STUDENT_MODULE=TEACHER_MODULE, for losses on inner layers.")
@click.option("--scratch", is_flag=True, help="The student starts from random weights.")
@click.option("--no-compare", is_flag=True, help="Do not train the student alone as well.")
@click.option("--out", default="model", show_default=True, help="Folder of the saved model and its report.")
@click.option("--name", help="Name of the model.")
@click.option("--budget", help="Time limit, such as 10m; steps are cut to keep it.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the training, such as batch_size=16.")
@shared.source_options
@shared.data_options
@shared.options_of_dataclass(Fit)
@shared.as_format
def command(
    teacher: str, student: str, data: str, others: tuple[str, ...], taps: tuple[str, ...], method: str, form: str,
    **options: Any,
) -> None:  # fmt: skip
    """Train STUDENT to answer as TEACHER does on DATA, and measure it against the student alone.

    TEACHER is a saved model, or a source with a head of the data's classes.
    """
    own = {name: options.pop(name) for name in ("views", "scratch", "name")}
    compare, out, quiet = not options.pop("no_compare"), options.pop("out"), options.pop("quiet")
    budget = options.pop("budget")
    fit_options, data_options, source_options = shared.sorted_options(options)
    pairs = _pairs(taps)
    with shared.running(quiet=quiet, budget=budget, resumable=True) as run:
        from transfuse.distilling.distill import distill, fit_from
        from transfuse.distilling.sums import parsed
        from transfuse.sources.references import find

        teachers = [teacher, *others]
        shared.require_free(out, student, *teachers)
        parsed(method)  # mistakes are told before the data are read
        for one in teachers:
            find(one, trust_code=source_options["trust_code"])
        fit = fit_from(fit_options)
        found = shared.found_source(student, source_options)
        task = shared.opened_task(data, data_options, fit.seed, run)
        model = distill(
            teachers, found, task, method=method, taps=pairs, compare=compare, run=run, fit=fit,
            trust_code=source_options["trust_code"], command=shared.command_line(), **own,
        )  # fmt: skip
        shared.saved(model, out, form)


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """`STUDENT=TEACHER` module paths; raises `UsageError`."""
    found = [text.partition("=") for text in texts]
    wrong = next((text for text, (left, _, right) in zip(texts, found, strict=True) if not left or not right), None)
    if wrong is not None:
        raise UsageError(f"`--tap` must be given as STUDENT_MODULE=TEACHER_MODULE, but is '{wrong}'.")
    return {left: right for left, _, right in found}
