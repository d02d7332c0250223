"""What was found as a report: in words, a table of problems, pictures of suspected labels, all findings."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from transfuse.checking.examining import Checked
from transfuse.checking.findings import PROBLEMS, Finding
from transfuse.checking.listing import rows_of
from transfuse.checking.poisoned import section, sentence
from transfuse.checking.wrong_labels import confused
from transfuse.core.errors import DataError
from transfuse.core.nouns import Report, Section
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY
from transfuse.reporting.pictures import thumbnail
from transfuse.tasks.images.decoding import decode
from transfuse.tasks.texts.reading import text_of

FINDINGS = "All findings"
"""Title of the section that holds every row of the table."""
_SHOWN, _LONGEST, _CONFUSED = 24, 160, 12
_WEAK = 0.6
"""Out-of-fold accuracy below which a probe's doubts are worth little."""


def report(checked: Checked, *, command: str) -> Report:
    """The report of a check."""
    counts = Counter(finding.problem for finding in checked.found)
    rows = tuple(_row(checked, problem, counts[problem]) for problem in PROBLEMS if counts[problem])
    examples = len(checked.every.examples)
    concerned = len({finding.place for finding in checked.found})
    return Report(
        title=f"{checked.task.name}: {concerned} of {examples} examples have a problem",
        columns=("problem", "found", "share", "estimated share", "what it is") if rows else (),
        rows=rows,
        summary=tuple(_sentences(checked, counts)),
        sections=tuple(_sections(checked)),
        warnings=checked.warnings,
        command=command,
    )


def _row(checked: Checked, problem: str, count: int) -> dict[str, Any]:
    estimated = checked.wrong.share if problem == "wrong-label" and checked.wrong is not None else None
    share = round(count / len(checked.every.examples), 4)
    said = PROBLEMS[problem]
    return {"problem": problem, "found": count, "share": share, "estimated share": estimated, "what it is": said}


def _sentences(checked: Checked, counts: Mapping[str, int]) -> list[str]:
    sentences = []
    if checked.wrong is not None and checked.answers is not None:
        sentences.append(f"{in_words(counts.get('wrong-label', 0), checked.wrong.share)} [{checked.answers.by}]")
        sentences.append(_about_probe(checked))
    across = counts.get("copy-across-splits", 0) + counts.get("near-copy-across-splits", 0)
    if across:
        sentences.append(f"{_counted(across, 'has', 'have')} a copy in another split: figures on that split flatter.")
    if counts.get("contradiction"):
        sentences.append(f"{_counted(counts['contradiction'], 'is', 'are')} equal to one with another label.")
    if checked.poison is not None:
        sentences.append(sentence(checked.task, checked.poison))
    if not checked.found:
        sentences.append("No copies, contradictions or damaged examples were found.")
    else:
        sentences.append(
            "Nothing was changed. `keep` in the table of findings decides (yes, no or relabel), and"
            " `transfuse check DATA --fix TABLE --out FOLDER` makes new data of it."
        )
    return sentences


def _counted(count: int, one: str, more: str) -> str:
    return f"1 example {one}" if count == 1 else f"{count} examples {more}"


def in_words(count: int, share: Mapping[str, float]) -> str:
    """How many labels look wrong, with the estimated share and its interval."""
    value, low, high = (100 * share[end] for end in ("value", "low", "high"))
    return (
        f"{count} label{'' if count == 1 else 's'} look{'s' if count == 1 else ''} wrong; estimated share {value:.1f} %"
        f" (95 % interval {low:.1f} to {high:.1f} %, n = {share['n']:.0f}), hard examples counted in."
    )


def _about_probe(checked: Checked) -> str:
    """How good the judge is: its doubts are worth as much as its answers."""
    assert checked.answers is not None
    kind, examples = checked.task.kind, checked.every.examples
    name = "accuracy" if kind == "single-label" else "r2" if kind == "regression" else PRIMARY[kind]
    found = interval(kind, name, examples.targets, checked.answers.outputs_NC, groups=examples.groups)
    said = f"The judge: {checked.answers.by}. Out of fold its {name.replace('_', ' ')} on the given labels is"
    said += f" {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f}, n = {found['n']})."
    if found["value"] < _WEAK:
        said += " So weak a judge doubts right labels as well."
    return said


def _sections(checked: Checked) -> list[Section]:
    suspected = [finding for finding in checked.found if finding.problem == "wrong-label"]
    sections = []
    if suspected and checked.task.modality == "image":
        sections.append(_gallery(checked, suspected))
    if suspected and checked.task.kind == "single-label":
        sections.append(_mixed_up(checked))
    sections += _poisoning(checked)
    if checked.found:
        sections.append(_table(checked))
    note = "A test split that is cleaned by a probe's doubts favours models that are like the probe: look first."
    if suspected and any(checked.every.splits_N[finding.place] == "test" for finding in suspected):
        sections.append(Section(kind="text", title="Before you clean the test split", content=[note]))
    return sections


def _poisoning(checked: Checked) -> list[Section]:
    """The figures of the classes, and pictures of the most suspicious examples."""
    if checked.poison is None:
        return []
    sections = [section(checked.task, checked.poison)]
    planted = [finding for finding in checked.found if finding.problem == "repeated-patch"]
    if planted and checked.task.modality == "image":
        content = [_picture(checked, finding) for finding in planted[:_SHOWN]]
        note = f"The {len(content)} most suspicious of {len(planted)}: do they have something small in common?"
        sections.append(Section(kind="pictures", title="Perhaps planted", content=content, note=note))
    return sections


def _gallery(checked: Checked, suspected: list[Finding]) -> Section:
    content = [_picture(checked, finding) for finding in suspected[:_SHOWN]]
    note = (
        f"The {len(content)} most suspicious of {len(suspected)}: the probe's answer with the probability that the"
        " given label is wrong."
    )
    return Section(kind="pictures", title="Suspected labels", content=content, note=note)


def _picture(checked: Checked, finding: Finding) -> dict[str, Any]:
    examples = checked.every.examples
    try:
        image = thumbnail(decode(examples.items[finding.place], 3))
    except DataError:  # gone since it was read
        image = ""
    return {
        "image": image,
        "name": examples.names[finding.place],
        "truth": finding.given,
        "said": "given",
        "answer": f"perhaps {finding.suggested}" if finding.suggested else finding.about,
        "confidence": finding.score,
    }


def _mixed_up(checked: Checked) -> Section:
    """Which classes are given for which, by the estimated joint."""
    assert checked.answers is not None
    joint_CC = confused(checked.every.examples.targets, checked.answers.outputs_NC)
    np.fill_diagonal(joint_CC, 0)
    classes = checked.task.classes
    pairs = [divmod(int(flat), len(classes)) for flat in np.argsort(-joint_CC, axis=None)[:_CONFUSED]]
    rows = [
        {"given": classes[i], "truly": classes[j], "examples, estimated": round(float(joint_CC[i, j]))}
        for i, j in pairs
        if joint_CC[i, j] >= 0.5
    ]
    note = "By the confident joint: how many examples of each given class belong to another."
    content = {"columns": ["given", "truly", "examples, estimated"], "rows": rows}
    return Section(kind="table", title="Classes that are mixed up", content=content, note=note)


def _table(checked: Checked) -> Section:
    rows: list[dict[str, Any]] = [dict(row) for row in rows_of(checked.found, checked.every)]
    columns = ["path", "split", "problem", "given", "suggested", "score", "about"]
    for row, finding in zip(rows, checked.found, strict=True):
        row["score"] = finding.score
        if checked.task.modality == "text":
            row["about"] = " ".join(
                (row["about"], _excerpt(text_of(checked.every.examples.items[finding.place])))
            ).strip()
    return Section(kind="table", title=FINDINGS, content={"columns": columns, "rows": rows})


def _excerpt(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
