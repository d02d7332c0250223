"""What `distilling.py` wrote, over seeds: means, differences by pairs, the method that validation chooses.

python benchmarks/distilling_summary.py ROWS.jsonl [--alone "student alone"]

A mean over seeds has a 95 % t-interval (how much a training varies with its seed, splits and start). A seed's own
difference has a bootstrap interval over the same test examples.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

BOOTSTRAPS = 2000


def main() -> None:
    """Print one line a name, then each seed's differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--alone", default="student alone")
    given = parser.parse_args()
    table: dict[str, dict[int, dict[str, Any]]] = {}
    for line in given.rows.read_text().splitlines():
        row = json.loads(line)
        table.setdefault(row["name"], {})[row["seed"]] = row
    for name, rows in table.items():
        _told(name, rows, table[given.alone])
    for name in table:
        if (kept := name.replace(", live", ", kept")) != name and kept in table:
            print(f"{name} less {kept}: {in_points(_gaps(table[name], table[kept]))}")
    print()
    for name, rows in table.items():
        if name not in (given.alone, "teacher"):
            _by_seed(name, rows, table[given.alone])


def _told(name: str, rows: dict[int, dict[str, Any]], alone: dict[int, dict[str, Any]]) -> None:
    right = [np.mean(_right(row)) for row in rows.values()]
    valid = [row["validation"]["score"] for row in rows.values()]
    loss = [row["validation"]["loss"] for row in rows.values()]
    seconds = [row["seconds"] for row in rows.values() if row["seconds"]]
    print(
        f"{name:<32} {np.mean(right):.4f} (t-interval {' to '.join(f'{end:.4f}' for end in t_interval(right))},"
        f" {len(right)} seeds of n = {len(_right(next(iter(rows.values()))))}); each"
        f" {', '.join(f'{value:.3f}' for value in right)}; validation {np.mean(valid):.4f}, loss {np.mean(loss):.4f};"
        f" {np.mean(seconds) if seconds else 0:.0f} CPU-s"
    )
    if rows is not alone:
        print(f"{'':<32} less student alone: {in_points(_gaps(rows, alone))}")


def _by_seed(name: str, rows: dict[int, dict[str, Any]], alone: dict[int, dict[str, Any]]) -> None:
    told = []
    for seed in sorted(set(rows) & set(alone)):
        gap = 100 * (_right(rows[seed]) - _right(alone[seed]))
        low, high = bootstrap(gap)
        told.append(f"{gap.mean():+.2f} ({low:+.1f} to {high:+.1f})")
    print(f"{name} less student alone, by seed: {', '.join(told)}")


def _gaps(rows: dict[int, dict[str, Any]], others: dict[int, dict[str, Any]]) -> list[float]:
    both = sorted(set(rows) & set(others))
    return [100 * float(np.mean(_right(rows[seed]) - _right(others[seed]))) for seed in both]


def _right(row: dict[str, Any]) -> np.ndarray:
    return np.array([int(hit) for hit in row["right"]], float)


def in_points(gaps: Sequence[float]) -> str:
    """A mean over seeds, with its t-interval."""
    low, high = t_interval(gaps)
    return f"{np.mean(gaps):+.2f} points ({low:+.2f} to {high:+.2f}, {len(gaps)} seeds)"


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 %, of the mean; without end for a single value."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def bootstrap(values_N: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean over examples."""
    picks_KN = np.random.default_rng(seed).integers(0, len(values_N), (BOOTSTRAPS, len(values_N)))
    low, high = np.percentile(values_N[picks_KN].mean(1), (2.5, 97.5))
    return float(low), float(high)


if __name__ == "__main__":
    main()
