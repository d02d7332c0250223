"""What long work says while it runs: a live bar on a terminal, a line every few seconds elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from transfuse.core.runs import Event
from transfuse.reporting.terminal import safe

SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def watching(console: Console | None = None, *, quiet: bool = False) -> Iterator[Callable[[Event], None]]:
    """Yield what `Run(watch=...)` takes. Without a console it writes to stderr; quiet writes nothing."""
    console = console or Console(stderr=True)
    if quiet or console.quiet:
        yield lambda event: None
    elif console.is_terminal:
        with _bars(console) as progress:
            yield _on_bars(progress)
    else:
        yield _in_lines(console)


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
    )
    return Progress(*columns, console=console, transient=False, refresh_per_second=8)


def _on_bars(progress: Progress) -> Callable[[Event], None]:
    """One bar a stage, in the order in which stages begin."""
    bars: dict[str, TaskID] = {}

    def watch(event: Event) -> None:
        stage, total = str(event["stage"]), event.get("total")
        if stage not in bars:
            bars[stage] = progress.add_task(stage, total=total, text="")
        progress.update(bars[stage], completed=event.get("done", 0), total=total, text=safe(event.get("text", "")))

    return watch


def _in_lines(console: Console, clock: Callable[[], float] = time.monotonic) -> Callable[[Event], None]:
    """A line when a stage begins, when it ends, and at most one every few seconds between."""
    last: dict[str, float] = {}
    ended: set[str] = set()

    def watch(event: Event) -> None:
        stage, done, total = str(event["stage"]), event.get("done"), event.get("total")
        if total is not None and done is not None and done >= total:
            due = stage not in ended
            ended.add(stage)
        else:
            due = stage not in last or clock() - last[stage] >= SECONDS_BETWEEN_LINES
            ended.discard(stage)
        if due:
            last[stage] = clock()
            console.print(Text(_line(stage, done, total, safe(event.get("text", "")))), soft_wrap=True)

    return watch


def _line(stage: str, done: object, total: object, text: str) -> str:
    count = "" if done is None else f" {done}/{total}" if total is not None else f" {done}"
    return f"{stage}{count}{'  ' + text if text else ''}"
