"""Trees as tensors against LightGBM's own predictions."""

from collections.abc import Iterator

import lightgbm
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from transfuse.sources.tables.lightgbm import forest_of
from transfuse.sources.tables.trees import Forest, builder_of, built

Grown = tuple[lightgbm.Booster, np.ndarray]


def rows_of(seed: int, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers (one with holes, one with many zeros), a category of 40 values with holes; targets that need all."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 4)).astype(np.float32)
    x[:, 1] = np.where(generator.random(count) < 0.5, 0, x[:, 1])
    x[:, 2] = generator.integers(0, 40, count)
    y = x[:, 0] + np.abs(x[:, 1]) + np.isin(x[:, 2], [3, 33, 37]) * 2.0 + 0.1 * generator.normal(size=count)
    x[generator.random(count) < 0.2, 0] = np.nan
    x[generator.random(count) < 0.1, 2] = np.nan
    return x, y


def grown(objective: str, seed: int = 0, **options: object) -> Grown:
    x, y = rows_of(seed)
    goal = {"binary": (y > 1).astype(int), "multiclass": np.digitize(y, [0.5, 1.5])}.get(objective, y)
    classes = {"num_class": 3} if objective == "multiclass" else {}
    parameters = {"objective": objective, "verbosity": -1, "min_data_in_leaf": 5, "seed": seed, **classes, **options}
    data = lightgbm.Dataset(x, goal, categorical_feature=[2], params={"verbosity": -1})
    return lightgbm.train(parameters, data, 20), x


@pytest.mark.parametrize("objective", ["regression", "binary", "multiclass"])
@pytest.mark.parametrize("options", [{}, {"use_missing": False}, {"zero_as_missing": True}, {"max_cat_to_onehot": 50}])
def test_scores_are_those_of_lightgbm(objective: str, options: dict) -> None:
    booster, x = grown(objective, **options)
    fresh = np.concatenate([x, rows_of(7, 100)[0]])
    fresh[-20:, 2] = [39, 40, 100, 1000, np.nan] * 4  # unknown categories
    fresh[-10:, 0] = [np.nan, 0, 1e-36, -1e-36, 1e30] * 2
    several = 3 if objective == "multiclass" else 1
    forest = forest_of([booster.model_to_string()], [0], several)
    expected = booster.predict(fresh, raw_score=True).reshape(len(fresh), several)
    np.testing.assert_allclose(forest(torch.from_numpy(fresh)).numpy(), expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), leaves=st.integers(2, 40))
def test_any_forest_any_rows(seed: int, leaves: int) -> None:
    booster, _ = grown("regression", seed, num_leaves=leaves)
    rows = rows_of(seed + 1, 50)[0]
    found = forest_of([booster.model_to_string()], [0], 1)(torch.from_numpy(rows))[:, 0].numpy()
    np.testing.assert_allclose(found, booster.predict(rows), rtol=1e-6, atol=1e-6)


def test_several_boosters_share_a_forest() -> None:
    one, x = grown("binary")
    other, _ = grown("binary", 5)
    forest = forest_of([one.model_to_string(), other.model_to_string()], [0, 1], 2)
    expected = np.stack([one.predict(x, raw_score=True), other.predict(x, raw_score=True)], 1)
    np.testing.assert_allclose(forest(torch.from_numpy(x)).numpy(), expected, rtol=1e-6, atol=1e-6)


def test_a_forest_is_saved_as_tensors_and_built_again(tmp_path) -> None:
    booster, x = grown("multiclass")
    forest = forest_of([booster.model_to_string()], [0], 3)
    save_file(forest.state_dict(), tmp_path / "forest.safetensors")
    again = built(builder_of(forest))
    again.load_state_dict(load_file(tmp_path / "forest.safetensors"))
    assert torch.equal(again(torch.from_numpy(x)), forest(torch.from_numpy(x)))


def test_trees_that_found_nothing_give_the_start() -> None:
    data = lightgbm.Dataset(np.zeros((50, 1)), np.full(50, 3.0), params={"verbosity": -1})
    booster = lightgbm.train({"objective": "regression", "verbosity": -1}, data, 3)
    found = forest_of([booster.model_to_string()], [0], 1)(torch.zeros(2, 1))
    np.testing.assert_allclose(found.numpy()[:, 0], booster.predict(np.zeros((2, 1))), atol=1e-6)


def test_more_columns_than_at_first_change_nothing() -> None:
    booster, x = grown("regression")
    forest = forest_of([booster.model_to_string()], [0], 1)
    wider = np.concatenate([x, np.ones((len(x), 2), np.float32)], 1)
    assert torch.equal(forest(torch.from_numpy(wider)), forest(torch.from_numpy(x)))


@pytest.fixture
def small() -> Iterator[Forest]:
    yield Forest(outputs=1, trees=1, nodes=1, leaves=2, words=0)


def test_by_hand(small: Forest) -> None:
    small.load_state_dict({**small.state_dict(), "threshold": torch.tensor([[0.5]], dtype=torch.float64),
                           "left": torch.tensor([[-1]]), "right": torch.tensor([[-2]]),
                           "missing": torch.tensor([[2]]), "default_left": torch.tensor([[False]]),
                           "value": torch.tensor([[10.0, 20.0]], dtype=torch.float64),
                           "start": torch.tensor([1.0], dtype=torch.float64)})  # fmt: skip
    answers = small(torch.tensor([[0.5], [0.6], [torch.nan]]))
    assert answers[:, 0].tolist() == [11.0, 21.0, 21.0]
