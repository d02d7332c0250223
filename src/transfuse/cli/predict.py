"""transfuse predict: answers for pictures, texts or rows."""

import csv
import io
import json
from typing import Any

import click

from transfuse.cli import shared

_COLUMNS = ("input", "task", "answer", "confidence", "rejected", "reason", "warnings", "outside", "score", "threshold")


@click.command("predict")
@click.argument("model", type=click.Path())
@click.argument("inputs", nargs=-1, required=True, type=click.Path())
@click.option("--trust-code", is_flag=True, help="Open a model that was built by the user's own function.")
@click.option("--reject", type=float, help="0..1: share of answers to inputs of known classes that is given up.")
@click.option(
    "--ood",
    type=click.Choice(["flag", "reject", "off"]),
    default="flag",
    show_default=True,
    help="Inputs that are stranger than those of the validation split: told beside the answer, turned away, not told.",
)
@click.option("--encode", help="Make pictures coarser first: jpeg:75, bits:4, median:3, gaussian:1, joined by +.")
@click.option("--strict", is_flag=True, help="Turn away sizes, ranges and categories that training did not have.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Most bytes, pixels, frames, seconds, characters, rows, columns or depth of an input.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", help="How answers are printed."
)
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    model: str, inputs: tuple[str, ...], trust_code: bool, encode: str | None, limits: tuple[str, ...], form: str,
    quiet: bool, **how: Any,
) -> None:  # fmt: skip
    """What the saved MODEL says of INPUTS: pictures, texts (as they are, or .txt files), or all of them in folders.

    MODEL may be the folder of several tasks that `transfer --method shared` saved: all of them answer.

    An input that cannot be read, is larger than a limit, or is turned away gets a reason instead of an answer; the
    others are answered. Exit code 0: all were answered, or turned away by --ood or --reject as you asked; 1: at least
    one could not be answered; 2: the command is wrong.
    """
    with shared.running(quiet=quiet) as run:
        from transfuse.predicting.encoding import coarser
        from transfuse.predicting.predict import predict
        from transfuse.predicting.several import load
        from transfuse.tasks.limits import limits_from

        known = limits_from(limits)
        opened = load(model, trust_code=trust_code)
        asked = opened if encode is None else coarser(opened, encode)
        answers = predict(asked, list(inputs), limits=known, run=run, **how)
    if form == "json":
        click.echo(json.dumps(answers, indent=1))
    elif form == "csv":
        click.echo(_as_csv(answers), nl=False)
    else:
        _show(answers)
    if any(_failed(said) for answer in answers for said in _by_task(answer).values()):
        raise click.exceptions.Exit(1)


def _failed(said: dict[str, Any]) -> bool:
    """Whether it could not be answered; what a filter turned away, as was asked for, was answered."""
    return said["rejected"] and "outside" not in said and "confidence" not in said


_WIDE = 1000  # columns: a path in a pipe is never folded


def _by_task(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = answer.get("tasks", {"": answer})
    return found


def _show(answers: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from transfuse.reporting.terminal import safe

    table = Table(box=None)
    severally = any("tasks" in answer for answer in answers)
    for column in ("input", *(("task",) if severally else ()), "answer", "confidence", "notes"):
        table.add_column(column, overflow="fold")
    for answer in answers:
        for task, said in _by_task(answer).items():
            cells = (answer["input"], *((task,) if severally else ()), *_words(said), _notes(answer, said))
            table.add_row(*map(safe, cells))
    shared.wide_console(_WIDE).print(table, markup=False)


def _words(answer: dict[str, Any]) -> tuple[str, str]:
    """Answer and confidence."""
    if answer["rejected"]:
        return f"rejected: {answer['reason']}", ""
    if "values" in answer:
        return ", ".join(f"{name} {value:.4g}" for name, value in answer["values"].items()), ""
    if "classes" in answer:
        likely = {name: answer["probabilities"][name] for name in answer["classes"]}
        return ", ".join(likely) or "none", ", ".join(f"{value:.3f}" for value in likely.values())
    return answer["class"], f"{answer['confidence']:.3f}"


def _notes(answer: dict[str, Any], said: dict[str, Any]) -> str:
    """What is odd about an input that was answered."""
    notes = list(answer.get("warnings", ()))
    seen = said.get("outside", {})
    if seen.get("outside") and not said["rejected"]:
        notes.append(f"outside: {seen['by']} {seen['score']:.4g}, above {seen['threshold']:.4g}")
    return "; ".join(notes)


def _as_csv(answers: list[dict[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for answer in answers:
        for task, said in _by_task(answer).items():
            words, confidence = ("", "") if said["rejected"] else _words(said)
            seen = said.get("outside", {})
            row = {"input": answer["input"], "task": task, "answer": words, "confidence": confidence}
            row |= {"rejected": said["rejected"], "reason": said.get("reason", "")}
            row |= {"warnings": "; ".join(answer.get("warnings", ())), "outside": seen.get("outside", "")}
            writer.writerow(row | {name: seen.get(name, "") for name in ("score", "threshold")})
    # names of files may be no text
    return stream.getvalue().encode("utf-8", "backslashreplace").decode()
