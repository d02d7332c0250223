import pytest
from hypothesis import given
from hypothesis import strategies as some

from transfuse.core.durations import seconds, spoken
from transfuse.core.errors import UsageError

UNIT = some.none() | some.integers(1, 1000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("1h30m", 5400),
        ("1h", 3600),
        (" 2M ", 120),
        ("0.5m", 30),
        (45, 45),
        (1.5, 1.5),
        ("1h1m1s", 3661),
    ],
)
def test_durations_as_people_write_them(text, value):
    assert seconds(text) == value


@given(UNIT, UNIT, UNIT)
def test_parts_add_up(hours, minutes, rest):
    parts = [(hours, "h", 3600), (minutes, "m", 60), (rest, "s", 1)]
    text = "".join(f"{number}{unit}" for number, unit, _ in parts if number is not None)
    if text:
        assert seconds(text) == sum((number or 0) * scale for number, _, scale in parts)
    else:
        with pytest.raises(UsageError):
            seconds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-5m",
        "10 minutes",
        "m",
        "1m1h",
        "0",
        "0s",
        0,
        -1,
        "inf",
        "nan",
        float("inf"),
        float("nan"),
        "1e3",
        "9" * 400,
    ],
)
def test_anything_else_is_an_error_that_shows_the_form(text):
    with pytest.raises(UsageError, match="'90s', '10m' or '1h30m'"):
        seconds(text)


@given(some.text(max_size=12))
def test_no_text_breaks_the_reader(text):
    try:
        assert seconds(text) > 0
    except UsageError as error:
        assert text in str(error)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.04, "0.0 s"),
        (0.44, "0.4 s"),
        (12.2, "12 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.8, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_for_people(value, words):
    assert spoken(value) == words
