"""The path of shifted systems against numpy's solver."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.probing.tridiagonal import solve_path

STRENGTHS = (100.0, 1.0, 1e-2)


@settings(deadline=None, max_examples=40)
@given(d=st.integers(1, 30), c=st.integers(1, 4), rank=st.integers(1, 30), exact=st.booleans(), seed=st.integers(0, 99))
def test_every_strength_is_numpys_solution(d, c, rank, exact, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rank, d))
    s, b = a.T @ a / rank, rng.normal(size=(d, c))
    found = solve_path(s, b, STRENGTHS, exact=exact)
    assert found.shape == (d, 3, c)
    for j, strength in enumerate(STRENGTHS):
        golden = np.linalg.solve(s + strength * np.eye(d), b)
        np.testing.assert_allclose(found[:, j], golden, atol=(1e-10 if exact else 1e-5) * np.abs(golden).max())
        np.testing.assert_allclose(solve_path(s, b, (strength,), exact=exact)[:, 0], golden, rtol=1e-7, atol=1e-10)


def test_what_is_noise_below_0_stays_finite():
    s = np.diag([1.0, -1e-9, 0.0])
    for strengths in ((1e-12,), (1e-12, 1e-13)):
        assert np.isfinite(solve_path(s, np.ones((3, 2)), strengths, exact=True)).all()


def test_no_features():
    assert solve_path(np.zeros((0, 0)), np.zeros((0, 2)), STRENGTHS, exact=True).shape == (0, 3, 2)
