"""Ridge heads from sufficient statistics against scikit-learn, and a stream of features that no memory holds.

    python benchmarks/probing_ridge.py [--only cv loo stream] [--seeds 3] [--rows 20000000]
    python benchmarks/probing_ridge.py --only real --data DATA --weights WEIGHTS [--seeds 3]

Figures are CPU-seconds of one thread. Both sides see the same float32 features, standardised beforehand, the same
folds and the same penalties; both are warmed first; the peer's real call is timed once, ours is the median of 5. Both
choose by accuracy. `fit_head` adds what scikit-learn's call has no counterpart for: folds from the examples' digests, a
temperature and a log-loss for each of its 19 strengths.
Data: a mixture seen through random ReLUs whose latents fall off like k^-1.2, with 5 % of the labels wrong;
scikit-learn's digits behind 512 random Fourier features; `real`: what a head sees of the training pictures of DATA
through the sources of `transfer.py`. At 5,000 rows, on digits and on real features also against
GridSearchCV(LogisticRegression) with 20 values of C from 1e-4 to 100. Memory is what the process grows by.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import statistics
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from probing_shared import megabytes, real_features, standardised
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from transfuse.probing.heads import fit_head
from transfuse.probing.loo import LeaveOneOut, Precision, leave_one_out, spectrum
from transfuse.probing.moments import accumulate, order_free, pilot
from transfuse.probing.ridge import out_of_fold, ridge_cv, ridge_fit

STRENGTHS = tuple(float(s) for s in np.logspace(3, -4, 20))
_LOGISTIC = 5_000
"""Rows up to which the logistic peer is run too."""
Data = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Print one row for each comparison."""
    arguments = _arguments()
    print("CPU-seconds of one thread; 5 folds or leave-one-out x 20 strengths")
    if "cv" in arguments.only:
        for seed in range(arguments.seeds):
            _cross_validation(f"synthetic, seed {seed}", synthetic(5_000, 512, 10, seed), seed)
        _cross_validation("digits, 512 random features", digits(512), 0)
        _cross_validation("synthetic, seed 0", synthetic(50_000, 512, 10, 0), 0)
    if "real" in arguments.only:
        for seed in range(arguments.seeds):
            for name, data in real_features(arguments.data, arguments.weights, seed).items():
                _cross_validation(f"{name}, seed {seed}", data, seed)
    if "loo" in arguments.only:
        for n, d, c in ((5_000, 512, 10), (50_000, 512, 10), (50_000, 1024, 100)):
            _leave_one_out("synthetic, seed 0", synthetic(n, d, c, 0))
    if "stream" in arguments.only:
        _stream(arguments.rows, 256, 10)


def _cross_validation(name: str, data: Data, seed: int) -> None:
    x, y = data
    rng = np.random.default_rng(seed)
    fold = rng.permutation(np.arange(len(x)) % 5)
    onehot, weights = np.eye(int(y.max()) + 1)[y], np.ones(len(x))

    def ours() -> tuple[int, float]:
        path = ridge_cv(x, onehot, weights, fold, strengths=STRENGTHS)
        answered_NJ = out_of_fold(path).transpose(1, 0, 2).argmax(axis=2)
        right_J = (answered_NJ == y[:, None]).mean(axis=0)
        ridge_fit(path, STRENGTHS[int(np.argmax(right_J))])
        return int(np.argmax(right_J)), float(right_J.max())

    def theirs(count: int) -> Any:
        alphas = [s * 0.8 * count for s in STRENGTHS]
        search = GridSearchCV(
            RidgeClassifier(), {"alpha": alphas}, cv=PredefinedSplit(fold[:count]), scoring="accuracy"
        )
        return search.fit(x[:count], y[:count])

    theirs(min(2000, len(x)))
    peer_seconds, peer = _timed(lambda: theirs(len(x)))
    seconds, (best, accuracy) = _median(ours)
    whole, _ = _median(lambda: fit_head(x, y, "single-label", method="ridge"))
    print(
        f"{_shape(x, y)} {name:<28} ours {seconds:7.3f}  GridSearchCV(RidgeClassifier) {peer_seconds:7.2f}  "
        f"ratio {peer_seconds / seconds:5.1f}  strength {best} / {peer.best_index_}  "
        f"accuracy {accuracy:.4f} / {peer.best_score_:.4f}  fit_head {whole:.2f}",
        flush=True,
    )
    if len(x) <= _LOGISTIC:
        logistic_seconds, logistic_peer = _timed(lambda: _logistic(x, y, fold))
        print(
            f"{'':<48} GridSearchCV(LogisticRegression) {logistic_seconds:7.2f}  "
            f"ratio {logistic_seconds / seconds:5.1f}  C {logistic_peer.best_params_['C']:.2g}  "
            f"accuracy {accuracy:.4f} / {logistic_peer.best_score_:.4f}",
            flush=True,
        )


def _logistic(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> Any:
    LogisticRegression().fit(x[:500], y[:500])
    search = GridSearchCV(LogisticRegression(), {"C": np.logspace(-4, 2, 20)}, cv=PredefinedSplit(fold))
    return search.fit(x, y)


def _leave_one_out(name: str, data: Data) -> None:
    x, y = data
    onehot, weights = np.eye(int(y.max()) + 1)[y], np.ones(len(x))

    def ours(precision: Precision) -> LeaveOneOut:
        return leave_one_out(spectrum(x, onehot, weights), STRENGTHS, precision=precision)

    seconds, found = _median(lambda: ours("float32"))
    _, more = megabytes(lambda: ours("float32"))
    low_seconds, low = _median(lambda: ours("bfloat16"))
    peer = RidgeClassifierCV(alphas=np.array(STRENGTHS) * len(x))
    peer.fit(x[:500], y[:500])
    peer_seconds, _ = _timed(lambda: peer.fit(x, y))
    best, low_best = (int(of.squared_error_J.argmin()) for of in (found, low))
    theirs = int(np.argmin(np.abs(np.log(np.array(STRENGTHS) * len(x) / peer.alpha_))))
    ratios = f"{peer_seconds / seconds:5.1f}, {peer_seconds / low_seconds:5.1f}"
    accuracies = f"{found.accuracy_J[best]:.4f}, {low.accuracy_J[low_best]:.4f}"
    print(
        f"{_shape(x, y)} {name:<18} leave-one-out: ours {seconds:6.3f}, bfloat16 {low_seconds:6.3f}  "
        f"RidgeClassifierCV {peer_seconds:6.2f}  ratio {ratios}  "
        f"strength {best}, {low_best} / {theirs}  accuracy {accuracies}  "
        f"error {found.squared_error_J[best]:.7f} / {-peer.best_score_ / 4:.7f}  "
        f"memory +{more:.0f} MB beside {x.nbytes / 1e6:.0f} MB of features",
        flush=True,
    )


def _stream(rows: int, d: int, c: int) -> None:
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((1 << 17, d), dtype=np.float32) + np.float32(5)
    onehot = np.eye(c, dtype=np.float32)[rng.integers(0, c, len(pool))]
    size = 1 << 15

    def blocks(starts: Iterator[int]) -> Iterator[tuple[np.ndarray, np.ndarray, None]]:
        for start in starts:
            at = start * 8191 % (len(pool) - size)  # another window each time
            yield pool[at : at + size], onehot[at : at + size], None

    def bare(starts: Iterator[int]) -> None:
        total = np.zeros((d, d), dtype=np.float32)
        for x, _, _ in blocks(starts):
            for start in range(0, size, 8192):
                total += x[start : start + 8192].T @ x[start : start + 8192]

    count = max(rows // size, 4)
    like = pilot(pool, onehot)
    accumulate(blocks(iter(range(4))), like=like)
    bare(iter(range(4)))
    seconds, one = _timed(lambda: accumulate(blocks(iter(range(count))), like=like))
    few, many = (_megabytes(partial(accumulate, blocks(iter(range(number))), like=like)) for number in (4, 64))
    bare_seconds, _ = _timed(lambda: bare(iter(range(count))))
    first, second = (accumulate(blocks(iter(order)), like=like) for order in (range(64), range(64)[::-1]))
    same = all((getattr(first, f) == getattr(second, f)).all() for f in ("gram_DD", "cross_DC", "sum_D"))
    print(
        f"stream of {one.rows:,} x {d}: {one.rows / seconds:,.0f} rows/s ({seconds:.1f} s), bare float32 product "
        f"{one.rows / bare_seconds:,.0f} rows/s ({bare_seconds:.1f} s): {100 * bare_seconds / seconds:.0f} %  "
        f"memory {few:.1f} MB for 4 blocks, {many:.1f} MB for 64 of {count}  order-free {order_free(one)}, "
        f"reversed shards give the same bits: {same}",
        flush=True,
    )


def synthetic(n: int, d: int, c: int, seed: int) -> Data:
    """Standardised float32 features and labels."""
    rng = np.random.default_rng(seed)
    fall = np.arange(1, d // 2 + 1) ** -0.6
    y = rng.integers(0, c, n)
    latent = ((rng.normal(size=(c, d // 2)) * 0.6)[y] + rng.normal(size=(n, d // 2))) * fall
    x = np.maximum(latent.astype(np.float32) @ rng.normal(size=(d // 2, d)).astype(np.float32), 0)
    wrong = rng.random(n) < 0.05
    return standardised(x), np.where(wrong, rng.integers(0, c, n), y)


def digits(d: int) -> Data:
    """Scikit-learn's digits behind random Fourier features."""
    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    angles = x / 16 @ rng.normal(size=(64, d)) * 0.6 + rng.uniform(0, 2 * np.pi, d)
    return standardised(np.cos(angles)), y


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def _median(work: Callable[[], Any], repeats: int = 5) -> tuple[float, Any]:
    work()
    work()
    runs = [_timed(work) for _ in range(repeats)]
    return statistics.median(seconds for seconds, _ in runs), runs[0][1]


def _megabytes(work: Callable[[], Any]) -> float:
    """Largest total of numpy's arrays, beside those that exist already; untimed."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / 1e6


def _shape(x: np.ndarray, y: np.ndarray) -> str:
    return f"{len(x):>6} x {x.shape[1]:>4} x {int(y.max()) + 1:>3}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["cv", "loo", "stream"], choices=["cv", "loo", "stream", "real"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the stream")
    parser.add_argument("--data", type=Path, help="labelled pictures, for `real`")
    parser.add_argument("--weights", type=Path, help="folder of the files that `transfer.py` names, for `real`")
    return parser.parse_args()


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the peer's own about ill-conditioned systems
    main()
