"""drift: do two sets of data come from one world?

A head is asked, out of fold, which of the two sets an example is from, by features of one frozen source (classifier
two-sample test: Lopez-Paz and Oquab, arXiv 1610.06545): an AUC of 0.5 is no difference, 1 two worlds. Beside it what
people can see: brightness, contrast, sizes, the share of the picture that is not border, and the shares of classes.

Letters: N examples of both sets, D features, S statistics.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.checking.column_drift import TREES, moved_columns, told_apart
from transfuse.checking.looks import LOOKS, looks_of
from transfuse.checking.seeing import everything, seen, words_of
from transfuse.core import verbs
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Report, Section, Source, Task
from transfuse.core.runs import Run
from transfuse.measuring.intervals import interval, wilson
from transfuse.predicting.predict import activated
from transfuse.probing.heads import fit_head
from transfuse.sources.references import find
from transfuse.sources.texts.words import counts_words
from transfuse.tasks.tables.opening import columns_of

_CLEAR = 0.8
"""Standardised difference that is called large (Cohen, Statistical Power Analysis, 1988)."""
_RESAMPLES = 500
_WORDS = "their words (tf-idf)"
_CROP = " Models may carry over better from pictures cropped to what is not background: try `--crop ink`."
_EQUAL, _ALWAYS = 1e-9, 99.0
_ENDS = (("standardised", "value"), ("low", "low"), ("high", "high"))

Measured = dict[str, float]


def drift(
    data: Any,
    other: Any,
    *,
    source: Source | str | Path | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Report:
    """How two sets of data differ: a classifier between them, looks, classes, and the largest differences in words.

    Args:
        data: A Task, or whatever one can be opened from.
        other: Another one of the same modality, such as what arrives today.
        source: By whose frozen features they are told apart; as for `check`.
        seed: Of splits, folds and intervals.
        trust_code: Allow a source that is built by the user's own function.
        run: Watcher.
        command: What repeats this, for the report.

    Raises:
        UsageError: Two modalities.
        DataError, SourceError, WeightsError: Data or a source that cannot be opened.
    """
    tasks = [verbs.call("task", part, seed=seed, run=run) for part in (data, other)]
    if tasks[0].modality != tasks[1].modality:
        raise UsageError(
            f"Both sets must be of one modality, but '{tasks[0].name}' is {tasks[0].modality} and '{tasks[1].name}' is"
            f" {tasks[1].modality}."
        )
    names = _names(tasks[0], tasks[1])
    if source is None and tasks[0].modality == "table":
        return _of_tables(tasks, names, seed, command)
    told, by = _told_apart(tasks, source, seed=seed, trust_code=trust_code, run=run)
    items = [everything(task).examples.items for task in tasks]
    looks = looks_apart(items[0], items[1], names, seed) if tasks[0].modality == "image" else []
    classes = _classes(tasks, names)
    return Report(
        title=f"{names[0]} against {names[1]}",
        columns=("told apart by", "auc"),
        rows=({"told apart by": f"a linear head on features of {by}", "auc": told},),
        summary=tuple(_sentences(names, told, by, looks, classes)),
        sections=tuple(_sections(names, looks, classes)),
        command=command,
    )


def _of_tables(tasks: list[Task], names: tuple[str, str], seed: int, command: str) -> Report:
    """Two tables column by column."""
    a, b = (everything(task) for task in tasks)
    columns = columns_of(tasks[0]), columns_of(tasks[1])
    told = told_apart(a, b, *columns, seed)
    moved, sentences = moved_columns(a, b, *columns)
    classes = _classes(tasks, names)
    note = "Distance: Kolmogorov-Smirnov, or total variation of categories, 0..1; p corrected for all columns."
    section = Section(
        kind="table",
        title="Column by column",
        content={"columns": list(moved[0]) if moved else ["column"], "rows": moved},
        note=f"First: {names[0]}; second: {names[1]}. {note}",
    )
    return Report(
        title=f"{names[0]} against {names[1]}",
        columns=("told apart by", "auc"),
        rows=({"told apart by": TREES, "auc": told},),
        summary=(
            *_sentences(names, told, TREES, [], classes)[:1],
            *sentences,
            *_sentences(names, told, "", [], classes)[1:],
        ),
        sections=(section, *_sections(names, [], classes)),
        command=command,
    )


def _names(a: Task, b: Task) -> tuple[str, str]:
    return (a.name, b.name) if a.name != b.name else (f"{a.name} (first)", f"{b.name} (second)")


def _told_apart(
    tasks: list[Task], source: Source | str | Path | None, *, seed: int, trust_code: bool, run: Run
) -> tuple[Measured, str]:
    """AUC, out of fold, of a head that tells the sets apart."""
    examples = [everything(task).examples for task in tasks]
    source = None if source is None else find(source, trust_code=trust_code)
    if tasks[0].modality == "text" and (source is None or counts_words(source)):
        # words learnt from one set alone would know it by heart, and tell it from any other
        x_ND, by = words_of([item for part in examples for item in part.items]), _WORDS
    else:
        parts = [seen(task, source, run=run) for task in tasks]
        x_ND, by = np.concatenate([x for x, _ in parts]), parts[0][1]
    from_N = np.repeat([0, 1], [len(part) for part in examples])
    copies = [digest for part in examples for digest in part.digests]
    head = fit_head(x_ND, from_N, "single-label", method="ridge", class_weights="balanced", seed=seed, groups=copies)
    p_NC = activated(head.out_of_fold_NC, "single-label", temperature=head.temperature)
    return interval("single-label", "auc", from_N, p_NC, seed=seed), by


def looks_apart(items: Sequence[Any], others: Sequence[Any], names: tuple[str, str], seed: int) -> list[dict[str, Any]]:
    """What can be seen of two sets of pictures: one row a statistic, the largest standardised difference first."""
    a, b = looks_of(items), looks_of(others)
    rows = [
        {
            "statistic": name,
            names[0]: round(float(a[name].mean()), 3),
            names[1]: round(float(b[name].mean()), 3),
            "standardised": _standardised(a[name], b[name], seed),
        }
        for name in LOOKS
    ]
    return sorted(rows, key=lambda row: -abs(row["standardised"]["value"]))


def large(row: dict[str, Any]) -> bool:
    """Whether a row's difference is large, and sure."""
    gap = row["standardised"]
    return abs(gap["value"]) >= _CLEAR and not gap["low"] <= 0 <= gap["high"]


def _standardised(a_N: np.ndarray, b_N: np.ndarray, seed: int) -> Measured:
    """Difference of the means, second less first, over the pooled deviation, with its percentile bootstrap.

    Where neither set varies they are equal (0), or nothing else is said of the difference than its sign (99).
    """
    generator = np.random.default_rng(seed)
    drawn = [_effect(generator.choice(a_N, len(a_N)), generator.choice(b_N, len(b_N))) for _ in range(_RESAMPLES)]
    value = _effect(a_N, b_N)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": len(a_N) + len(b_N)}


def _effect(a_N: np.ndarray, b_N: np.ndarray) -> float:
    gap = float(b_N.mean() - a_N.mean())
    pooled = float(np.sqrt((a_N.var() + b_N.var()) / 2))
    if abs(gap) < _EQUAL:
        return 0.0
    return float(np.clip(gap / pooled, -_ALWAYS, _ALWAYS)) if pooled > _EQUAL else float(np.sign(gap) * _ALWAYS)


def _classes(tasks: list[Task], names: tuple[str, str]) -> list[dict[str, Any]]:
    """Share of each class in both sets, the largest difference first; nothing for numbers."""
    if any(task.kind == "regression" for task in tasks):
        return []
    known = list(dict.fromkeys(name for task in tasks for name in task.classes))
    shares = [_shares(task, known) for task in tasks]
    rows = [{"class": name, names[0]: shares[0][name], names[1]: shares[1][name]} for name in known]
    return sorted(rows, key=lambda row: -abs(row[names[0]]["value"] - row[names[1]]["value"]))


def _shares(task: Task, known: list[str]) -> Mapping[str, Measured]:
    targets = everything(task).examples.targets
    n, classes = len(targets), len(task.classes)
    counts = np.bincount(targets, minlength=classes) if task.kind == "single-label" else targets.sum(axis=0)
    found = dict(zip(task.classes, (counts / n).tolist(), strict=True))
    said = {}
    for name in known:
        low, high = wilson(found.get(name, 0.0), n)
        said[name] = {"value": found.get(name, 0.0), "low": low, "high": high, "n": n}
    return said


def _sections(names: tuple[str, str], looks: list[dict[str, Any]], classes: list[dict[str, Any]]) -> Iterator[Section]:
    if looks:
        note = "Means of both, and their difference in standard deviations; \N{PLUS-MINUS SIGN}99 where neither varies."
        rows = [{**row, **{end: round(row["standardised"][key], 3) for end, key in _ENDS}} for row in looks]
        content = {"columns": ["statistic", *names, *(end for end, _ in _ENDS)], "rows": rows}
        yield Section(kind="table", title="What can be seen", content=content, note=note)
    if classes:
        content = {"columns": ["class", *names], "rows": classes}
        yield Section(kind="table", title="Shares of classes", content=content)


def _sentences(
    names: tuple[str, str], told: Measured, by: str, looks: list[dict[str, Any]], classes: list[dict[str, Any]]
) -> list[str]:
    sentences = [_verdict(names, told, by)]
    for row in looks:
        gap = row["standardised"]
        if large(row):
            more = "higher" if gap["value"] > 0 else "lower"
            size = "always" if abs(gap["value"]) == _ALWAYS else f"{abs(gap['value']):.1f} standard deviations"
            figures = f"{row[names[1]]:g} against {row[names[0]]:g} ({size})"
            advice = _CROP if row["statistic"] == "filled" else ""
            sentences.append(f"{LOOKS[row['statistic']]} is {more} in {names[1]}: {figures}.{advice}")
    moved = [row for row in classes if _apart(row[names[0]], row[names[1]])]
    if moved:
        told_classes = ", ".join(
            f"'{row['class']}' {row[names[0]]['value']:.1%} > {row[names[1]]['value']:.1%}" for row in moved[:5]
        )
        sentences.append(f"{len(moved)} classes have another share: {told_classes}.")
    return sentences


def _apart(a: Measured, b: Measured) -> bool:
    return bool(a["high"] < b["low"] or b["high"] < a["low"])


def _verdict(names: tuple[str, str], told: Measured, by: str) -> str:
    seen_by = by if by == TREES else f"features of {by}"
    figures = f"AUC {told['value']:.3f} ({told['low']:.3f} to {told['high']:.3f}, n = {told['n']:.0f}, {seen_by})"
    if told["low"] <= 0.5:
        return f"No difference between {names[0]} and {names[1]} is proven: {figures}."
    if told["value"] >= 0.95:
        return f"{names[0]} and {names[1]} are two worlds: they are told apart nearly always, {figures}."
    return f"{names[0]} and {names[1]} differ: {figures}."
