"""Scores and the choice of blocks from statistics, against a fixed point on features and cross-validation.

    OMP_NUM_THREADS=1 python benchmarks/probing_blocks.py [--part scores|blocks] [--case graded] [--seeds 3]
    OMP_NUM_THREADS=1 python benchmarks/probing_blocks.py --part blocks --case --data DATA --weights WEIGHTS

`scores`: LogME and the H-score from statistics, against the popular way, written here from its papers: a singular value
decomposition and the fixed point of alpha and beta, class by class (You et al., JMLR 2022), and a pseudo-inverse of the
features' covariance. Both sides see the same features in float64 (ours once more in float32). Each also against the
maximum of the evidence found by a bounded search for each class. `blocks`: which of 6 blocks to join, in which order
and where to stop, against forward choice by 5-fold cross-validated squared error over a grid of common strengths, from
the same folds' statistics. With --data also for the two last depths of each of the sources of `transfer.py`. Times are
CPU-seconds of one thread, both sides warmed.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from probing_shared import real_features
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar

from transfuse.probing.block_gains import block_gains
from transfuse.probing.block_statistics import columns_of, fold_moments, whole
from transfuse.probing.block_strengths import tune_strengths
from transfuse.probing.blocks import choose_blocks
from transfuse.probing.evidence import h_score, logme
from transfuse.probing.moments import Moments, indexed, moments, subtracted

SHAPES = ((5_000, 512, 10), (50_000, 1024, 100))
GRID = tuple(float(s) for s in np.logspace(-2.5, 0.5, 7))
TIE = 1e-3
"""Share of the error below which two blocks count as equal, as copies are."""
CLASSES, LATENT = 100, 64
CASES = ("graded", "parts", "redundant")


def main() -> None:
    """Print one table for each part."""
    arguments = _arguments()
    warm = _relu(np.random.default_rng(0), 2000, 256, 10)
    _popular(*warm), h_score(moments(warm[0], np.eye(10)[warm[1]]))
    if arguments.part in (None, "scores"):
        print("CPU-seconds; ratios: with float64 statistics, with float32 ones, of the scores once statistics exist")
        heads = "".join(f"{word:>8}" for word in ("sums64", "scores", "ratio", "sums32", "ratio", "alone"))
        print(f"{'N x D x C':<20}{'popular':>8}{heads}   off by")
        for shape in SHAPES:
            _scores(*shape)
    if arguments.part in (None, "blocks"):
        for case in CASES if arguments.case is None else arguments.case:
            for seed in range(arguments.seeds):
                _blocks(f"{case}, seed {seed}", *_sources(case, seed, arguments.rows, arguments.width))
    if arguments.data:
        for seed in range(arguments.seeds):
            found = real_features(arguments.data, arguments.weights, seed, depths=2)
            y = next(iter(found.values()))[1]
            _blocks(f"real, seed {seed}", {name: x for name, (x, _) in found.items()}, y)


def _scores(n: int, d: int, c: int) -> None:
    """One row: seconds of both sides, ratios to statistics and scores together, and how far the scores are off."""
    x, y = _relu(np.random.default_rng(0), n, d, c)
    t, x32 = np.eye(c)[y], x.astype(np.float32)
    popular, seconds = _timed(lambda: _popular(x, y))
    m, sums = _timed(lambda: moments(x, t, exact=True))
    _, sums32 = _timed(lambda: moments(x32, t))
    (evidence, score), ours = _timed(lambda: (logme(m), h_score(m)))
    exact = _exact_logme(x, t)
    ratios = seconds / (sums + ours), seconds / (sums32 + ours), seconds / ours
    off = abs(evidence - exact), abs(popular[0] - exact), abs(score - popular[1])
    numbers = (
        f"{seconds:>8.2f}{sums:>8.2f}{ours:>8.3f}{ratios[0]:>8.1f}{sums32:>8.2f}{ratios[1]:>8.1f}{ratios[2]:>8.0f}"
    )
    print(f"{f'{n} x {d} x {c}':<20}{numbers}   LogME {off[0]:.0e} (popular {off[1]:.0e}), H-score {off[2]:.0e}")


def _popular(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """LogME by its fixed point, and the H-score by a pseudo-inverse."""
    n, d = x.shape
    vectors, values, _ = np.linalg.svd(x.T @ x)
    kept = values > 1e-20
    sigma, u = values[kept], (x @ vectors[:, kept]) / np.sqrt(values[kept])
    evidences = []
    for c in range(int(y.max()) + 1):
        t = (y == c).astype(float)
        squares = (u.T @ t) ** 2
        evidences.append(_fixed_point(sigma, squares, t @ t - squares.sum(), n, d))
    means = np.stack([x[y == c].mean(0) for c in range(int(y.max()) + 1)])
    covariance, between = np.cov(x, rowvar=False), np.cov(means[y], rowvar=False)
    return float(np.mean(evidences)), float(np.trace(np.linalg.pinv(covariance, rcond=1e-15) @ between))


def _fixed_point(sigma: np.ndarray, squares: np.ndarray, rest: float, n: int, d: int) -> float:
    alpha = beta = 1.0
    for _ in range(11):
        ratio = alpha / beta
        gamma = (sigma / (sigma + ratio)).sum()
        size = (sigma * squares / (ratio + sigma) ** 2).sum()
        left = (squares / (1 + sigma / ratio) ** 2).sum() + rest
        alpha, beta = gamma / (size + 1e-5), (n - gamma) / (left + 1e-5)
        evidence = d / 2 * np.log(alpha) + n / 2 * np.log(beta) - 0.5 * np.log(alpha + beta * sigma).sum()
        evidence -= beta / 2 * left + alpha / 2 * size + n / 2 * np.log(2 * np.pi)
        if abs(alpha / beta - ratio) <= 1e-3 * ratio:
            break
    return evidence / n


def _exact_logme(x: np.ndarray, t: np.ndarray) -> float:
    n = len(x)
    values, vectors = np.linalg.eigh(x.T @ x)
    squares = (vectors.T @ (x.T @ t)) ** 2 / values[:, None]

    def evidence(log_strength: float, c: int) -> float:
        share = 1 / (1 + values * np.exp(-log_strength))
        noise = share @ squares[:, c] + (t[:, c] @ t[:, c] - squares[:, c].sum())
        return -0.5 * (np.log(2 * np.pi * noise / n) + 1 - np.log(share).sum() / n)

    best = []
    for c in range(t.shape[1]):
        at = max(np.linspace(-15, 25, 81), key=lambda s, c=c: evidence(s, c))
        found = minimize_scalar(
            lambda s, c=c: -evidence(s, c), bounds=(at - 0.5, at + 0.5), method="bounded", options={"xatol": 1e-7}
        )
        best.append(-found.fun)
    return float(np.mean(best))


def _blocks(title: str, features: dict[str, np.ndarray], y: np.ndarray) -> None:
    """The order of both sides, and times."""
    t, fold = np.eye(int(y.max()) + 1)[y], np.random.default_rng(0).permutation(len(y)) % 5
    widths = {name: x.shape[1] for name, x in features.items()}
    folds, sums = _timed(lambda: fold_moments(features, t, fold))
    total = whole(folds)
    choose_blocks(total, widths)
    choice, seconds = _timed(lambda: choose_blocks(total, widths))
    print(f"\n{title}: {len(features)} blocks of {set(widths.values())}, N = {len(y)}, {t.shape[1]} classes")
    print(f"  statistics {sums:.2f} CPU-s; order and stop by evidence {seconds:.3f} CPU-s")
    ours = [step.block for step in choice.steps]
    lines, slow = _timed(lambda: _cross_validated(folds, widths, ours))
    print(
        f"  forward choice by 5 folds x {len(GRID)} strengths {slow:.1f} CPU-s = {slow / seconds:.0f} x, step by step:"
    )
    print("\n".join(f"    {line}" for line in lines))
    gains, seconds = _timed(lambda: block_gains(features, y, "single-label", choice, folds=folds, fold_N=fold))
    print(f"  what each buys, out of fold ({seconds:.2f} CPU-s):")
    for step, gain in zip(choice.steps, gains, strict=True):
        print(
            f"    {gain.block:<12} accuracy {gain.score['value']:.4f}  {100 * gain.gain['value']:+.2f} points "
            f"({100 * gain.gain['low']:+.2f}..{100 * gain.gain['high']:+.2f})  strength {step.strength:.3g}"
        )
    _tuned(folds, widths, {step.block: step.strength for step in choice.steps})


def _tuned(folds: Sequence[Moments], widths: Mapping[str, int], strengths: Mapping[str, float]) -> None:
    columns = columns_of(widths, sum(widths.values()))
    order = np.concatenate([np.arange(columns[name].start, columns[name].stop) for name in strengths])
    parts, kept = [indexed(fold, order) for fold in folds], {name: widths[name] for name in strengths}
    own, seconds = _timed(lambda: tune_strengths(parts, kept, start=strengths))
    one = tune_strengths(parts, {"all": len(order)})
    print(
        f"  one strength a block: error {own.error:.4f} ({own.evaluations} evaluations, {seconds:.1f} CPU-s); "
        f"one for all: {one.error:.4f}; { ({name: round(s, 3) for name, s in own.strengths.items()}) }"
    )


def _cross_validated(folds: Sequence[Moments], widths: Mapping[str, int], ours: Sequence[str]) -> list[str]:
    """Forward choice by cross-validation, in words: its block of each step beside ours; in ties it follows ours."""
    total = whole(folds)
    columns = columns_of(widths, len(total.sum_D))
    joined: list[str] = []
    lines = []
    before = float((total.target_squares_C - total.target_sum_C**2 / total.weight).sum())
    for mine in [*ours, *[""] * (len(widths) - len(ours))]:
        left = [name for name in widths if name not in joined]
        after = {name: _error(folds, total, [columns[n] for n in (*joined, name)]) for name in left}
        gain = {name: (before - error) / before for name, error in after.items()}
        best = max(left, key=lambda n: gain[n])
        tie = mine in gain and gain[best] - gain[mine] < TIE
        taken = mine if tie else best
        said = "none" if not mine else "the same" if mine == best else f"{mine} {100 * gain.get(mine, 0):+.3f} %"
        lines.append(f"error {100 * -gain[best]:+.3f} % by {best}; ours: {said}{' (a tie)' * (tie and mine != best)}")
        before = after[taken]
        joined.append(taken)
    return lines


def _error(folds: Sequence[Moments], total: Moments, columns: Sequence[slice]) -> float:
    """Held-out squared error at the best common strength, with float32 Cholesky factors."""
    at = np.concatenate([np.arange(c.start, c.stop) for c in columns])
    part = indexed(total, at)
    variance = np.diag(part.gram_DD) / part.weight - (part.sum_D / part.weight) ** 2
    variance[variance <= 0] = 1
    errors = np.zeros(len(GRID))
    for fold in folds:
        held = indexed(fold, at)
        train = subtracted(part, held)
        mean, level = train.sum_D / train.weight, train.target_sum_C / train.weight
        scatter = (train.gram_DD - np.outer(train.sum_D, mean)).astype(np.float32)
        right = (train.cross_DC - np.outer(train.sum_D, level)).astype(np.float32)
        seen = held.gram_DD - np.outer(held.sum_D, mean) - np.outer(mean, held.sum_D - held.weight * mean)
        cross = held.cross_DC - np.outer(held.sum_D, level) - np.outer(mean, held.target_sum_C - held.weight * level)
        squares = held.target_squares_C - 2 * level * held.target_sum_C + held.weight * level**2
        seen = seen.astype(np.float32)
        for j, strength in enumerate(GRID):
            penalised = scatter.copy()
            penalised[np.diag_indices(len(at))] += train.weight * strength * variance
            head = cho_solve(cho_factor(penalised, overwrite_a=True, check_finite=False), right, check_finite=False)
            errors[j] += squares.sum() + (head * (seen @ head - 2 * cross)).sum()
    return float(errors.min())


def _sources(case: str, seed: int, n: int, width: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Blocks of rectified random features that see a common latent, blurred or in part; 5 % wrong labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    latent = rng.normal(size=(n, LATENT)) + 0.9 * rng.normal(size=(CLASSES, LATENT))[y]

    def view(start: int, stop: int, blur: float) -> np.ndarray:
        seen = latent[:, start:stop] + blur * rng.normal(size=(n, stop - start))
        mixed = seen @ rng.normal(size=(stop - start, width)) / np.sqrt(stop - start)
        return np.maximum(mixed + 0.3 * rng.normal(size=width), 0).astype(np.float32)

    made: dict[str, np.ndarray] = {}
    if case == "graded":
        made = {f"blur {blur}": view(0, LATENT, blur) for blur in (2.0, 0.6, 1.4, 0.3, 1.0, 0.8)}
    elif case == "parts":
        made = {f"{a}-{b}": view(a, b, 0.3) for a, b in ((0, 24), (12, 40), (30, 64), (0, 10), (50, 64), (0, 64))}
    else:
        made = {"a": view(0, 40, 0.3), "b": view(30, 64, 0.5)}
        made["a turned"] = made["a"] @ np.linalg.qr(rng.normal(size=(width, width)))[0].astype(np.float32)
        made["a blurred"] = made["a"] + (0.5 * made["a"].std(0) * rng.normal(size=(n, width))).astype(np.float32)
        made["b again"] = made["b"] * np.float32(2)
        made["noise"] = rng.normal(size=(n, width)).astype(np.float32)
    return made, np.where(rng.random(n) < 0.05, rng.integers(0, CLASSES, n), y)


def _relu(rng: np.random.Generator, n: int, d: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    y = rng.integers(0, c, n)
    latent = rng.normal(size=(n, LATENT)) + 0.9 * rng.normal(size=(c, LATENT))[y]
    noise = 0.1 * rng.normal(size=(n, d))
    return np.maximum(latent @ rng.normal(size=(LATENT, d)) / np.sqrt(LATENT) + noise, 0), y


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("scores", "blocks"), help="one part only")
    parser.add_argument(
        "--case", nargs="*", choices=CASES, help="of `blocks`; all of them by default; `--case` alone: none"
    )
    parser.add_argument("--data", type=Path, help="labelled pictures, for real blocks")
    parser.add_argument("--weights", type=Path, help="folder of the files that `transfer.py` names")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=512)
    return parser.parse_args()


if __name__ == "__main__":
    main()
