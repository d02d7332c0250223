"""Small charts as SVG: colours come from the page's style sheet, so that they follow light and dark.

Everything that is not a number passes through `Markup.format`, which escapes it. Units are SVG user units.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from transfuse.reporting.values import number

SERIES = 8
"""Number of different line colours in the style sheet."""

_WIDE, _HIGH = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 16, 12, 40
COUNTS_UP_TO = 25
"""Classes up to which a confusion matrix has its counts written into the cells."""


def whisker(value: float, low: float | None, high: float | None, scale: tuple[float, float]) -> Markup:
    """A dot on its interval, on an axis from scale[0] to scale[1]; decoration beside the number itself."""
    first, last = scale
    span = (last - first) or 1.0

    def x(v: float) -> str:
        return f"{6 + 148 * (v - first) / span:.1f}"

    line = Markup("")
    if low is not None and high is not None:
        ends = {"a": x(low), "b": x(high)}
        line = Markup('<path d="M{a} 7v6M{a} 10H{b}M{b} 7v6"/>').format(**ends)
    return Markup(
        '<svg class="whisker" viewBox="0 0 160 20" aria-hidden="true"><path class="rule" d="M0 10H160"/>'
        '{}<circle cx="{}" cy="10" r="3.6"/></svg>'
    ).format(line, x(value))


def curves(content: Mapping[str, Any]) -> Markup:
    """Lines of `{"x", "y", "series": [{"name", "points": [[x, y], ...]}]}`; gaps where y is not a number."""
    series = [(str(line["name"]), known_points(line["points"])) for line in content["series"]]
    every = [point for _, points in series for point in points]
    if not every:
        return Markup('<p class="quiet">No points were recorded.</p>')
    x_ticks = ticks(min(x for x, _ in every), max(x for x, _ in every), 5)
    y_ticks = ticks(min(y for _, y in every), max(y for _, y in every), 5)
    plot = _Plot(x_ticks, y_ticks)
    lines = Markup("").join(_line(plot, i, points) for i, (_, points) in enumerate(series))
    label = f"{content['y']} against {content['x']}: " + "; ".join(
        f"{name} ends at {number(points[-1][1])}" for name, points in series if points
    )
    return Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        _WIDE, _HIGH, label, plot.axes(str(content["x"]), str(content["y"])), lines
    )


def reliability(content: Mapping[str, Any]) -> Markup:
    """Accuracy of each confidence bin against its confidence; the dot's area grows with the bin's examples."""
    bins = [b for b in content["bins"] if b["n"]]
    if not bins:
        return Markup('<p class="quiet">No examples fell into any bin.</p>')
    most = max(b["n"] for b in bins)
    tenths = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    plot = _Plot(tenths, tenths)
    dots = Markup("").join(_bin(plot, b, most) for b in bins)
    joined = " ".join(f"{plot.x(b['confidence'])},{plot.y(b['accuracy'])}" for b in bins)
    label = "Accuracy against confidence: " + "; ".join(
        f"{number(b['accuracy'])} at {number(b['confidence'])} (n={b['n']})" for b in bins
    )
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<path class="ideal" d="M{} {}L{} {}"/><polyline class="line s0" points="{}"/>{}</svg>'
    ).format(
        _WIDE,
        _HIGH,
        label,
        plot.axes("confidence", "accuracy"),
        plot.x(0),
        plot.y(0),
        plot.x(1),
        plot.y(1),
        joined,
        dots,
    )


def front(content: Mapping[str, Any]) -> Markup:
    """What is gained for what is paid: `{"x", "y", "points": [{"name", "x", "y", "low", "high"}]}`, x by its logarithm.

    A line joins the points of which no other has both a smaller x and a larger y.
    """
    points = [p for p in content["points"] if p["x"] > 0 and math.isfinite(p["y"])]
    if not points:
        return Markup('<p class="quiet">No points were measured.</p>')
    ends = [p[end] for p in points for end in ("y", "low", "high")]
    powers = power_ticks(min(p["x"] for p in points), max(p["x"] for p in points))
    plot = _Plot(powers, ticks(min(ends), max(ends), 5), powers=True)
    best = unbeaten(points)
    joined = " ".join(f"{plot.x(math.log10(p['x']))},{plot.y(p['y'])}" for p in best)
    marks = Markup("").join(_point(plot, p, p in best) for p in points)
    label = f"{content['y']} against {content['x']}: " + "; ".join(
        f"{p['name']} {number(p['y'])} at {number(p['x'])}" for p in points
    )
    return Markup(
        '<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">{}'
        '<polyline class="line s0" points="{}"/>{}</svg>'
    ).format(_WIDE, _HIGH, label, plot.axes(str(content["x"]), str(content["y"])), joined, marks)


def unbeaten(points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Points of which no other has a smaller x and a larger y, by x (Pareto's front)."""
    found: list[Mapping[str, Any]] = []
    for point in sorted(points, key=lambda p: (p["x"], -p["y"])):
        if not found or point["y"] > found[-1]["y"]:
            found.append(point)
    return found


def _point(plot: "_Plot", point: Mapping[str, Any], best: bool) -> Markup:
    x, y = plot.x(math.log10(point["x"])), plot.y(point["y"])
    said = f"{point['name']}: {number(point['y'])} ({number(point['low'])} to {number(point['high'])})"
    right = x > _WIDE - _RIGHT - 90
    return Markup(
        '<path class="spread" d="M{0} {1}V{2}"/>'
        '<circle class="s{3}" cx="{0}" cy="{4}" r="4"><title>{5}</title></circle>'
        '<text x="{6}" y="{7}" text-anchor="{8}">{9}</text>'
    ).format(
        x, plot.y(point["low"]), plot.y(point["high"]), 0 if best else 1, y, said, x - 7 if right else x + 7, y - 7,
        "end" if right else "start", shortened(str(point["name"]), 24),
    )  # fmt: skip


def confusion(content: Mapping[str, Any]) -> Markup:
    """Heat map: rows are the truth, columns the answers, darkness the share of the row."""
    names, counts = [str(name) for name in content["classes"]], content["counts"]
    c = len(names)
    side = 32 if c <= 12 else 26 if c <= COUNTS_UP_TO else max(5, 560 // max(c, 1))
    labelled = side >= 11
    margin = 34 + (7 * min(14, max(map(len, names), default=0)) if labelled else 10)
    right = sum(counts[i][i] for i in range(c))
    label = f"Confusion matrix of {c} classes: {right} of {sum(map(sum, counts))} answers are right"
    parts = [_cells(counts, side, written=c <= COUNTS_UP_TO)]
    if labelled:
        parts += [_labels(names, side)]
    size = margin + c * side + 2
    frame = Markup(
        '<rect class="frame" width="{0}" height="{0}"/><text class="axis" x="{1}" y="{2}">answer</text>'
        '<text class="axis" transform="translate({2} {1}) rotate(-90)">truth</text>'
    ).format(c * side, c * side / 2, 12 - margin)
    return Markup(
        '<svg class="heat" width="{0}" height="{0}" viewBox="{1} {1} {0} {0}" role="img" aria-label="{2}"'
        ' data-side="{3}">{4}{5}</svg>'
    ).format(size, -margin, label, side, Markup("").join(parts), frame)


def most_confused(content: Mapping[str, Any], shown: int = 10) -> list[dict[str, Any]]:
    """The most frequent wrong answers: truth, answer, count, share of the truth's examples."""
    names, counts = content["classes"], content["counts"]
    wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
    wrong.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    return [
        {"truth": names[i], "answer": names[j], "count": n, "share of truth": n / sum(counts[i])}
        for n, i, j in wrong[:shown]
    ]


def ticks(low: float, high: float, wanted: int) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) from at most `low` to at least `high`."""
    if low == high:
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
    raw = (high - low) / max(wanted - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def power_ticks(low: float, high: float) -> list[float]:
    """Logarithms (base 10) of 1, 2 or 5 times powers of ten, from at most `low` to at least `high`."""
    first = math.floor(math.log10(low)) - 1
    known = [m * 10.0**power for power in range(first, math.ceil(math.log10(high)) + 2) for m in (1, 2, 5)]
    below = max(value for value in known if value <= low * (1 + 1e-9))
    above = min(value for value in known if value >= high * (1 - 1e-9) and value > below)
    return [math.log10(value) for value in known if below <= value <= above]


class _Plot:
    """Places values on a drawing of fixed size."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float], *, powers: bool = False) -> None:
        self.x_ticks, self.y_ticks = x_ticks, y_ticks
        self.powers = powers  # ticks of x are powers of ten

    def x(self, value: float) -> float:
        first, last = self.x_ticks[0], self.x_ticks[-1]
        return round(_LEFT + (_WIDE - _LEFT - _RIGHT) * (value - first) / (last - first), 1)

    def y(self, value: float) -> float:
        first, last = self.y_ticks[0], self.y_ticks[-1]
        return round(_HIGH - _BOTTOM - (_HIGH - _TOP - _BOTTOM) * (value - first) / (last - first), 1)

    def _named(self, x: float) -> str:
        return _tick(10**x) if self.powers else _tick(x)

    def axes(self, x_name: str, y_name: str) -> Markup:
        """Hairlines at the ticks of y, ticks of x below, both names."""
        floor = _HIGH - _BOTTOM
        rules = Markup("").join(
            Markup('<path class="rule" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _LEFT, self.y(t), _WIDE - _RIGHT, _LEFT - 7, self.y(t) + 4, _tick(t)
            )
            for t in self.y_ticks
        )
        marks = Markup("").join(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(self.x(t), floor + 17, self._named(t))
            for t in self.x_ticks
        )
        return Markup(
            '{}{}<text class="axis" x="{}" y="{}">{}</text>'
            '<text class="axis" transform="translate(11 {}) rotate(-90)">{}</text>'
        ).format(rules, marks, (_LEFT + _WIDE - _RIGHT) / 2, _HIGH - 6, x_name, (_TOP + floor) / 2, y_name)


def _line(plot: _Plot, i: int, points: Sequence[tuple[float, float]]) -> Markup:
    color = i % SERIES
    joined = " ".join(f"{plot.x(x)},{plot.y(y)}" for x, y in points)
    dots = points if len(points) <= 15 else points[-1:]
    marks = Markup("").join(
        Markup('<circle class="s{}" cx="{}" cy="{}" r="2.6"/>').format(color, plot.x(x), plot.y(y)) for x, y in dots
    )
    dashed = " dashed" if i >= SERIES else ""
    return Markup('<polyline class="line s{}{}" points="{}"/>{}').format(color, dashed, joined, marks)


def _bin(plot: _Plot, row: Mapping[str, Any], most: int) -> Markup:
    x, y = plot.x(row["confidence"]), plot.y(row["accuracy"])
    radius = round(2.2 + 6 * math.sqrt(row["n"] / most), 1)
    said = f"confidence {number(row['confidence'])}, accuracy {number(row['accuracy'])}, n={row['n']}"
    return Markup(
        '<path class="gap" d="M{0} {1}V{2}"/><circle class="s0" cx="{0}" cy="{2}" r="{3}"><title>{4}</title></circle>'
    ).format(x, plot.y(row["confidence"]), y, radius, said)


def _cells(counts: Sequence[Sequence[int]], side: int, *, written: bool) -> Markup:
    """Filled squares; cells of one shade share one path, for a hundred classes have ten thousand cells."""
    paths: dict[tuple[str, int], list[str]] = {}
    texts: list[Markup] = []
    for i, row in enumerate(counts):
        total = sum(row) or 1
        for j, n in enumerate(row):
            if not n:
                continue
            shade = max(1, round(10 * n / total))
            paths.setdefault(("hit" if i == j else "miss", shade), []).append(
                f"M{j * side} {i * side}h{side}v{side}h-{side}z"
            )
            if written:
                ink = ' class="inverse"' if shade >= 8 else ""
                texts.append(
                    Markup('<text x="{}" y="{}"{}>{}</text>').format(
                        j * side + side / 2, i * side + side / 2 + 4, Markup(ink), n
                    )
                )
    shapes = (
        Markup('<path class="{} d{}" d="{}"/>').format(kind, shade, "".join(d))
        for (kind, shade), d in sorted(paths.items())
    )
    return Markup("").join(shapes) + Markup('<g class="counts">{}</g>').format(Markup("").join(texts))


def _labels(names: Sequence[str], side: int) -> Markup:
    rows = Markup("").join(
        Markup('<text x="-6" y="{}" text-anchor="end">{}<title>{}</title></text>').format(
            i * side + side / 2 + 4, shortened(name), name
        )
        for i, name in enumerate(names)
    )
    columns = Markup("").join(
        Markup('<text transform="translate({} -6) rotate({})"{}>{}<title>{}</title></text>').format(
            i * side + side / 2 + (0 if _narrow(names) else 4),
            0 if _narrow(names) else -90,
            Markup(' text-anchor="middle"') if _narrow(names) else "",
            shortened(name),
            name,
        )
        for i, name in enumerate(names)
    )
    return rows + columns


def _narrow(names: Iterable[str]) -> bool:
    return all(len(name) <= 3 for name in names)


def shortened(name: str, length: int = 14) -> str:
    """A name of at most `length` characters, with an ellipsis where it was cut."""
    return name if len(name) <= length else name[: length - 1] + "…"


def known_points(points: Iterable[Sequence[float | None]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if x is not None and y is not None and math.isfinite(y)]


def _tick(value: float) -> str:
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.3g}M"
    return f"{value / 1000:.3g}k" if abs(value) >= 10_000 else f"{value:.3g}"
