"""Reports as files."""

import json

import pytest

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Report
from transfuse.reporting.files import render_json, save_report


def test_json_holds_everything_as_plain_values(hostile_report):
    document = json.loads(render_json(hostile_report), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["schema"] == 1
    assert document["title"] == hostile_report.title and document["command"] == hostile_report.command
    assert document["rows"][0]["accuracy"] == {"value": 0.8, "low": 0.75, "high": 0.8200000000000001, "n": 400}
    assert document["rows"][1]["log_loss"]["value"] is None
    assert [s["kind"] for s in document["sections"]] == [s.kind for s in hostile_report.sections]
    assert document["sections"][0]["content"]["series"][0]["points"][-1] == [20, None]
    assert document["warnings"][0]["places"] == list(hostile_report.warnings[0].places)


def test_the_suffix_decides(tmp_path, hostile_report):
    assert hostile_report.save(tmp_path / "new" / "r.json").read_text(encoding="utf-8").startswith("{")
    assert (
        save_report(hostile_report, str(tmp_path / "r.HTML")).read_text(encoding="utf-8").startswith("<!doctype html>")
    )
    with pytest.raises(UsageError, match=r"must end in \.html or \.json, but is '.*r\.pdf'"):
        save_report(hostile_report, tmp_path / "r.pdf")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "r.HTML"]


def test_equal_reports_give_equal_files():
    report = Report(title="t", columns=("a",), rows=({"a": 1},))
    assert render_json(report) == render_json(report)
