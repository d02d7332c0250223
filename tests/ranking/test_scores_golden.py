"""LEEP, N-LEEP, TransRate and neighbours against the values of their authors' code.

Values: thuml/LogME LEEP.py, thuml/Transfer-Learning-Library transrate.py, TencentARC/SFDA NLEEP with the paper's
logarithm and a seeded mixture, dbolya/parc kNN(k=1, l2), all on the data below.
"""

import numpy as np
import pytest

from transfuse.ranking.knn import knn
from transfuse.ranking.leep import leep
from transfuse.ranking.nleep import nleep
from transfuse.ranking.transrate import transrate

GOLDEN = {
    "tall": {
        "leep": -0.7750739991777149,
        "nleep": -0.04178051890869033,
        "transrate": 1.1523946289870395,
        "knn": 98.33333333333333,
    },
    "wide": {
        "leep": -1.2866996887005075,
        "nleep": -0.1315875467131682,
        "transrate": 136.6425933093258,
        "knn": 100.0,
    },
    "imbalanced": {
        "leep": -1.3956548221241087,
        "nleep": -0.0979578556292611,
        "transrate": 69.54112473371947,
        "knn": 93.5,
    },
    "noise": {
        "leep": -1.36765732587864,
        "nleep": -1.0508845668454398,
        "transrate": 2.134210600479989,
        "knn": 21.666666666666668,
    },
    "deficient": {
        "leep": -0.897388067724054,
        "nleep": -0.296575470446517,
        "transrate": 0.45980987624886893,
        "knn": 76.25,
    },
}


def softmax(z):
    p = np.exp(z - z.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def case(name):
    """Features (N, D), classes (N,), the source's probabilities (N, Z)."""
    if name == "tall":
        rng = np.random.default_rng(0)
        y = rng.integers(0, 3, 60)
        x = rng.normal(size=(3, 8))[y] * 1.5 + rng.normal(size=(60, 8))
        return x, y, softmax(rng.normal(size=(60, 7)) + 2.0 * np.eye(7)[y])
    if name == "wide":
        rng, y = np.random.default_rng(1), np.arange(40) % 4
        x = rng.normal(size=(4, 96))[y] * 0.7 + rng.normal(size=(40, 96))
        return x, y, softmax(rng.normal(size=(40, 5)) + np.eye(5)[y])
    if name == "imbalanced":
        rng, w = np.random.default_rng(2), 0.7 ** np.arange(10)
        y = rng.choice(10, 200, p=w / w.sum())
        y[:10] = np.arange(10)
        x = np.maximum(rng.normal(size=(10, 32))[y] + rng.normal(size=(200, 32)), 0.0)
        return x, y, softmax(2.0 * rng.normal(size=(200, 20)) + 3.0 * np.eye(20)[y])
    if name == "noise":
        rng, y = np.random.default_rng(3), np.arange(120) % 4
        x = rng.normal(size=(120, 16))
        return x, y, softmax(rng.normal(size=(120, 6)))
    rng, y = np.random.default_rng(4), np.arange(80) % 3
    g = rng.normal(size=(80, 5)) + np.eye(5)[y] * 2
    x = np.concatenate([g, g[:, :4], np.zeros((80, 3))], 1)
    return x, y, softmax(rng.normal(size=(80, 4)) + 1.5 * np.eye(4)[y])


@pytest.mark.parametrize("name", GOLDEN)
def test_leep(name):
    _, y, p = case(name)
    assert leep(p, y) == pytest.approx(GOLDEN[name]["leep"], rel=1e-10)


@pytest.mark.parametrize("name", GOLDEN)
def test_nleep(name):
    x, y, _ = case(name)
    assert nleep(x, y) == pytest.approx(GOLDEN[name]["nleep"], rel=1e-6)


@pytest.mark.parametrize("name", GOLDEN)
def test_transrate(name):
    x, y, _ = case(name)
    assert transrate(x, y) == pytest.approx(GOLDEN[name]["transrate"], rel=1e-8)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_nearest_neighbour_of_all_others(name):
    x, y, _ = case(name)
    answers = knn(x, np.eye(y.max() + 1)[y], np.arange(len(y)), k=1, metric="euclidean")
    assert 100 * (answers.argmax(1) == y).mean() == pytest.approx(GOLDEN[name]["knn"])
