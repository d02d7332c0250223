"""Signs of poisoning: each against its definition, planted patches found, clean data not accused."""

from pathlib import Path

import numpy as np
import pytest

import transfuse as tr
from transfuse.checking.patches import patches
from transfuse.checking.poisoning import SIGNS, parted, projections, signs, votes

GENERATOR = np.random.default_rng(0)


def photographs(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures, no two alike: uint8 (N, 96, 96, 3)."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(count, 96, 96, 3))
    smooth = gaussian_filter(noise, (0, 3, 3, 0)) * 500 + gaussian_filter(noise, (0, 20, 20, 0)) * 4000
    return np.clip(smooth + 128, 0, 255).astype(np.uint8)


def stamped(pictures: np.ndarray, rows: np.ndarray) -> np.ndarray:
    found = pictures.copy()
    found[rows, 70:84, 70:84] = ((np.indices((14, 14)).sum(0) // 3 % 2) * 255).astype(np.uint8)[None, ..., None]
    return found


def test_each_sign_is_what_its_paper_says():
    x = GENERATOR.normal(size=(50, 6))
    x[:10] += 8
    smaller, toward, silhouette = parted(x)
    assert set(np.flatnonzero(smaller)) == set(range(10)) and toward[:10].min() > 0.7 > toward[10:].max()
    assert silhouette > 0.4
    _, _, right = np.linalg.svd(x - x.mean(0))
    expected = ((x - x.mean(0)) @ right[0]) ** 2
    np.testing.assert_allclose(projections(x), expected / expected.mean(), rtol=1e-9)
    y = np.arange(50) % 3
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T - 9 * np.eye(50)
    for row in range(50):
        nearest = np.argsort(-cosines[row])[:10]
        assert votes(x, y)[row] == pytest.approx((y[nearest] != y[row]).mean())


def test_a_planted_group_scores_highest_where_features_see_it():
    y = np.repeat(np.arange(8), 40)
    x = GENERATOR.normal(size=(320, 20)) + 3 * np.eye(8, 20)[y]
    planted = np.flatnonzero(y == 2)[:9]
    x[planted] = GENERATOR.normal(size=(9, 20)) * 0.3 + 9 * np.eye(8, 20)[5]
    found = signs(x, y, 8)
    own = np.flatnonzero(y == 2)
    for name in SIGNS:
        assert set(own[np.argsort(-found.scores[name][own])[:9]]) == set(planted) or name == "neighbours"
        assert np.isfinite(found.figures[name]).all()
    assert found.figures["clustering"].argmax() == 2


def test_a_patch_in_few_pictures_of_one_class_is_found():
    pictures, y = photographs(80), np.arange(80) % 4
    assert patches(list(pictures), y, 4) == []
    rows = np.flatnonzero(y == 3)[:4]
    (found,) = patches(list(stamped(pictures, rows)), y, 4)
    assert found.label == 3 and set(found.places) == set(rows.tolist())
    assert 0.65 < found.left < 0.9 and 0.65 < found.upper < 0.9


def test_what_all_classes_have_is_no_trigger_and_copies_are_none():
    pictures, y = photographs(72), np.arange(72) % 4
    assert patches(list(stamped(pictures, np.arange(0, 72, 3))), y, 4) == []  # a watermark
    copied = pictures.copy()
    copied[y == 1] = np.clip(pictures[1].astype(int) + GENERATOR.integers(-2, 3, (18, 96, 96, 3)), 0, 255)
    assert patches(list(copied), y, 4) == []


def test_check_tells_of_it_and_proposes_no_removal(tmp_path: Path):
    pictures, y = photographs(64), np.arange(64) % 4
    rows = np.flatnonzero(y == 2)[:6]
    task = tr.task((stamped(pictures, rows), y), seed=0)
    report = tr.check(task, out=tmp_path / "out")
    row = next(row for row in report.rows if row["problem"] == "repeated-patch")
    assert row["found"] == 6
    assert any("Signs of poisoning" in line and "'2' have a small patch" in line for line in report.summary)
    titles = [section.title for section in report.sections]
    assert "Signs of poisoning" in titles and "Perhaps planted" in titles
    lines = [line for line in (tmp_path / "out/findings.csv").read_text().splitlines() if "repeated-patch" in line]
    assert len(lines) == 6 and all(",yes," in line for line in lines)
    clean = tr.check(tr.task((pictures, y), seed=0))
    assert not any(row["problem"] == "repeated-patch" for row in clean.rows)
