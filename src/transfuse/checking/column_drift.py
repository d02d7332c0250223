"""Two tables column by column: which columns moved, which categories came and went, can the tables be told apart?

Numbers: Kolmogorov and Smirnov's distance (the largest gap of the two cumulated distributions) and the standardised
difference of means; categories: total variation (the share that would have to be relabelled). Both are 0..1. The
p-values are corrected for the many columns (false discovery rate: Benjamini and Hochberg 1995). The tables as wholes:
a classifier two-sample test (arXiv 1610.06545) with boosted trees, for which missing cells are a value.
Letters: N rows of the first table, M of the second, K columns.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from transfuse.checking.seeing import Everything
from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.measuring.intervals import interval
from transfuse.sources.tables.references import matched
from transfuse.tasks.tables import cells
from transfuse.tasks.tables.encoding import numbers_of
from transfuse.tasks.tables.rows import Row

TREES = "boosted trees on the cells"
_SURE = 0.05
"""Corrected p-value below which a column is said to have moved."""
_FOLDS, _MOST_ROWS, _MOST_CATEGORIES = 5, 20_000, 250
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How one column differs between two tables."""

    column: str
    role: str
    distance: float
    """0..1: KS distance or total variation among cells that are there."""
    standardised: float | None
    """Difference of the means, second less first, over the pooled deviation; None for categories."""
    missing: tuple[float, float]
    """0..1: share of missing cells in both."""
    p: float
    """Of no difference; before correction."""
    new: tuple[str, ...] = ()
    """Categories of the second table alone, most frequent first."""
    gone: tuple[str, ...] = ()


def moved_columns(
    a: Everything, b: Everything, first: TablePreprocessing, second: TablePreprocessing
) -> tuple[list[dict[str, Any]], list[str]]:
    """One row a column that both tables have, the most moved first; and sentences, also on columns of one alone."""
    pairs = _pairs(first, second)
    found = [_compared(a, b, mine, theirs) for mine, theirs in pairs]
    corrected = stats.false_discovery_control([m.p for m in found]).tolist() if found else []
    order = sorted(range(len(found)), key=lambda k: (-_size(found[k]), found[k].column))
    rows = [_row(found[k], corrected[k]) for k in order]
    sentences = [_spoken(found[k], corrected[k]) for k in order if corrected[k] < _SURE and _size(found[k]) > 0]
    more = [f"{len(sentences) - _SHOWN} more columns differ; all are in the table."] if len(sentences) > _SHOWN else []
    return rows, [*sentences[:_SHOWN], *more, *_categories([found[k] for k in order]), *_alone(pairs, first, second)]


def told_apart(
    a: Everything, b: Everything, first: TablePreprocessing, second: TablePreprocessing, seed: int
) -> dict[str, float]:
    """AUC, out of fold, of boosted trees that tell the tables apart by the columns that both have."""
    pairs = _pairs(first, second)
    x_NK, kinds = _side_by_side(a, b, pairs)
    from_N = np.repeat([0, 1], [len(a.examples), len(b.examples)])
    groups = np.unique([*a.examples.digests, *b.examples.digests], return_inverse=True)[1]
    if len(x_NK) > _MOST_ROWS:
        kept = np.sort(np.random.default_rng(seed).choice(len(x_NK), _MOST_ROWS, replace=False))
        x_NK, from_N, groups = x_NK[kept], from_N[kept], groups[kept]
    p_N = _answers(x_NK, kinds, from_N, groups, seed)
    return interval("single-label", "auc", from_N, np.stack([1 - p_N, p_N], axis=1), seed=seed)


def _answers(x_NK: np.ndarray, kinds: np.ndarray, from_N: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Probability of being of the second table; equal rows are in one fold, where they cannot be known again."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    base = float(from_N.mean())
    p_N = np.full(len(x_NK), base)
    if not x_NK.shape[1]:
        return p_N
    smallest = int(min(np.bincount(from_N, minlength=2)))
    folds = StratifiedGroupKFold(max(2, min(_FOLDS, smallest)), shuffle=True, random_state=seed)
    for train, held in folds.split(x_NK, from_N, groups):
        if len(np.unique(from_N[train])) == 2:
            trees = HistGradientBoostingClassifier(categorical_features=kinds, random_state=seed, early_stopping=False)
            p_N[held] = trees.fit(x_NK[train], from_N[train]).predict_proba(x_NK[held])[:, 1]
    return p_N


def _side_by_side(
    a: Everything, b: Everything, pairs: Sequence[tuple[Column, Column]]
) -> tuple[np.ndarray, np.ndarray]:
    """Cells of both tables under each other, float64 (N + M, K), NaN for missing; and which columns are categories."""
    blocks, kinds = [], []
    for mine, theirs in pairs:
        if "text" in (mine.role, theirs.role):
            continue
        if _is_number(mine, theirs):
            blocks.append(np.concatenate([_numbers(a, mine), _numbers(b, theirs)]))
            kinds.append(False)
        else:
            blocks.append(_codes([*_texts(a, mine), *_texts(b, theirs)]))
            kinds.append(True)
    rows = len(a.examples) + len(b.examples)
    return np.stack(blocks, axis=1) if blocks else np.zeros((rows, 0)), np.array(kinds, dtype=bool)


def _codes(texts: Sequence[str | None]) -> np.ndarray:
    """Categories as numbers, the rarest of many as one."""
    counted = Counter(text for text in texts if text is not None).most_common(_MOST_CATEGORIES)
    known = {text: code for code, (text, _) in enumerate(counted)}
    return np.array([np.nan if text is None else known.get(text, len(known)) for text in texts], dtype=np.float64)


def _pairs(first: TablePreprocessing, second: TablePreprocessing) -> list[tuple[Column, Column]]:
    """Columns of one name."""
    others = {column.name: column for column in second.columns}
    return [(column, others[column.name]) for column in first.columns if column.name in others]


def _is_number(mine: Column, theirs: Column) -> bool:
    numbers = ("numeric", "boolean", "date")
    same = (mine.role == "date") == (theirs.role == "date")
    return mine.role in numbers and theirs.role in numbers and same


def _compared(a: Everything, b: Everything, mine: Column, theirs: Column) -> Moved:
    role = mine.role if mine.role == theirs.role else f"{mine.role} > {theirs.role}"
    if _is_number(mine, theirs):
        return _of_numbers(mine.name, role, _numbers(a, mine), _numbers(b, theirs))
    return _of_categories(mine.name, role, _texts(a, mine), _texts(b, theirs))


def _of_numbers(name: str, role: str, a_N: np.ndarray, b_M: np.ndarray) -> Moved:
    there = [x[np.isfinite(x)] for x in (a_N, b_M)]
    missing = (1 - len(there[0]) / len(a_N), 1 - len(there[1]) / len(b_M))
    p_missing = _p_of_counts(np.array([[len(t), len(x) - len(t)] for t, x in zip(there, (a_N, b_M), strict=True)]))
    if not len(there[0]) or not len(there[1]):
        return Moved(column=name, role=role, distance=0.0, standardised=None, missing=missing, p=p_missing)
    tested = stats.ks_2samp(there[0], there[1], method="asymp")
    pooled = float(np.sqrt((there[0].var() + there[1].var()) / 2))
    gap = float(there[1].mean() - there[0].mean())
    return Moved(
        column=name,
        role=role,
        distance=float(tested.statistic),
        standardised=gap / pooled if pooled > 0 else 0.0 if gap == 0 else float(np.sign(gap) * 99),
        missing=missing,
        p=min(1.0, 2 * min(float(tested.pvalue), p_missing)),  # two tests, Bonferroni
    )


def _of_categories(name: str, role: str, a: Sequence[str | None], b: Sequence[str | None]) -> Moved:
    counted = [Counter(text for text in texts if text is not None) for texts in (a, b)]
    known = list(counted[0] | counted[1])
    counts = np.array([[one[text] for text in known] for one in counted], dtype=np.float64).reshape(2, -1)
    totals = counts.sum(axis=1)
    missing = (1 - totals[0] / len(a), 1 - totals[1] / len(b))
    distance = float(np.abs(counts[0] / totals[0] - counts[1] / totals[1]).sum() / 2) if totals.all() else 0.0
    if role == "text":  # nearly all cells differ, in one table as between two
        distance, counts = 0.0, np.zeros((2, 0))
    gaps = np.array([len(a), len(b)]) - totals
    only = [tuple(t for t, _ in counted[i].most_common() if t not in counted[1 - i]) for i in (0, 1)]
    return Moved(
        column=name,
        role=role,
        distance=distance,
        standardised=None,
        missing=(float(missing[0]), float(missing[1])),
        p=_p_of_counts(np.column_stack([counts if role != "text" else totals, gaps])),
        new=() if role == "text" else only[1],
        gone=() if role == "text" else only[0],
    )


def _p_of_counts(counts: np.ndarray) -> float:
    """Of two rows of counts having the same shares (chi-squared); rare columns are taken together, for its sake."""
    counts = counts[:, counts.sum(axis=0) > 0]
    rare = counts.sum(axis=0) < 10
    if rare.sum() > 1:
        counts = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    if counts.shape[1] < 2 or (counts.sum(axis=1) == 0).any():
        return 1.0
    return float(stats.chi2_contingency(counts).pvalue)


def _numbers(every: Everything, column: Column) -> np.ndarray:
    """Cells in their own unit, NaN where missing; dates in days since 1970."""
    return np.array(_cells(every, column, lambda cell_N: numbers_of(cell_N, column)[0].tolist()), dtype=np.float64)


def _texts(every: Everything, column: Column) -> list[str | None]:
    """Cells as they are written, None where missing."""

    def read(cell_N: Any) -> list[str | None]:
        texts = cells.texts(cells.blanked(cell_N, column.blanks)).to_pylist()
        return [text.strip() or None if text is not None else None for text in texts]

    return _cells(every, column, read)


def _cells(every: Everything, column: Column, read: Callable[[Any], list[Any]]) -> list[Any]:
    """One cell of every row, read a whole column of a table at a time."""
    rows = [item for item in every.examples.items if isinstance(item, Row)]
    tables = {id(row.cells): row.cells.table for row in rows}
    found = {key: read(table.column(column.name)) for key, table in tables.items()}
    return [found[id(row.cells)][row.place] for row in rows]


def _size(moved: Moved) -> float:
    return max(moved.distance, abs(moved.missing[0] - moved.missing[1]))


def _row(moved: Moved, p: float) -> dict[str, Any]:
    return {
        "column": moved.column,
        "role": moved.role,
        "distance": round(moved.distance, 4),
        "standardised": "" if moved.standardised is None else round(moved.standardised, 3),
        "missing first": round(moved.missing[0], 4),
        "missing second": round(moved.missing[1], 4),
        "p corrected": float(f"{p:.2g}"),
        "new": _some(moved.new),
        "gone": _some(moved.gone),
    }


def _spoken(moved: Moved, p: float) -> str:
    means = "" if moved.standardised is None else f", mean {moved.standardised:+.2f} standard deviations"
    gap = moved.missing[1] - moved.missing[0]
    missing = f", missing {moved.missing[0]:.1%} > {moved.missing[1]:.1%}" if abs(gap) >= 0.001 else ""
    return f"'{moved.column}' moved: distance {moved.distance:.2f} of 1{means}{missing} (corrected p {p:.2g})."


def _categories(found: Sequence[Moved]) -> Iterator[str]:
    new = [f"'{m.column}' ({_some(m.new)})" for m in found if m.new]
    gone = [f"'{m.column}' ({_some(m.gone)})" for m in found if m.gone]
    if new:
        yield f"Categories of the second alone: {', '.join(new[:_SHOWN])}."
    if gone:
        yield f"Categories of the first alone: {', '.join(gone[:_SHOWN])}."


def _alone(
    pairs: Sequence[tuple[Column, Column]], first: TablePreprocessing, second: TablePreprocessing
) -> Iterator[str]:
    both = {mine.name for mine, _ in pairs}
    lost = [column for column in first.columns if column.name not in both]
    new = [column for column in second.columns if column.name not in both]
    likely = {old: other.name for old, other in matched(lost, new).items() if other is not None}
    for columns, which in ((lost, "first"), (new, "second")):
        if columns:
            yield f"Columns of the {which} alone: {_some([column.name for column in columns])}."
    if likely:
        yield "By their cells these may be one: " + ", ".join(f"'{a}' and '{b}'" for a, b in likely.items()) + "."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
