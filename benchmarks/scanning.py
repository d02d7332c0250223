"""Scanners of model files side by side, on a corpus of hostile, broken and ordinary files with a manifest.

    python benchmarks/scanning.py CORPUS --peers FOLDER        # FOLDER/v-NAME/bin/NAME for each peer that is installed

CORPUS/manifest.json lists cases: id, path, kind (hostile | broken | benign), family, expect (reject | accept | ask),
marker (a path that exists once a payload has run). Each peer is its real command line with its exit codes: 1 means
flagged, 0 passed in silence, anything else an error or 'unsupported'. Ours is `transfuse scan`: 1 rejects, 3 asks.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from transfuse.core.atomic import write_text
from transfuse.weights.scanning.findings import worst
from transfuse.weights.scanning.scan import scan

PEERS = {
    "picklescan": ("v-corpus/bin/picklescan", "-p"),
    "picklescan --strict": ("v-corpus/bin/picklescan", "--strict", "-p"),
    "fickling": ("v-fickling/bin/fickling", "--check-safety"),
    "modelscan": ("v-modelscan/bin/modelscan", "-p"),
    "modelaudit": ("v-modelaudit/bin/modelaudit", "scan"),
}
SILENT = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}
LIMIT = 60  # seconds of a peer on one case


def ours(path: Path) -> tuple[str, float, str]:
    """Verdict, seconds with the child's share, and the first reason."""
    began = time.perf_counter()
    found = scan(path, cache=False)
    seconds = time.perf_counter() - began
    findings = [finding for judgement in found for finding in judgement.findings]
    verdict = worst(findings)
    reason = next((one.reason for one in findings if one.verdict == verdict), "")
    return {"reject": "flagged", "ask": "asked", "accept": "passed"}[verdict], seconds, reason


def theirs(command: tuple[str, ...], path: Path) -> tuple[str, float]:
    """What a peer's exit code says, and seconds."""
    began = time.perf_counter()
    try:
        ended = subprocess.run(
            [*command, str(path)], capture_output=True, timeout=LIMIT, check=False, env={**os.environ, **SILENT}
        )
        answer = {0: "passed", 1: "flagged"}.get(ended.returncode, "error")
    except subprocess.TimeoutExpired:
        answer = "error"
    return answer, time.perf_counter() - began


def measured(cases: list[dict[str, Any]], root: Path, tools: dict[str, tuple[str, ...]], memory: Path) -> dict:
    """Answers by tool and case; what was measured before is taken up from `memory`."""
    known = json.loads(memory.read_text()) if memory.is_file() else {}
    for tool, command in tools.items():
        rows = known.setdefault(tool, {})
        for i, case in enumerate(cases):
            if tool == "transfuse":
                rows[case["id"]] = ours(root / case["path"])
            elif case["id"] not in rows:
                rows[case["id"]] = theirs(command, root / case["path"])
                if i % 20 == 0:
                    write_text(memory, json.dumps(known))
        write_text(memory, json.dumps(known))
    return known


def show(cases: list[dict[str, Any]], answers: dict[str, dict[str, Any]]) -> None:
    """A row for each tool: hostile and broken flagged and passed, ordinary files flagged, seconds a case."""
    bad = [case for case in cases if case["kind"] != "benign"]
    good = [case for case in cases if case["expect"] == "accept"]
    asked = [case for case in cases if case["expect"] == "ask"]
    print(f"{'':22}{len(bad)} hostile or broken       {len(good)} ordinary   {len(asked)} to be asked about")
    print(f"{'':22}flagged passed  error   flagged    flagged passed asked   mean s  max s")
    for tool, rows in answers.items():
        count = collections.Counter(rows[case["id"]][0] for case in bad)
        wrong = sum(rows[case["id"]][0] != "passed" for case in good)
        middle = collections.Counter(rows[case["id"]][0] for case in asked)
        seconds = [rows[case["id"]][1] for case in cases]
        print(
            f"{tool:22}{count['flagged']:7d}{count['passed'] + count['asked']:7d}{count['error']:7d}{wrong:10d}"
            f"{middle['flagged']:11d}{middle['passed']:7d}{middle['asked']:6d}"
            f"{sum(seconds) / len(seconds):9.3f}{max(seconds):7.2f}"
        )


def by_family(cases: list[dict[str, Any]], answers: dict[str, dict[str, Any]]) -> None:
    """Flagged of all hostile and broken cases, family by family."""
    bad = [case for case in cases if case["kind"] != "benign"]
    families = collections.Counter(case["family"] for case in bad)
    print(f"{'':22}" + "".join(f"{family[:10]:>12}" for family in families))
    for tool, rows in answers.items():
        hits = collections.Counter(case["family"] for case in bad if rows[case["id"]][0] == "flagged")
        print(f"{tool:22}" + "".join(f"{f'{hits[family]}/{n}':>12}" for family, n in families.items()))


def main() -> None:
    """Measure, print, and end with 1 when ours is wrong anywhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--peers", type=Path, help="folder with a virtual environment for each peer")
    parser.add_argument("--results", type=Path, default=Path("scanning.json"), help="answers, taken up when run again")
    options = parser.parse_args()
    cases = json.loads((options.corpus / "manifest.json").read_text())["cases"]
    tools: dict[str, tuple[str, ...]] = {"transfuse": ()}
    if options.peers:
        there = {name: (str(options.peers / first), *rest) for name, (first, *rest) in PEERS.items()}
        tools |= {name: command for name, command in there.items() if Path(command[0]).exists()}
    answers = measured(cases, options.corpus, tools, options.results)
    answers = {tool: answers[tool] for tool in tools}
    show(cases, answers)
    by_family(cases, answers)
    wanted = {"reject": "flagged", "accept": "passed", "ask": "asked"}
    wrong = [case for case in cases if answers["transfuse"][case["id"]][0] != wanted[case["expect"]]]
    for case in wrong:
        print(f"wrong: {case['id']} ({case['path']}): {answers['transfuse'][case['id']]}")
    ran = [case["id"] for case in cases if case["marker"] and Path(case["marker"]).exists()]
    print(f"payloads that ran: {len(ran)} {ran}")
    sys.exit(bool(wrong or ran))


if __name__ == "__main__":
    main()
