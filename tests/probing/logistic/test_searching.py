"""The search against a solution by another library."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from transfuse.probing.logistic.passes import blank_odds
from transfuse.probing.logistic.rows import NONE_HELD, make_rows, with_problems
from transfuse.probing.logistic.searching import Hill, search


@pytest.mark.parametrize("view", ["all", "top"])
def test_a_search_from_nothing_ends_where_scipys_does(view):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(80, 4)), rng.integers(3, size=80)
    rows = make_rows(
        x, np.eye(3)[y], np.ones(80), np.zeros(80, dtype=int), "single-label", scale_D=None, dtype=torch.float64
    )
    rows = with_problems(rows, (NONE_HELD,))
    odds = blank_odds(rows)
    odds.here[0][:] = 1 - rows.blocks[0].target_Cn
    z, t = np.append(rows.blocks[0].top_nT.numpy(), np.ones((80, 1)), axis=1), rows.blocks[0].target_Cn.numpy()
    penalty = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.0], dtype=torch.float64).repeat(3)
    hill = Hill(
        gradient_KX=torch.from_numpy((1 / 3 - t) @ z / 80).flatten()[None],
        penalty_X=penalty,
        inverse_KX=torch.full((1, 15), 3.0, dtype=torch.float64),
        measure_KX=torch.ones(1, 15, dtype=torch.float64),
        aim_K=torch.tensor([1e-16]),
    )
    found, passes = search(rows, odds, hill, [], [0], view)

    def objective(v):
        logit = z @ v.reshape(3, 5).T
        return (np.logaddexp.reduce(logit, axis=1) - (logit * t.T).sum(1)).mean() + 0.5 * (penalty.numpy() * v**2).sum()

    golden = minimize(objective, np.zeros(15), method="BFGS", options={"gtol": 1e-9}).x.reshape(3, 5)
    np.testing.assert_allclose(found.numpy().reshape(3, 5)[:, :-1], golden[:, :-1], atol=1e-5)
    assert passes < 30
