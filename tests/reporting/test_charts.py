"""Charts: where marks are placed, and what they say to those who cannot see them."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.reporting import charts


def test_ticks_are_round_and_enclose_the_values():
    assert charts.ticks(0.1, 0.96, 5) == [0, 0.25, 0.5, 0.75, 1.0]
    assert charts.ticks(0, 600, 5) == [0, 200, 400, 600]
    assert charts.ticks(3, 3, 5)[0] < 3 < charts.ticks(3, 3, 5)[-1]


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_always_enclose_the_values(low, width):
    found = charts.ticks(low, low + width, 5)
    slack = 1e-6 * (found[-1] - found[0])
    assert found[0] <= low + slack and low + width <= found[-1] + slack and 2 <= len(found) <= 12


def test_a_whisker_lies_on_its_scale():
    drawing = ElementTree.fromstring(charts.whisker(0.5, 0.25, 1.0, (0.0, 1.0)))
    assert drawing.find("circle").get("cx") == "80.0"
    assert drawing.findall("path")[1].get("d").startswith("M43.0 7v6M43.0 10H154.0")
    assert len(ElementTree.fromstring(charts.whisker(0.5, None, None, (0.5, 0.5))).findall("path")) == 1


def test_curves_skip_what_is_not_a_number_and_say_where_they_end():
    series = [{"name": "<a>", "points": [[0, 0.2], [1, float("nan")], [2, None], [3, 0.8]]}]
    svg = charts.curves({"x": "step", "y": "accuracy", "series": series})
    drawing = ElementTree.fromstring(svg)
    assert drawing.get("aria-label") == "accuracy against step: <a> ends at 0.800"
    assert len(drawing.find("polyline").get("points").split()) == 2
    assert "No points" in charts.curves({"x": "step", "y": "accuracy", "series": []})


def test_curves_that_go_up_are_drawn_upwards():
    svg = charts.curves({"x": "x", "y": "y", "series": [{"name": "a", "points": [[0, 0], [1, 1]]}]})
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in re.search(r'points="([^"]+)"', svg)[1].split())
    assert x1 > x0 and y1 < y0


def test_the_confusion_matrix_writes_counts_and_shades_by_row():
    svg = charts.confusion({"classes": ["cat", "dog"], "counts": [[3, 1], [0, 8]]})
    drawing = ElementTree.fromstring(svg)
    assert [t.text for t in drawing.find("g").iter("text")] == ["3", "1", "8"]
    assert {p.get("class") for p in drawing.iter("path")} == {"hit d8", "miss d2", "hit d10"}
    assert drawing.get("aria-label") == "Confusion matrix of 2 classes: 11 of 12 answers are right"


@pytest.mark.parametrize(("classes", "limit"), [(2, 2_000), (25, 60_000), (100, 200_000)])
def test_the_confusion_matrix_stays_small_when_every_cell_is_filled(classes, limit):
    svg = charts.confusion({"classes": [f"name {i}" for i in range(classes)], "counts": [[1] * classes] * classes})
    assert len(svg) < limit
    ElementTree.fromstring(svg)


def test_the_most_frequent_mistakes_come_first():
    rows = charts.most_confused({"classes": ["a", "b", "c"], "counts": [[5, 1, 4], [0, 9, 2], [0, 0, 3]]})
    assert [(row["truth"], row["answer"], row["count"]) for row in rows] == [
        ("a", "c", 4),
        ("b", "c", 2),
        ("a", "b", 1),
    ]
    assert rows[0]["share of truth"] == 0.4


def test_reliability_says_its_bins():
    bins = [{"confidence": 0.9, "accuracy": 0.5, "n": 10}, {"confidence": 0.1, "accuracy": 0.0, "n": 0}]
    drawing = ElementTree.fromstring(charts.reliability({"bins": bins, "error": 0.4}))
    assert drawing.get("aria-label") == "Accuracy against confidence: 0.500 at 0.900 (n=10)"
    assert "No examples" in charts.reliability({"bins": [], "error": 0})


POINTS = [
    {"name": "the whole", "x": 2_300_000, "y": 0.97, "low": 0.95, "high": 0.98},
    {"name": "2x", "x": 1_150_000, "y": 0.975, "low": 0.96, "high": 0.985},
    {"name": "4x", "x": 570_000, "y": 0.93, "low": 0.91, "high": 0.95},
]


def test_a_front_joins_what_nothing_beats_in_both():
    assert [point["name"] for point in charts.unbeaten(POINTS)] == ["4x", "2x"]
    svg = str(charts.front({"x": "parameters", "y": "accuracy", "points": POINTS}))
    assert "accuracy against parameters: the whole" in svg
    assert "4x: 0.930 (0.910 to 0.950)" in svg
    assert svg.count("<circle") == 3
    assert svg.split('points="')[1].split('"')[0].count(",") == 2
    assert "No points" in charts.front({"x": "x", "y": "y", "points": []})


@given(st.floats(1e-3, 1e9), st.floats(1.0, 1e4))
def test_ticks_of_powers_enclose_the_values(low, times):
    found = charts.power_ticks(low, low * times)
    assert 10 ** found[0] <= low * (1 + 1e-6)
    assert 10 ** found[-1] >= low * times * (1 - 1e-6)
    assert sorted(set(found)) == found
    assert len(found) >= 2
