"""Progress of long work."""

import io

from rich.console import Console

from transfuse.reporting.progress import _in_lines, watching


def events(n=50):
    return [{"stage": "training", "done": i, "total": n, "text": f"accuracy [{i}]"} for i in range(n + 1)]


def test_a_pipe_gets_few_plain_lines():
    stream = io.StringIO()
    with watching(Console(file=stream, force_terminal=False)) as watch:
        for event in events():
            watch(event)
    assert stream.getvalue().splitlines() == ["training 0/50  accuracy [0]", "training 50/50  accuracy [50]"]


def test_lines_follow_the_clock_and_stages_are_apart():
    stream, now = io.StringIO(), [0.0]
    watch = _in_lines(Console(file=stream, force_terminal=False), clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        watch({"stage": "reading", "done": second, "total": None})
    watch({"stage": "training", "done": 0, "total": 9})
    assert stream.getvalue().splitlines() == ["reading 0", "reading 5", "reading 10", "training 0/9"]


def test_a_terminal_gets_a_bar():
    stream = io.StringIO()
    with watching(Console(file=stream, force_terminal=True, width=120)) as watch:
        for event in events():
            watch(event)
        watch({"stage": "evaluating", "done": 1, "total": None})
    text = stream.getvalue()
    assert "50/50" in text and "accuracy [50]" in text and "evaluating" in text and "\x1b[" in text


def test_quiet_says_nothing():
    stream = io.StringIO()
    with watching(Console(file=stream, force_terminal=True), quiet=True) as watch:
        watch(events()[0])
    with watching(Console(file=stream, quiet=True)) as watch:
        watch(events()[0])
    assert stream.getvalue() == ""
