"""The logistic paths against scikit-learn's optimum, all folds and strengths at once."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from transfuse.probing.logistic import logistic_cv, logistic_fit

STRENGTHS = (1.0, 0.1, 0.01)


def blobs(n: int, d: int, c: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return rng.normal(size=(c, d))[y] * spread + rng.normal(size=(n, d)), y


def reference(x: np.ndarray, y: np.ndarray, w: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's optimum: slopes and intercepts."""
    fitted = LogisticRegression(C=1 / (strength * w.sum()), tol=1e-10, max_iter=20_000)
    fitted.fit(x, y, sample_weight=w)
    return fitted.coef_, fitted.intercept_


def centred(z_NC: np.ndarray) -> np.ndarray:
    return z_NC - z_NC.mean(1, keepdims=True)


@pytest.mark.parametrize("shape", [(120, 8, 3), (40, 70, 4)], ids=["tall", "wide"])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_fold_and_strength_is_scikit_learns_optimum(shape: tuple[int, int, int], weighted: bool) -> None:
    n, d, c = shape
    x, y = blobs(n, d, c, seed=n)
    w = np.random.default_rng(1).uniform(0.5, 2, n) if weighted else np.ones(n)
    fold = np.arange(n) // c % 4
    path = logistic_cv(
        x, np.eye(c)[y], w, fold, "single-label", scale_D=np.ones(d), strengths=STRENGTHS, tolerance=1e-8,
        precision="float32",
    )  # fmt: skip
    assert path.certificate_JK.shape == (3, 4) and path.certificate_JK.max() <= 1e-8
    for j, strength in enumerate(STRENGTHS):
        for k in range(4):
            coef, intercept = reference(x[fold != k], y[fold != k], w[fold != k], strength)
            expected = centred(x[fold == k] @ coef.T + intercept)
            np.testing.assert_allclose(centred(path.held_JNC[j, fold == k]), expected, atol=3e-3)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_the_fit_to_all_rows(strength: float) -> None:
    x, y = blobs(150, 10, 4, seed=0)
    w = np.ones(150)
    found = logistic_fit(
        x, np.eye(4)[y], w, "single-label", scale_D=np.ones(10), strengths=(1.0, strength), tolerance=1e-10
    )
    coef, intercept = reference(x, y, w, strength)
    np.testing.assert_allclose(found.weight_CD - found.weight_CD.mean(0), coef - coef.mean(0), atol=1e-4)
    np.testing.assert_allclose(found.bias_C - found.bias_C.mean(), intercept - intercept.mean(), atol=1e-4)
    assert found.certificate <= 1e-10


def test_labels_are_binary_problems_of_their_own() -> None:
    x, _ = blobs(160, 6, 2, seed=3)
    targets = (x[:, :3] + np.random.default_rng(0).normal(size=(160, 3)) > 0).astype(float)
    scale_D, strengths = np.ones(6), (0.05,)
    found = logistic_fit(x, targets, np.ones(160), "multi-label", scale_D=scale_D, strengths=strengths, tolerance=1e-10)
    for label in range(3):
        coef, intercept = reference(x, targets[:, label], np.ones(160), 0.05)
        np.testing.assert_allclose(found.weight_CD[label], coef[0], atol=1e-4)
        np.testing.assert_allclose(found.bias_C[label], intercept[0], atol=1e-4)


def test_the_certificate_bounds_the_gap_to_the_optimum() -> None:
    x, y = blobs(200, 12, 3, seed=5, spread=0.5)
    targets, w, strength = np.eye(3)[y], np.ones(200), 0.01

    def objective(weight_CD: np.ndarray, bias_C: np.ndarray) -> float:
        z = x @ weight_CD.T + bias_C
        loss = np.logaddexp.reduce(z, axis=1) - z[np.arange(200), y]
        return float(loss.mean() + 0.5 * strength * (weight_CD**2).sum())

    best = logistic_fit(x, targets, w, "single-label", scale_D=np.ones(12), strengths=(strength,), tolerance=1e-11)
    optimum = objective(best.weight_CD, best.bias_C)
    for tolerance in (1e-2, 1e-4, 1e-6):
        rough = logistic_fit(
            x, targets, w, "single-label", scale_D=np.ones(12), strengths=(strength,), tolerance=tolerance
        )
        gap = objective(rough.weight_CD, rough.bias_C) / optimum - 1
        assert gap <= rough.certificate + 1e-9 <= tolerance + 1e-9


def test_constant_and_single_features() -> None:
    x, y = blobs(90, 5, 3, seed=7)
    constant = np.concatenate([x, np.full((90, 1), 0.5)], axis=1)
    for features in (constant, x[:, :1]):
        found = logistic_fit(features, np.eye(3)[y], np.ones(90), "single-label", scale_D=None, strengths=(0.1,))
        assert np.isfinite(found.weight_CD).all() and np.isfinite(found.bias_C).all()
