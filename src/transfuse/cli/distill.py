"""transfuse distill: a student learns from a teacher's answers."""

from typing import Any

import click

from transfuse.cli import shared
from transfuse.core.errors import UsageError
from transfuse.distilling.teaching import Teaching
from transfuse.training.options import Fit


@click.command("distill")
@click.argument("teacher")
@click.argument("student")
@click.argument("data", type=click.Path(), required=False)
@click.option(
    "--method",
    default="",
    help="Losses [default: kd], added up, such as 'kd + 0.5*at' or 'labels + dist(temperature=4)': kd, dkd, dist,"
    " logit_std, ctkd, gkd; on inner layers fitnet, at, sp, rkd, cc, pkt, nst, crd, mgd, simkd, ofa.",
)
@click.option("--teacher", "others", multiple=True, help="One more teacher (see --teacher-weights).")
@click.option("--views", default=8, show_default=True, help="Of each example, whose answers are kept; 0 asks anew.")
@click.option("--tap", "taps", multiple=True, help="STUDENT_MODULE=TEACHER_MODULE, for losses on inner layers.")
@click.option(
    "--label-map", multiple=True, help="TEACHER=TASK, where names of classes differ; or a JSON or CSV file of them."
)
@click.option("--together", is_flag=True, help="Keep the mean of the students that learnt together (--mutual).")
@click.option("--scratch", is_flag=True, help="The student starts from random weights.")
@click.option("--no-compare", is_flag=True, help="Do not train the student alone as well.")
@click.option("--out", default="model", show_default=True, help="Folder of the saved model and its report.")
@click.option("--name", help="Name of the model.")
@click.option("--budget", help="Time limit, such as 10m; steps are cut to keep it.")
@click.option("--set", "settings", multiple=True, help="NAME=VALUE of the training, such as batch_size=16.")
@shared.source_options
@shared.data_options
@shared.options_of_dataclass(Fit)
@shared.options_of_dataclass(Teaching, without=("label_map", "together"))
@shared.as_format
def command(
    teacher: str, student: str, data: str | None, others: tuple[str, ...], taps: tuple[str, ...], method: str,
    form: str, label_map: tuple[str, ...], together: bool, **options: Any,
) -> None:  # fmt: skip
    """Train STUDENT to answer as TEACHER does on DATA, and measure it against the student alone.

    TEACHER is a saved model, a source with a head of the data's classes, the URL of a server that speaks the Open
    Inference Protocol (http://HOST/v2/models/NAME), or `self` (with --generations or --mutual). Without DATA the
    teacher's answers about --unlabelled stand for labels.
    """
    own = {name: options.pop(name) for name in ("views", "scratch", "name")}
    compare, out, quiet = not options.pop("no_compare"), options.pop("out"), options.pop("quiet")
    budget = options.pop("budget")
    fit_options, data_options, source_options = shared.sorted_options(options)
    pairs = _pairs(taps)
    with shared.running(quiet=quiet, budget=budget, resumable=True) as run:
        from transfuse.distilling.distill import distill
        from transfuse.distilling.opening import options_from
        from transfuse.distilling.sums import parsed
        from transfuse.distilling.teachers import require_found

        teachers = [teacher, *others]
        shared.require_free(out, student, *teachers)
        parsed(method or "kd")  # mistakes are told before the data are read
        fit, teaching = options_from({**fit_options, "together": together, "label_map": label_map})
        if not teaching.require_teacher(teacher):
            for one in teachers:
                require_found(one, source_options["trust_code"])
        found = shared.found_source(student, source_options)
        task = shared.opened_task(data, data_options, fit.seed, run) if data is not None else None
        model = distill(
            teacher if not others else teachers, found, task, method=method, taps=pairs, compare=compare, run=run,
            fit=fit, teaching=teaching, trust_code=source_options["trust_code"], command=shared.command_line(), **own,
        )  # fmt: skip
        shared.saved(model, out, form)


def _pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """`STUDENT=TEACHER` module paths; raises `UsageError`."""
    found = [text.partition("=") for text in texts]
    wrong = next((text for text, (left, _, right) in zip(texts, found, strict=True) if not left or not right), None)
    if wrong is not None:
        raise UsageError(f"`--tap` must be given as STUDENT_MODULE=TEACHER_MODULE, but is '{wrong}'.")
    return {left: right for left, _, right in found}
