"""Joins against their formulas, written out in NumPy; whole sources are dropped in training, never all."""

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName, UsageError
from transfuse.sources.joins import KINDS, Join

X_BD = np.random.default_rng(0).normal(2, 3, (50, 7)).astype(np.float32)


def made(kind: str, **options: float) -> Join:
    torch.manual_seed(0)
    join = Join(kind, [4, 3], 5, **options)
    join.standardise(X_BD)
    return join


def projected(join: Join) -> list[np.ndarray]:
    parts = np.split((X_BD - X_BD.mean(0)) / X_BD.std(0) / np.sqrt([4] * 4 + [3] * 3), [4], 1)
    pairs = zip(join.projections, parts, strict=True)
    return [x @ p.weight.detach().numpy().T + p.bias.detach().numpy() for p, x in pairs]


@pytest.mark.parametrize("kind", KINDS)
def test_formulas(kind: str) -> None:
    join = made(kind)
    if kind == "attention":
        torch.nn.init.normal_(join.query)
    p = projected(join)
    if kind == "add":
        expected = p[0] + p[1]
    elif kind == "gated":
        gates = 1 / (
            1 + np.exp(-(np.hstack(p) @ join.gates.weight.detach().numpy().T + join.gates.bias.detach().numpy()))
        )
        expected = gates[:, :5] * np.tanh(p[0]) + gates[:, 5:] * np.tanh(p[1])
    else:
        scores = np.stack([np.tanh(one) @ join.query.detach().numpy() for one in p], 1)
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        expected = weights[:, :1] * p[0] + weights[:, 1:] * p[1]
    with torch.inference_mode():
        np.testing.assert_allclose(join.eval()(torch.from_numpy(X_BD)).numpy(), expected, atol=1e-5)


def test_sources_are_dropped_whole_and_never_all() -> None:
    join = made("add", drop=0.6).train()
    p, x = projected(join), torch.from_numpy(X_BD)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found = join(x).detach().numpy()
        for row in range(50):
            ways = {"both": p[0][row] + p[1][row], "first": p[0][row], "second": p[1][row]}
            seen.add(next(name for name, way in ways.items() if np.allclose(way, found[row], atol=1e-4)))
    assert seen == {"both", "first", "second"}


def test_what_hardly_varies_is_not_blown_up() -> None:
    join, x_BD = Join("add", [4, 3], 5), X_BD.copy()
    x_BD[:, 1] = 1 + 1e-7 * x_BD[:, 1]
    join.standardise(x_BD)
    assert (join.scale_D > 0.05 * join.scale_D.mean()).all()


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UnknownName, match="gated"):
        Join("gates", [2], 3)
    with pytest.raises(UsageError, match="`drop` must be in"):
        Join("add", [2], 3, drop=1.0)
