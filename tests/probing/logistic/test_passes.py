"""Passes against softmax and sigmoid in float64, written out."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from transfuse.probing.logistic.passes import blank_odds, change, multiplied, relative, residuals
from transfuse.probing.logistic.rows import make_rows


def rows_of(kind, dtype=torch.float32, n=60, d=5, c=3):
    rng = np.random.default_rng(0)
    x, targets = rng.normal(size=(n, d)), np.eye(c)[rng.integers(c, size=n)]
    weights = rng.uniform(0.5, 2, n)
    return make_rows(x, targets, weights, np.arange(n) % 2, kind, scale_D=None, dtype=dtype), x, targets, weights


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_residuals_of_almost_certain_examples_keep_their_digits(kind):
    rows, *_ = rows_of(kind)
    block = rows.blocks[0]
    logit_aCn = (40 * block.target_Cn - 20 + torch.arange(3)[:, None])[None]
    one_aCn = 1 - block.target_Cn if kind == "single-label" else torch.ones_like(block.target_Cn)
    odds_aCn = multiplied(rows, one_aCn[None], relative(rows, block, logit_aCn.clone()))
    found_Cn = residuals(rows, block, odds_aCn)[0] / block.weight_n
    with localcontext(prec=40):
        for n in range(4):
            e = [Decimal(int(logit_aCn[0, c, n])).exp() for c in range(3)]
            for c in range(3):
                p = e[c] / sum(e) if kind == "single-label" else e[c] / (1 + e[c])
                assert float(found_Cn[c, n]) == pytest.approx(float(p - int(block.target_Cn[c, n])), rel=1e-5)


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_a_change_is_the_difference_of_two_gradients(kind):
    rows, x, _, weights = rows_of(kind, torch.float64)
    odds = blank_odds(rows)
    for block, here in zip(rows.blocks, odds.here, strict=True):
        here[:] = 1 - block.target_Cn if kind == "single-label" else 1.0
    way_KCP = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 6)))
    found_KCP = change(rows, odds, way_KCP, torch.tensor([1.0, 0.5], dtype=torch.float64), [0, 1], "all").numpy()
    z = (x - rows.mean_D.numpy()) @ (rows.vectors_DR * rows.inverse_D[:, None]).numpy()
    z = np.append(z, np.ones((60, 1)), axis=1)
    for k, length in ((0, 1.0), (1, 0.5)):
        inside = np.arange(60) % 2 != k
        logit = length * z[inside] @ way_KCP[k].numpy().T
        if kind == "single-label":
            p = np.exp(logit) / np.exp(logit).sum(1, keepdims=True) - 1 / 3
        else:
            p = 1 / (1 + np.exp(-logit)) - 0.5
        share = weights[inside] / weights[inside].sum()
        np.testing.assert_allclose(found_KCP[k], (p * share[:, None]).T @ z[inside], atol=1e-12)
