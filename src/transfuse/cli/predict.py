"""transfuse predict: answers for pictures, texts or rows."""

import json
from typing import Any

import click

from transfuse.cli import shared


@click.command("predict")
@click.argument("model", type=click.Path())
@click.argument("inputs", nargs=-1, required=True, type=click.Path())
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@click.option("--reject", type=float, help="0..1: share of answers to inputs of known classes that is given up.")
@shared.as_format
def command(
    model: str, inputs: tuple[str, ...], trust_code: bool, reject: float | None, form: str, quiet: bool
) -> None:
    """What the saved MODEL says of INPUTS: pictures, texts (as they are, or .txt files), or all of them in folders.

    MODEL may be the folder of several tasks that `transfer --method shared` saved: all of them answer.

    Exit code 1 when one cannot be read.
    """
    with shared.running(quiet=quiet) as run:
        from transfuse.predicting.predict import predict
        from transfuse.predicting.several import load

        answers = predict(load(model, trust_code=trust_code), list(inputs), reject=reject, run=run)
    if form == "json":
        click.echo(json.dumps(answers, indent=1))
    else:
        _show(answers)
    if any("error" in answer for answer in answers):
        raise click.exceptions.Exit(1)


_WIDE = 1000  # columns: a path in a pipe is never folded


def _show(answers: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from transfuse.reporting.terminal import safe

    table = Table(box=None)
    severally = any("tasks" in answer for answer in answers)
    for column in ("input", *(("task",) if severally else ()), "answer", "confidence"):
        table.add_column(column, overflow="fold")
    for answer in answers:
        for task, said in answer.get("tasks", {"": answer}).items():
            table.add_row(*map(safe, (answer["input"], *((task,) if severally else ()), *_words(said))))
    shared.wide_console(_WIDE).print(table, markup=False)


def _words(answer: dict[str, Any]) -> tuple[str, str]:
    if "error" in answer:
        return f"error: {answer['error']}", ""
    if "values" in answer:
        return ", ".join(f"{name} {value:.4g}" for name, value in answer["values"].items()), ""
    if "classes" in answer:
        likely = {name: answer["probabilities"][name] for name in answer["classes"]}
        return ", ".join(likely) or "none", ", ".join(f"{value:.3f}" for value in likely.values())
    said = f"rejected (would be {answer['class']})" if answer.get("rejected") else answer["class"]
    return said, f"{answer['confidence']:.3f}"
