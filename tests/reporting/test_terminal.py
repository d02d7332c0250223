"""What a person reads in the terminal."""

import io

import pytest
from rich.console import Console

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import DataWarning, Report, Section
from transfuse.reporting.terminal import render_text, show
from transfuse.reporting.values import best_row, cell, places


def measured(value, low, high, n=400):
    return {"value": value, "low": low, "high": high, "n": n}


def report(**changes):
    defaults = {
        "title": "fit: digits",
        "columns": ("method", "accuracy", "seconds"),
        "rows": (
            {"method": "scratch", "accuracy": measured(0.8, 0.76, 0.84), "seconds": 12.0},
            {"method": "finetune", "accuracy": measured(0.9125, 0.885, 0.938), "seconds": 31},
        ),
        "summary": ("finetune is best.",),
        "command": "transfuse fit photos/ --budget 10m",
    }
    return Report(**{**defaults, **changes})


def test_a_measured_value_prints_with_interval_and_n():
    text = render_text(report())
    assert "0.912 (0.885\N{EN DASH}0.938, n=400)" in text
    assert "finetune is best." in text and "transfuse fit photos/ --budget 10m" in text
    assert str(report()) == text


def test_the_best_row_is_bold():
    stream = io.StringIO()
    show(report(), Console(file=stream, width=120, force_terminal=True, color_system="standard"))
    bold = [line for line in stream.getvalue().splitlines() if "\x1b[1m" in line]
    assert any("finetune" in line for line in bold) and not any("scratch" in line for line in bold)


def test_the_chosen_row_is_bold_rather_than_the_best():
    first, second = report().rows
    stream = io.StringIO()
    show(
        report(rows=({**first, "chosen": True}, {**second, "chosen": False})),
        Console(file=stream, width=120, force_terminal=True, color_system="standard"),
    )
    bold = [line for line in stream.getvalue().splitlines() if "\x1b[1m" in line]
    assert any("scratch" in line for line in bold) and not any("finetune" in line for line in bold)


def test_decisions_print_question_answer_and_evidence():
    one = {"question": "Which source?", "decision": "resnet.", "evidence": "0.91 against 0.85"}
    text = render_text(report(sections=(Section(kind="decisions", title="How it was decided", content=[one]),)))
    assert "Which source? resnet.\n" in text and "0.91 against 0.85" in text


def test_best_follows_the_metrics_direction_and_needs_a_rival():
    rows = [{"log_loss": measured(0.5, 0.4, 0.6)}, {"log_loss": measured(0.3, 0.2, 0.4)}]
    assert best_row(["log_loss"], rows) == 1
    assert best_row(["accuracy"], [{"accuracy": row["log_loss"]} for row in rows]) == 0
    assert best_row(["log_loss"], rows[:1]) is None
    assert best_row(["name"], [{"name": "a"}, {"name": "b"}]) is None
    assert best_row(["accuracy"], [{"accuracy": measured(float("nan"), None, None)}] * 2) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (3, "3"),
        (1518906, "1\u202f518\u202f906"),
        (0.5, "0.500"),
        (0.00012, "0.00012"),
        (1234.56, "1\u202f234.6"),
        (True, "yes"),
        (["a", 1], "a, 1"),
        ("word", "word"),
        (measured(0.02, -0.01, 0.05), "0.020 (-0.010 to 0.050, n=400)"),
        (measured(float("nan"), float("nan"), float("nan")), "\N{EN DASH} (n=400)"),
        ({"value": 0.5}, "0.500"),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


def test_warnings_name_the_first_places_and_count_the_rest():
    paths = tuple(f"cats/{i}.jpg" for i in range(17))
    warning = DataWarning(code="unreadable", message="17 pictures cannot be read.", places=paths)
    text = render_text(report(warnings=(warning,)))
    assert "warning: 17 pictures cannot be read. [unreadable]" in text
    assert "cats/4.jpg" in text and "cats/5.jpg" not in text and "and 12 more" in text
    assert places(["a"] * 6) == ["a"] * 6


def test_names_from_strangers_are_neither_markup_nor_control_codes():
    rows = ({"method": "[red]x[/red]\x1b[2J", "accuracy": measured(0.5, 0.4, 0.6)},)
    warning = DataWarning(code="c", message="m", places=("a\x1b]0;evil\x07\nb",))
    text = render_text(report(rows=rows, warnings=(warning,), title="[bold]"))
    assert "[red]x[/red]" in text and "[bold]" in text and "\x1b" not in text and "\x07" not in text


def test_sections():
    step = {
        "verb": "transfer",
        "method": "finetune",
        "options": {"rate": 0.001},
        "seconds": 2.0,
        "inputs": [{"verb": "source", "method": "", "options": {}, "inputs": []}],
    }
    sections = (
        Section(kind="table", title="Classes", content={"columns": ["class", "n"], "rows": [{"class": "cat", "n": 7}]}),
        Section(kind="provenance", title="Origin", content=step),
        Section(kind="text", title="Remarks", content=["one", "two"], note="a note"),
        Section(kind="command", title="Again", content="transfuse fit other/"),
        Section(kind="curves", title="Curves", content={"x": "step", "y": "loss", "series": []}),
    )
    text = render_text(report(sections=sections))
    assert "transfer finetune (2.0 s)\n    source" in text and "0.001" not in text
    for words in ("Classes", "cat", "Remarks", "one", "a note", "transfuse fit other/"):
        assert words in text
    assert "Curves" not in text and "photos/" not in text


def test_long_tables_say_what_they_leave_out():
    rows = tuple({"method": f"m{i}"} for i in range(45))
    assert "15 more rows" in render_text(report(rows=rows, columns=("method",)))


def test_a_section_kind_that_cannot_be_drawn_is_named():
    with pytest.raises(UnknownName, match="Did you mean 'curves'"):
        render_text(report(sections=(Section(kind="curve", title="t", content={}),)))
