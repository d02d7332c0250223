"""A report with every kind of section, and hostile names wherever names can stand."""

import numpy as np
import pytest

from transfuse.core.nouns import DataWarning, Report, Section
from transfuse.reporting.pictures import thumbnail

HOSTILE = (
    "<script>document.documentElement.dataset.owned='yes'</script>"
    "\"'><img src=http://stranger.invalid/x onerror=document.documentElement.dataset.owned=1>{{7*7}}"
)


def value(number):
    return {"value": number, "low": number - 0.05, "high": number + 0.02, "n": 400}


def full_report(classes, places=3):
    """All section kinds; `classes` appear in every place that shows a class."""
    c = len(classes)
    counts = [[9 if i == j else int((i * j + i) % 7 == 1) for j in range(c)] for i in range(c)]
    rows = [{"class": name, "n": 10 + i, "recall": (i * 37 % 101) / 101} for i, name in enumerate(classes)]
    picture = thumbnail(np.full((20, 30, 3), 128, np.uint8))
    step = {
        "verb": "fit",
        "method": classes[0],
        "options": {"budget": "10m", "note": classes[0]},
        "inputs": [
            {"verb": "source", "method": "", "options": {}, "inputs": [], "digests": {}, "seconds": 0.0, "version": ""}
        ],
        "digests": {"task": "ab" * 32},
        "seconds": 12.5,
        "version": "0.1.0",
    }
    points = [[i, i / 20] for i in range(20)] + [[20, float("nan")]]
    warning = DataWarning(
        code="unreadable",
        message=f"Some of {classes[0]} cannot be read.",
        places=tuple(f"{classes[0]}/{i}" for i in range(places)),
    )
    sections = (
        Section(
            kind="curves",
            title="Curves",
            content={"x": "step", "y": "acc", "series": [{"name": classes[0], "points": points}]},
        ),
        Section(
            kind="reliability",
            title="Reliability",
            content={
                "bins": [
                    {"confidence": 0.55, "accuracy": 0.5, "n": 40},
                    {"confidence": 0.95, "accuracy": 0.9, "n": 360},
                ],
                "error": 0.05,
            },
        ),
        Section(kind="confusion", title="Confusion", content={"classes": classes, "counts": counts}),
        Section(kind="table", title="Per class", content={"columns": ["class", "n", "recall"], "rows": rows}),
        Section(
            kind="pictures",
            title="Worst mistakes",
            content=[
                {"image": picture, "name": classes[0], "truth": classes[0], "answer": classes[-1], "confidence": 0.97},
                {
                    "image": "http://stranger.invalid/y.jpg",
                    "name": "b",
                    "truth": "c",
                    "answer": "d",
                    "confidence": None,
                },
            ],
        ),
        Section(kind="provenance", title="Origin", content=step),
        Section(kind="text", title="Remarks", content=[classes[0]], note=classes[0]),
    )
    return Report(
        title=f"Report on {classes[0]}",
        columns=("method", "accuracy", "log_loss", "seconds"),
        rows=(
            {"method": classes[0], "accuracy": value(0.8), "log_loss": value(0.4), "seconds": 3.0},
            {"method": "finetune", "accuracy": value(0.9), "log_loss": value(float("nan")), "seconds": 30.0},
            {"method": "scratch", "accuracy": value(0.7), "log_loss": value(0.6), "seconds": None},
        ),
        summary=("Finetune is best.", f"It reads {classes[0]} well."),
        sections=sections,
        warnings=(warning,),
        command=f"transfuse fit '{classes[0]}'",
    )


@pytest.fixture
def hostile_report():
    return full_report([HOSTILE, "b", "c"])


@pytest.fixture(params=[2, 10, 100], ids=lambda c: f"{c} classes")
def sized_report(request):
    return full_report([f"class {i} with a longish name" for i in range(request.param)], places=1000)
