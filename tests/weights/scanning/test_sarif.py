"""SARIF as code-scanning pages read it."""

from pathlib import Path

from transfuse.weights.scanning.findings import Finding, Judgement
from transfuse.weights.scanning.sarif import sarif


def judgement(path: str, *findings: Finding) -> Judgement:
    return Judgement(path=path, kind="pickle", size=4, digest="d" * 64, findings=findings, seconds=0.1)


def finding(verdict: str, rule: str, where: str = "", byte: int | None = None) -> Finding:
    return Finding(verdict=verdict, rule=rule, reason="It is bad.", where=where, byte=byte, advice="Leave it.")  # type: ignore[arg-type]


def test_every_finding_is_a_result_with_its_rule_level_and_place(tmp_path: Path) -> None:
    found = [
        judgement(str(tmp_path / "models/a b.pt"), finding("reject", "pickle-name", byte=7)),
        judgement(str(tmp_path / "c.pt"), finding("ask", "torchscript", where="c.pt!code")),
        judgement("/elsewhere/d.pt", finding("reject", "pickle-name", where="data.pkl", byte=9)),
        judgement(str(tmp_path / "fine.pt")),
    ]
    document = sarif(found, "1.2.3", tmp_path)
    assert document["version"] == "2.1.0" and document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("transfuse", "1.2.3")
    assert [rule["id"] for rule in driver["rules"]] == ["pickle-name", "torchscript"]
    first, second, third = run["results"]
    place = first["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "models/a%20b.pt"}, "region": {"byteOffset": 7, "byteLength": 0}}
    assert (first["level"], second["level"]) == ("error", "warning")
    assert all(driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert second["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "c.pt!code"}]
    outside = third["locations"][0]["physicalLocation"]
    assert outside == {"artifactLocation": {"uri": "file:///elsewhere/d.pt"}}
    assert first["message"]["text"] == "It is bad. Leave it."
    assert len({result["partialFingerprints"]["transfuse/v1"] for result in run["results"]}) == 3


def test_nothing_found_is_still_a_run() -> None:
    assert sarif([], "1", Path())["runs"][0]["results"] == []
