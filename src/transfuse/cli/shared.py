"""What several commands share: options, the run that surrounds the work, how results are shown."""

import ast
import contextlib
import dataclasses
import inspect
import itertools
import json
import os
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from rich.console import Console

from transfuse.core.digests import of_value
from transfuse.core.durations import seconds
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Report
from transfuse.core.provenance import plain
from transfuse.core.runs import Run

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def decorated(*decorators: Decorator) -> Decorator:
    """Several decorators as one, the first outermost."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


as_format = decorated(
    click.option(
        "--format", "form", type=click.Choice(["table", "json"]), default="table", help="How results are printed."
    ),
    click.option("--quiet", is_flag=True, help="No progress."),
)

data_options = decorated(
    click.option("--target", multiple=True, help="Target column of a table; give it again for more columns."),
    click.option(
        "--modality", type=click.Choice(["image", "text", "table", "sound"]), help="Instead of what is recognised."
    ),
    click.option("--path-column", help="Column that holds the paths of pictures or sounds."),
    click.option(
        "--role",
        "roles",
        multiple=True,
        help="COLUMN=ROLE: numeric, categorical, boolean, date, text, picture, sound, drop.",
    ),
    click.option("--query", help="SQL that selects the rows, for databases."),
    click.option("--text-column", help="Column that holds the texts."),
    click.option(
        "--kind", type=click.Choice(["single-label", "multi-label", "regression"]), help="Instead of the guess."
    ),
    click.option("--group", help="Column whose groups, such as patients, must not straddle a split."),
    click.option("--weight", help="Column with a weight for each example."),
    click.option("--valid", type=float, default=0.2, show_default=True, help="Share for validation, when not given."),
    click.option("--test", type=float, default=0.2, show_default=True, help="Share for testing, when not given."),
)

source_options = decorated(
    click.option("--trust-code", is_flag=True, help="Run the user's own function that builds a network."),
    click.option("--size", type=int, help="Pixels a side, instead of what the source says."),
    click.option("--mean", help="Per channel, such as 0.485,0.456,0.406."),
    click.option("--std", help="Per channel."),
    click.option("--range", "white", type=float, help="Value of a white pixel: 1 or 255."),
    click.option("--crop", type=click.Choice(["none", "ink"]), help="ink: cut pictures to what is not background."),
    click.option("--max-length", type=int, help="Tokens of a text that are read, instead of what the source says."),
    click.option("--prompt", help="Stands before every text; or the name of one of the source's prompts."),
    click.option("--pooling", help="How a text's tokens become one vector: mean, cls, last or max."),
    click.option("--cut", type=click.Choice(["end", "start"]), help="Which side of longer texts is left out."),
)
column_options = decorated(
    click.option("--target", multiple=True, help="Target column(s) of a table, when not called as the model's."),
    click.option("--path-column", help="Column that holds the pictures' paths."),
    click.option("--text-column", help="Column that holds the texts."),
    click.option("--group", help="Column whose groups, such as patients, are drawn together for the intervals."),
    click.option("--query", help="SQL that selects the rows, for databases."),
)
SOURCE_OPTIONS = ("trust_code", "size", "mean", "std", "white", "crop", "max_length", "prompt", "pooling", "cut")
"""Names of `source_options`."""
DATA_OPTIONS = (
    "target", "modality", "roles", "query", "path_column", "text_column", "kind", "group", "weight", "valid", "test",
)  # fmt: skip
"""Names of `data_options`."""


def found_source(reference: str, options: dict[str, Any]) -> Any:
    """The Source of a reference, with the preprocessing that the user gave (`SOURCE_OPTIONS`)."""
    from transfuse.sources.references import find

    renamed = {**options, "mean": numbers(options["mean"]), "std": numbers(options["std"]), "range": options["white"]}
    renamed.pop("white")
    return find(reference, **renamed)


def found_sources(references: Iterable[str], options: dict[str, Any]) -> list[Any]:
    """Sources with the preprocessing that was given; one that cannot be had stays a name, and the verb says why."""
    from transfuse.core.errors import NotCached

    found: list[Any] = []
    for reference in references:
        try:
            found.append(found_source(reference, options))
        except NotCached:
            found.append(reference)
    return found


def numbers(text: str | None) -> tuple[float, ...] | None:
    """`0.5,0.5` as numbers; raises `UsageError`."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"Numbers must be separated by commas, such as 0.485,0.456,0.406, but are '{text}'.") from None


def opened_task(data: str, options: dict[str, Any], seed: int, run: Run) -> Any:
    """The Task that the data options describe."""
    from transfuse.tasks.opening import open_task

    target = list(options.pop("target")) or None
    roles = roles_given(options.pop("roles", ()))
    return open_task(data, target=target, roles=roles or None, seed=seed, run=run, **options)


def roles_given(texts: Iterable[str]) -> dict[str, str]:
    """`COLUMN=ROLE` pairs; raises `UsageError`."""
    pairs = [text.rpartition("=") for text in texts]
    wrong = next((role for name, _, role in pairs if not name), None)
    if wrong is not None:
        raise UsageError(f"`--role` must be given as COLUMN=ROLE, such as zip=categorical, but is '{wrong}'.")
    return {name: role for name, _, role in pairs}


_OTHER_NAMES = {"target": "stop_at"}
"""Fields whose own name is taken on the command line: `--target` is a column."""


def options_of_dataclass(kind: type, without: Sequence[str] = ()) -> Decorator:
    """One command-line option for each field of a dataclass, helped by the field's docstring; None when not given.

    `without` are fields that the command asks for in a way of its own.
    """
    documents = _field_documents(kind)
    decorators = []
    for field in (field for field in dataclasses.fields(kind) if field.name not in without):
        name = "--" + _OTHER_NAMES.get(field.name, field.name).replace("_", "-")
        help_text = f"{documents.get(field.name, '')} [default: {field.default}]".strip()
        decorators.append(click.option(name, type=_click_type(field), default=None, help=help_text))
    return decorated(*decorators)


def _click_type(field: dataclasses.Field) -> Any:
    if get_origin(field.type) is Literal:
        return click.Choice(get_args(field.type))
    return field.type if field.type in (int, float, str) else str


def _field_documents(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0].body  # type: ignore[attr-defined]
    documents = {}
    for statement, following in itertools.pairwise(body):
        documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if isinstance(statement, ast.AnnAssign) and documented:
            documents[statement.target.id] = " ".join(str(following.value.value).split())  # type: ignore
    return documents


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}


def assignments(texts: tuple[str, ...]) -> dict[str, Any]:
    """`NAME=VALUE` pairs; values are Python literals, `true` and `false`, or else text."""
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"`--set` must be given as NAME=VALUE, but is '{text}'.")
        try:
            words = {"true": True, "false": False}
            found[name] = words[value] if value in words else ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def class_weights(text: str | None) -> Any:
    """`equal`, `balanced`, or `cat=2,dog=0.5`."""
    if text is None or "=" not in text:
        return text
    pairs = (part.rpartition("=") for part in text.split(","))
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError:
        raise UsageError(f"`--class-weights` must be like cat=2,dog=0.5, but is '{text}'.") from None


def arguments() -> tuple[str, ...]:
    """What the user typed after `transfuse`."""
    return click.get_current_context().find_object(tuple) or tuple(sys.argv[1:])


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["transfuse", *arguments()])


@contextlib.contextmanager
def running(*, quiet: bool, budget: str | None = None, resumable: bool = False) -> Iterator[Run]:
    """A run with progress on the terminal; `resumable` work keeps checkpoints until it has ended."""
    from transfuse.reporting.progress import watching

    checkpoints = runs_folder() / of_value([str(Path.cwd()), *arguments()])[:24] if resumable else None
    deadline = time.monotonic() + seconds(budget) if budget else None
    with watching(Console(stderr=True), quiet=quiet) as watch:
        yield Run(deadline=deadline, checkpoints=checkpoints, watch=watch)
    if checkpoints and any(checkpoints.rglob("training.safetensors")):
        click.echo("Stopped early; the best so far was taken. The same command goes on from there.", err=True)
    elif checkpoints:
        shutil.rmtree(checkpoints, ignore_errors=True)


def runs_folder() -> Path:
    """Where runs that have not ended keep their checkpoints, in a folder for each command and working folder."""
    from transfuse.core.places import cache_folder

    return cache_folder() / "runs"


def show_report(report: Report, form: str, extra: dict[str, Any] | None = None) -> None:
    """Print a report as a table or as JSON."""
    if form == "json":
        from transfuse.reporting.files import finite

        document = {name: plain(getattr(report, name)) for name in ("title", "rows", "summary", "warnings")}
        click.echo(json.dumps(finite({**document, **(extra or {})}), allow_nan=False))
        return
    from transfuse.reporting.terminal import show

    show(report, wide_console())
    for name, value in (extra or {}).items():
        click.echo(f"{name}: {value}")


def wide_console(width: int = 120) -> Console:
    """A console for results, `width` columns wide where nobody says how wide it is, such as in a pipe."""
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console() if known else Console(width=width)


def require_free(out: str, *parents: str) -> None:
    """Raise now what saving would raise after hours of work; and before a model would be put in place of a parent."""
    from transfuse.predicting.folder import require_free

    if any(Path(parent).exists() and Path(parent).resolve() == Path(out).resolve() for parent in parents):
        raise UsageError(f"`out` must be another folder than its parents, but is '{out}'. Choose a new one.")
    require_free(out)


def saved(model: Model | dict[str, Model], out: str, form: str) -> None:
    """Save a model, or those of several tasks, with the report; print it and where they are."""
    from transfuse.predicting.several import save

    folder = save(model, out)
    report = (model if isinstance(model, Model) else next(iter(model.values()))).report
    assert report is not None
    show_report(report, form, {"model": str(folder), "report": str(folder / "report.html")})


def sorted_options(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Options of training (those that were given), of the data, of the source."""
    data = {name: options.pop(name) for name in DATA_OPTIONS}
    source = {name: options.pop(name) for name in SOURCE_OPTIONS}
    settings = assignments(options.pop("settings"))
    options |= {field: options.pop(other) for field, other in _OTHER_NAMES.items()}
    options["class_weights"] = class_weights(options["class_weights"])
    return {**given(options), **settings}, data, source
