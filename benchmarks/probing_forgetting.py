"""Adding examples to a probe's head and taking them out, against fitting it again to what is left.

    OMP_NUM_THREADS=1 python benchmarks/probing_forgetting.py [--seeds 3]

Equal on all sides: features (float32, means of 3 standard deviations), targets, strength and metric; so is the head, to
the difference that is printed (largest weight = 1). Extraction is on neither side. scikit-learn's side is Ridge, by
Cholesky, on the rows that are left, in float32; our sums are float64. The ratios are our refit over forget and over
update, and scikit-learn's refit over forget. CPU-seconds of one thread, both sides warmed, median over the seeds.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported

import numpy as np
from sklearn.linear_model import Ridge

from transfuse.probing.basis import deviations_D
from transfuse.probing.learnt import Learnt, coded, less, more, solved
from transfuse.probing.moments import moments

CASES = ((5_000, 512, 10), (50_000, 1024, 100))
STRENGTH = 0.1


def main() -> None:
    """One line for each size and number of rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    print(
        f"{'N x D x C':<18}{'rows':>6}{'forget s':>10}{'update s':>10}{'refit s':>9}{'sklearn s':>11}  ratios  "
        "difference"
    )
    for n, d, c in CASES:
        for rows in (1, 10, 1000):
            runs = [_once(n, d, c, rows, seed) for seed in range(seeds)]
            forget, update, refit, sklearn = (statistics.median(run[place] for run in runs) for place in range(4))
            ratios = f"{refit / forget:.0f}x {refit / update:.0f}x {sklearn / forget:.0f}x"
            worst = max(run[4] for run in runs)
            print(
                f"{f'{n} x {d} x {c}':<18}{rows:>6}{forget:>10.3f}{update:>10.3f}{refit:>9.2f}{sklearn:>11.2f}"
                f"  {ratios}  {worst:.0e}"
            )


def _once(n: int, d: int, c: int, rows: int, seed: int) -> tuple[float, float, float, float, float]:
    """Seconds to forget, to update, to fit again, of scikit-learn; and how far the heads differ."""
    rng = np.random.default_rng(seed)
    y_N = rng.integers(0, c, n)
    x_ND = (rng.normal(size=(n, d)) * np.logspace(0, -1, d) + rng.normal(size=(c, d))[y_N] * 0.1 + 3).astype(np.float32)
    names = [f"{row:064x}" for row in range(n)]
    whole = _learnt(x_ND, y_N, c, names, None)
    left, scale_D = slice(rows, None), whole.scale_D
    solved(whole)
    forget, forgot = _timed(lambda: solved(less(whole, x_ND[:rows], names[:rows])))
    refit, again = _timed(lambda: solved(_learnt(x_ND[left], y_N[left], c, names[rows:], scale_D)))
    rest = _learnt(x_ND[left], y_N[left], c, names[rows:], scale_D)
    ones = np.ones(rows, np.float32)
    update, updated = _timed(lambda: solved(more(rest, x_ND[:rows], y_N[:rows], ones, names[:rows])))
    scaled_ND, t_NC = x_ND[left] / scale_D.astype(np.float32), np.eye(c, dtype=np.float32)[y_N[left]]
    sklearn, _ = _timed(lambda: Ridge(alpha=STRENGTH * (n - rows), solver="cholesky").fit(scaled_ND, t_NC))
    differences = [
        np.abs(a[0] - b[0]).max() / np.abs(b[0]).max() for a, b in ((forgot, again), (updated, solved(whole)))
    ]
    return forget, update, refit, sklearn, float(max(differences))


def _learnt(x_ND: np.ndarray, y_N: np.ndarray, c: int, names: list[str], scale_D: np.ndarray | None) -> Learnt:
    """What a fit to these rows remembers."""
    sums = moments(x_ND, coded(y_N, "single-label", c), exact=True)
    return Learnt(
        kind="single-label",
        moments=sums,
        scale_D=deviations_D(sums) if scale_D is None else scale_D,
        strength=STRENGTH,
        temperature=1.0,
        losses={},
        solver="ridge",
        digests=tuple(names),
        targets=y_N,
        weights_N=np.ones(len(y_N), np.float32),
        factors_C=np.ones(c),
        unit=1.0,
        precision="float32",
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU-seconds of the second of two runs, and what it gave."""
    work()
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


if __name__ == "__main__":
    main()
