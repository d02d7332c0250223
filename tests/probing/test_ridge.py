"""The ridge path against direct solutions and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from transfuse.probing.basis import make_basis, project, unfold
from transfuse.probing.ridge import STRENGTHS, ridge_path


def path_of(x, t, w, strengths=STRENGTHS):
    basis = make_basis(x, w)
    slopes, intercepts = ridge_path(project(basis, x), basis.values_R, t, w, strengths)
    return basis, [unfold(basis, s, b) for s, b in zip(slopes, intercepts, strict=True)]


@settings(deadline=None, max_examples=30)
@given(n=st.integers(3, 40), d=st.integers(1, 40), seed=st.integers(0, 999))
def test_path_equals_the_direct_solution(n, d, seed):
    rng = np.random.default_rng(seed)
    x, t, w = rng.normal(size=(n, d)) + 3, rng.normal(size=(n, 2)), rng.uniform(0.5, 2, n)
    basis, path = path_of(x, t, w)
    share = w / w.sum()
    z = (x - basis.mean_D) / basis.scale_D
    for strength, (weight, bias) in zip(STRENGTHS, path, strict=True):
        if strength < 1e-4:
            continue  # the direct solution itself loses its digits there
        gram = z.T @ (share[:, None] * z) + strength * np.eye(d)
        direct = np.linalg.solve(gram, z.T @ (share[:, None] * (t - share @ t)))
        np.testing.assert_allclose(x @ weight.T + bias, z @ direct + share @ t, atol=1e-7)


@pytest.mark.parametrize("shape", [(50, 7), (12, 40)])
@pytest.mark.parametrize("strength", [10.0, 1e-2])
def test_coefficients_equal_scikit_learn(shape, strength):
    rng = np.random.default_rng(5)
    x, t, w = rng.normal(size=shape) * 4 - 2, rng.normal(size=(shape[0], 3)), rng.uniform(0.1, 2, shape[0])
    basis, [(weight, bias)] = path_of(x, t, w, (strength,))
    golden = Ridge(alpha=strength * w.sum(), tol=1e-12).fit((x - basis.mean_D) / basis.scale_D, t, sample_weight=w)
    np.testing.assert_allclose(weight * basis.scale_D, golden.coef_, atol=1e-9)
    np.testing.assert_allclose(bias + weight @ basis.mean_D, golden.intercept_, atol=1e-9)
