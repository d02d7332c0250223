"""The logistic path under cross-validation against scikit-learn's: CPU-seconds of one thread, quality of the fits.

    OMP_NUM_THREADS=1 python benchmarks/probing_logistic.py [--seeds 0 1 2] [--sizes digits small medium large]
    OMP_NUM_THREADS=1 python benchmarks/probing_logistic.py --sizes real --data DATA --weights WEIGHTS

Both sides fit 20 strengths without each of 5 folds (the same folds), choose by out-of-fold accuracy and refit. Same
standardised float32 features, same objective: C from 1e-4 to 100 is a strength of 1 / (C · training rows). Ours stops
where every fit is certified within 1e-4 of the optimum; scikit-learn's side is its default, GridSearchCV
over LogisticRegression and LogisticRegressionCV, as a user calls them. Both sides are warmed by a small call. Memory is
what the process grows by while ours works, beside the features.

    digits   scikit-learn's digits (1,797) through 512 random Fourier features, 10 classes
    small    5,000 x 512, 10 classes        medium   50,000 x 512, 10 classes        large   50,000 x 1,024, 100 classes
    real     what a head sees of DATA's training pictures, through the sources of `transfer.py`, at most 640 of them

The three of random features are a Gaussian mixture in 128 dimensions whose standard deviations fall as k^-1.2, through
random ReLUs, with 5 % of the labels flipped. For medium and large scikit-learn's side is sampled: every fourth strength
of one fold is fitted, and the time is multiplied by 20 (its scoring and its refit are left out); LogisticRegressionCV
is not run there. "Others" is the CPU that other processes used meanwhile, in cores: figures from a busy machine are
worth less.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from probing_shared import megabytes, real_features, standardised, timed
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from transfuse.probing.logistic.fits import Precision, logistic_cv, logistic_fit

SIZES = {
    "digits": (1797, 512, 10),
    "small": (5_000, 512, 10),
    "medium": (50_000, 512, 10),
    "large": (50_000, 1024, 100),
}
CS = np.logspace(-4, 2, 20)
FOLDS = 5
SAMPLED = 4


@dataclass(frozen=True, kw_only=True)
class Case:
    """One data set with its folds."""

    name: str
    seed: int
    x_ND: np.ndarray
    y_N: np.ndarray
    fold_N: np.ndarray

    @property
    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For scikit-learn."""
        return [(np.flatnonzero(self.fold_N != k), np.flatnonzero(self.fold_N == k)) for k in range(FOLDS)]


def main() -> None:
    """Print a block of lines for each data set."""
    arguments = _arguments()
    warnings.filterwarnings("ignore")  # scikit-learn's fits do not converge at the weak end, and it says so
    torch.set_num_threads(1)
    _warm()
    for name in arguments.sizes:
        for seed in arguments.seeds:
            for case in _cases(name, seed, arguments):
                _compare(case, arguments)


def _cases(name: str, seed: int, arguments: argparse.Namespace) -> Iterator[Case]:
    if name != "real":
        yield make_case(name, seed)
        return
    for source, (x_ND, y_N) in real_features(arguments.data, arguments.weights, seed).items():
        yield Case(name=source, seed=seed, x_ND=x_ND, y_N=y_N, fold_N=_folds(y_N, seed))


def make_case(name: str, seed: int) -> Case:
    """The data set of a name; the seed decides features, labels and folds."""
    n, d, c = SIZES[name]
    if name == "digits":
        x_ND, y_N = load_digits(return_X_y=True)
        x_ND = RBFSampler(gamma=5e-4, n_components=d, random_state=seed).fit_transform(x_ND)
    else:
        x_ND, y_N = mixture(n, d, c, seed)
    return Case(name=name, seed=seed, x_ND=standardised(x_ND), y_N=y_N, fold_N=_folds(y_N, seed))


def _folds(y_N: np.ndarray, seed: int) -> np.ndarray:
    fold_N = np.empty(len(y_N), dtype=np.int64)
    for k, (_, held) in enumerate(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(y_N, y_N)):
        fold_N[held] = k
    return fold_N


def mixture(n: int, d: int, c: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random-ReLU features of a Gaussian mixture, with flipped labels."""
    rng = np.random.default_rng(seed)
    deviations = np.arange(1, 129) ** -1.2
    y_N = rng.integers(c, size=n)
    hidden = (0.5 * rng.normal(size=(c, 128))[y_N] + rng.normal(size=(n, 128))) * deviations
    x_ND = np.maximum(hidden @ rng.normal(size=(128, d)) + 0.3 * rng.normal(size=d), 0.0)
    return x_ND, np.where(rng.random(n) < 0.05, rng.integers(c, size=n), y_N)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What our path chose, and at what price."""

    c: float
    accuracy: float
    """Out of fold."""
    certificate: float
    """The worst of all fits."""
    surveys: int
    passes: float


def _compare(case: Case, arguments: argparse.Namespace) -> None:
    n, d, precision = *case.x_ND.shape, arguments.precision
    print(f"\n{case.name} {n:,} x {d} x {case.y_N.max() + 1}, seed {case.seed}")
    (found, ours, others), more = megabytes(lambda: timed(lambda: _ours(case, precision, arguments.tolerance)))
    print(
        f"  ours {precision:<9}{ours:9.2f} s  others {others:.2f}  C {found.c:.2g}, accuracy {found.accuracy:.4f}; "
        f"worst certificate {found.certificate:.1e}, {found.surveys} surveys, {found.passes:.0f} passes",
        flush=True,
    )
    print(f"  memory: {case.x_ND.nbytes / 1e6:.0f} MB of features, and {more:.0f} MB more at most", flush=True)
    for name, peer in (_sampled if case.name in ("medium", "large") else _called)(case):
        (c, accuracy, factor), seconds, others = timed(peer)
        seconds *= factor
        chosen = f"C {c:.2g}, accuracy {accuracy:.4f}" if c else f"sampled: {FOLDS * len(CS) // factor} fits x {factor}"
        print(f"  {name:<26}{seconds:9.2f} s  others {others:.2f}  {chosen}; ratio {seconds / ours:.1f}", flush=True)
    _show_gaps(case)


def _ours(case: Case, precision: Precision, tolerance: float) -> Found:
    """Cross-validation, choice and refit."""
    targets_NC, weights_N = np.eye(int(case.y_N.max()) + 1)[case.y_N], np.ones(len(case.y_N))
    rows = (case.x_ND, targets_NC, weights_N)
    common = {"scale_D": np.ones(case.x_ND.shape[1]), "tolerance": tolerance, "precision": precision}
    strengths = tuple(1.0 / (CS * len(case.y_N) * (FOLDS - 1) / FOLDS))
    path = logistic_cv(*rows, case.fold_N, "single-label", strengths=strengths, **common)
    best, worst = (-1.0, None), 0.0
    for point in path.points:
        accuracy = float((point.held_NC.argmax(axis=1) == case.y_N).mean())
        best = max(best, (accuracy, point), key=lambda one: one[0])
        worst = max(worst, float(point.certificate_K.max()))
    accuracy, chosen = best
    start = (chosen.weight_CD, chosen.bias_C)
    logistic_fit(*rows, "single-label", strengths=(chosen.strength,), start=start, like=path, **common)
    c = float(CS[strengths.index(chosen.strength)])
    return Found(c=c, accuracy=accuracy, certificate=worst, surveys=point.surveys, passes=point.passes)


def _called(case: Case) -> list[tuple[str, Callable[[], tuple[float, float, int]]]]:
    """The peers' real calls; each gives the chosen C, its out-of-fold accuracy and by what to multiply the time."""

    def grid() -> tuple[float, float, int]:
        found = GridSearchCV(LogisticRegression(), {"C": CS}, cv=case.splits).fit(case.x_ND, case.y_N)
        return float(found.best_params_["C"]), float(found.best_score_), 1

    def path() -> tuple[float, float, int]:
        found = LogisticRegressionCV(
            Cs=CS, cv=case.splits, scoring="accuracy", l1_ratios=(0.0,), use_legacy_attributes=False
        ).fit(case.x_ND, case.y_N)
        scores = np.asarray(found.scores_).reshape(FOLDS, len(CS)).mean(axis=0)
        return float(found.C_), float(scores.max()), 1

    return [("GridSearchCV", grid), ("LogisticRegressionCV", path)]


def _sampled(case: Case) -> list[tuple[str, Callable[[], tuple[float, float, int]]]]:
    """Some of GridSearchCV's fits; its scoring and its refit are left out."""

    def some() -> tuple[float, float, int]:
        train = case.splits[0][0]
        for c in CS[SAMPLED // 2 :: SAMPLED]:
            LogisticRegression(C=c).fit(case.x_ND[train], case.y_N[train])
        return 0.0, 0.0, FOLDS * SAMPLED

    return [("GridSearchCV (sampled)", some)]


def _show_gaps(case: Case) -> None:
    """How far scikit-learn's default is from the optimum at the weakest strengths, on the first fold."""
    train = case.splits[0][0]
    x_ND, y_N = case.x_ND[train].astype(np.float64), case.y_N[train]
    targets_NC, strengths = np.eye(int(case.y_N.max()) + 1)[y_N], 1.0 / (CS * len(y_N))
    for j in (len(CS) // 2, len(CS) - 1):
        if case.name in ("medium", "large"):
            break
        arguments = (case.x_ND[train], targets_NC, np.ones(len(y_N)), "single-label")
        best = logistic_fit(*arguments, scale_D=np.ones(x_ND.shape[1]), strengths=strengths[: j + 1], tolerance=1e-5)
        default = LogisticRegression(C=CS[j]).fit(case.x_ND[train], y_N)
        low, high = (
            _objective(x_ND, targets_NC, weight_CD, bias_C, strengths[j])
            for weight_CD, bias_C in ((best.weight_CD, best.bias_C), (default.coef_, default.intercept_))
        )
        print(f"  scikit-learn's default at C {CS[j]:.2g} is {high / low - 1:.1e} above the optimum")


def _objective(
    x_ND: np.ndarray, targets_NC: np.ndarray, weight_CD: np.ndarray, bias_C: np.ndarray, strength: float
) -> float:
    logits_NC = x_ND @ weight_CD.T.astype(np.float64) + bias_C
    losses_N = np.logaddexp.reduce(logits_NC, axis=1) - (logits_NC * targets_NC).sum(axis=1)
    return float(losses_N.mean() + 0.5 * strength * (weight_CD.astype(np.float64) ** 2).sum())


def _warm() -> None:
    """Load libraries and their kernels on both sides."""
    case = make_case("digits", 0)
    small = Case(name="warm", seed=0, x_ND=case.x_ND[:500], y_N=case.y_N[:500], fold_N=case.fold_N[:500])
    _ours(small, "auto", 1e-2)
    LogisticRegression().fit(small.x_ND, small.y_N)
    LogisticRegressionCV(Cs=2, cv=2, l1_ratios=(0.0,), use_legacy_attributes=False, scoring="accuracy").fit(
        small.x_ND, small.y_N
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES, "real"], default=["small"])
    parser.add_argument("--data", type=Path, help="labelled pictures, for `real`")
    parser.add_argument("--weights", type=Path, help="folder of the files that `transfer.py` names, for `real`")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
